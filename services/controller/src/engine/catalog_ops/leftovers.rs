//! Which of the things that bear a tag nothing needs any more.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{KeptBaseRow, SagaRow};
use model::{Owner, RestoreId, RestoreState, SagaId, Timestamp, WorkloadId};
use saga::{Phase, Saga as _};

use super::leaving::{RefusedRelease, refused_releases};
use super::{OpCtx, OpError, OpResult};
use crate::sagas::catalog_op::CatalogAnswer;
use crate::sagas::leftover_sweep::{Kind, Leftover, Tagged};
use crate::sagas::snapshot_create::SnapshotCreate;

/// Why a thing is left alone that nothing here knows.
pub(super) const NO_SAGA: &str =
    "no saga of this catalog made it: is it another Holdfast's, or of a catalog that was lost?";

pub(super) async fn judge(
    ctx: &mut OpCtx<'_>,
    age_min_seconds: u64,
    is_by_itself: bool,
    found: &[(Owner, Tagged)],
) -> OpResult {
    let bases = ctx.tx.list_kept_bases(None).await?;
    let kept: BTreeSet<&str> = bases.iter().map(|row| row.base.tag.as_str()).collect();
    let mut leftovers = refused_bases(ctx, &bases, found).await?;
    for (owner, thing) in found.iter().filter(|(_, thing)| !kept.contains(thing.tag.as_str())) {
        let leftover = |age_seconds, why: String, may_be_removed| Leftover {
            owner: owner.clone(),
            thing: thing.clone(),
            age_seconds,
            why,
            may_be_removed,
        };
        let saga = match saga_of(&thing.tag) {
            Some(id) => ctx.tx.get_saga(id).await?,
            None => None,
        };
        match saga {
            None => {
                leftovers.push(leftover(None, NO_SAGA.to_owned(), false));
            }
            Some(saga) => {
                let Some(ended_at) = saga.finished_at else { continue };
                let age = ctx.tx.now().since(ended_at).as_secs();
                if age >= age_min_seconds && !is_its_users(ctx, &saga).await? {
                    let may_be_removed = !is_by_itself || is_never_meant(&saga);
                    leftovers.push(leftover(Some(age), why(&saga, ended_at), may_be_removed));
                }
            }
        }
    }
    leftovers.extend(volumes_left(ctx).await?);
    Ok(CatalogAnswer::LeftoversJudged(leftovers))
}

/// Bases that the cloud did not let go of: named, and left to `base_keeper`, which tries again.
async fn refused_bases(
    ctx: &mut OpCtx<'_>,
    bases: &[KeptBaseRow],
    found: &[(Owner, Tagged)],
) -> Result<Vec<Leftover>, OpError> {
    let mut refused = BTreeMap::new();
    for workload in bases.iter().map(|row| row.workload_id).collect::<BTreeSet<WorkloadId>>() {
        refused.extend(refused_releases(ctx.tx, workload).await?);
    }
    // Others went when they were tried again.
    let kept = bases.iter().filter_map(|row| Some((&row.base.tag, refused.get(&row.base.tag)?)));
    let kept: BTreeMap<&String, &RefusedRelease> = kept.collect();
    let now = ctx.tx.now();
    let tell = |(owner, thing): &(Owner, Tagged)| {
        let RefusedRelease { ended_at, why } = kept.get(&thing.tag)?;
        Some(Leftover {
            owner: owner.clone(),
            thing: thing.clone(),
            age_seconds: Some(now.since(*ended_at).as_secs()),
            why: format!(
                "no snapshot will build on it, and it could not be removed: {why}; that is tried again by itself"
            ),
            may_be_removed: false,
        })
    };
    Ok(found.iter().filter_map(tell).collect())
}

/// The first part of a tag.
fn saga_of(tag: &str) -> Option<SagaId> {
    tag.split('/').next()?.parse().ok()
}

/// What a snapshot makes is never its user's; what a restore made is, once it passed its pivot.
async fn is_its_users(ctx: &mut OpCtx<'_>, saga: &SagaRow) -> Result<bool, OpError> {
    if saga.kind == SnapshotCreate::KIND {
        return Ok(false);
    }
    let restore = ctx.tx.get_restore(RestoreId::from_uuid(saga.object_id)).await?;
    let is_available = restore.is_some_and(|row| row.status == RestoreState::Available);
    Ok(is_available || saga.phase == Phase::Succeeded.as_str())
}

/// Whether no person can want what is left of a saga: nothing of a snapshot, unless one decided to leave it as it lies. In what a
/// restore left somebody may be at work.
fn is_never_meant(saga: &SagaRow) -> bool {
    saga.kind == SnapshotCreate::KIND && saga.phase != Phase::Abandoned.as_str()
}

pub(super) fn why(saga: &SagaRow, ended_at: Timestamp) -> String {
    format!("its saga {} ({}) ended {} at {ended_at}", saga.id, saga.kind, saga.phase)
}

/// They are their users': named, and never removed.
async fn volumes_left(ctx: &mut OpCtx<'_>) -> Result<Vec<Leftover>, OpError> {
    let mut leftovers = Vec::new();
    for row in ctx.tx.list_volumes_left(None).await? {
        let Some(workload) = ctx.tx.get_workload(row.workload_id).await? else { continue };
        let owner = workload.owner();
        let thing =
            Tagged { kind: Kind::Volume, id: row.volume_id.to_string(), name: row.name, tag: String::new() };
        let why = format!(
            "it was to be deleted with instance {}, and stayed because of a volume snapshot of Holdfast that is gone now: its \
             user deletes it",
            row.instance_id
        );
        let age_seconds = Some(ctx.tx.now().since(row.found_at).as_secs());
        leftovers.push(Leftover { owner, thing, age_seconds, why, may_be_removed: false });
    }
    Ok(leftovers)
}
