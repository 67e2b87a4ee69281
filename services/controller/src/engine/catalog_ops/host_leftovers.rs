//! Which of the things that hosts tell of nothing needs any more. In doubt it is needed.

use catalog::{SagaRow, SnapshotRow};
use model::{HostName, InstanceId, Owner, SnapshotId, SnapshotState, WorkloadState};

use super::leftovers::{NO_SAGA, why};
use super::{OpCtx, OpError, OpResult};
use crate::sagas::catalog_op::CatalogAnswer;
use crate::sagas::leftover_sweep::hosts::{HostKind, HostLeftover, HostThing};

/// Who knows of a thing.
enum Known {
    /// Its saga is over, and nothing else needs it.
    Over {
        owner: Option<Owner>,
        age_seconds: u64,
        why: String,
    },
    InUse,
    Nobody {
        why: &'static str,
    },
}

const MAYBE_MEANT: &str = "whoever froze it may have meant it: a person decides whether it is thawed";

pub(super) async fn judge(
    ctx: &mut OpCtx<'_>,
    age_min_seconds: u64,
    is_by_itself: bool,
    found: &[(HostName, HostThing)],
) -> OpResult {
    let mut leftovers = Vec::new();
    for (host, thing) in found {
        let known = match (thing.kind, thing.instance_id, thing.snapshot_id) {
            (HostKind::Journal, _, _) => judge_journal(ctx, thing).await?,
            (HostKind::FrozenGuest, Some(_), _) if is_by_itself => Known::Nobody { why: MAYBE_MEANT },
            (HostKind::FrozenGuest, Some(instance), _) => judge_guest(ctx, instance).await?,
            (_, _, Some(snapshot)) => judge_of_snapshot(ctx, thing, snapshot).await?,
            _ => Known::Nobody { why: NO_SAGA },
        };
        let leftover = |owner, age_seconds, why, may_be_removed| HostLeftover {
            host: host.clone(),
            thing: thing.clone(),
            owner,
            age_seconds,
            why,
            may_be_removed,
        };
        match known {
            Known::InUse => {}
            // A guest that is frozen waits, and a cut keeps the next one from being made: nobody waits for them to be old.
            Known::Over { owner, age_seconds, why }
                if age_seconds >= age_min_seconds
                    || matches!(thing.kind, HostKind::FrozenGuest | HostKind::Cut) =>
            {
                leftovers.push(leftover(owner, Some(age_seconds), why, true));
            }
            Known::Over { .. } => {}
            Known::Nobody { why } => {
                leftovers.push(leftover(thing.owner.clone(), thing.age_seconds, why.to_owned(), false));
            }
        }
    }
    Ok(CatalogAnswer::HostLeftoversJudged(leftovers))
}

async fn judge_journal(ctx: &mut OpCtx<'_>, thing: &HostThing) -> Result<Known, OpError> {
    let of_job = match thing.job_id {
        Some(id) => ctx.tx.get_job(id).await?.map(|job| job.saga_id),
        None => None,
    };
    let saga = match of_job.or(thing.saga_id) {
        Some(id) => ctx.tx.get_saga(id).await?,
        None => None,
    };
    let Some(saga) = saga else { return Ok(Known::Nobody { why: NO_SAGA }) };
    let owner = ctx.tx.get_workload(saga.workload_id).await?.map(|workload| workload.owner());
    Ok(over(ctx, &saga, owner))
}

/// Whoever froze it, a guest of a workload that is at rest has nobody who thaws it.
async fn judge_guest(ctx: &mut OpCtx<'_>, instance: InstanceId) -> Result<Known, OpError> {
    let Some(row) = ctx.tx.get_workload_instance(instance).await? else {
        return Ok(Known::Nobody { why: "it is in no workload: whoever froze it thaws it" });
    };
    let Some(workload) = ctx.tx.get_workload(row.workload_id).await? else { return Ok(Known::InUse) };
    if workload.saga_id.is_some() {
        return Ok(Known::InUse);
    }
    let why = "no snapshot of it is under way, and it is frozen for longer than any may take".to_owned();
    Ok(Known::Over { owner: Some(workload.owner()), age_seconds: 0, why })
}

async fn judge_of_snapshot(ctx: &mut OpCtx<'_>, thing: &HostThing, id: SnapshotId) -> Result<Known, OpError> {
    let Some(snapshot) = ctx.tx.get_snapshot(id).await? else { return Ok(Known::Nobody { why: NO_SAGA }) };
    let Some(workload) = ctx.tx.get_workload(snapshot.workload_id).await? else { return Ok(Known::InUse) };
    let Some(saga) = ctx.tx.get_saga(snapshot.saga_id).await? else { return Ok(Known::InUse) };
    if let Some(instance) = thing.instance_id
        && (is_at_work(ctx, instance).await? || is_base(ctx, thing, &snapshot, instance).await?)
    {
        return Ok(Known::InUse);
    }
    Ok(over(ctx, &saga, Some(workload.owner())))
}

fn over(ctx: &OpCtx<'_>, saga: &SagaRow, owner: Option<Owner>) -> Known {
    let Some(ended_at) = saga.finished_at else { return Known::InUse };
    Known::Over { owner, age_seconds: ctx.tx.now().since(ended_at).as_secs(), why: why(saga, ended_at) }
}

/// Whether a saga holds the workload that the instance is in now.
async fn is_at_work(ctx: &mut OpCtx<'_>, instance: InstanceId) -> Result<bool, OpError> {
    let Some(row) = ctx.tx.get_workload_instance(instance).await? else { return Ok(false) };
    Ok(ctx.tx.get_workload(row.workload_id).await?.is_some_and(|workload| workload.saga_id.is_some()))
}

/// Whether the next snapshot of the instance goes on from there.
async fn is_base(
    ctx: &mut OpCtx<'_>,
    thing: &HostThing,
    made_by: &SnapshotRow,
    instance: InstanceId,
) -> Result<bool, OpError> {
    let Some(base_of) = thing.base_of.filter(|_| thing.kind == HostKind::Bitmap) else { return Ok(false) };
    let row = ctx.tx.get_workload_instance(instance).await?;
    if row.is_none_or(|row| row.workload_id != made_by.workload_id) {
        return Ok(false);
    }
    let workload = ctx.tx.get_workload(made_by.workload_id).await?;
    let base = ctx.tx.get_snapshot(base_of).await?;
    let is_kept = |row: SnapshotRow| {
        !matches!(row.status, SnapshotState::Deleted | SnapshotState::Error | SnapshotState::Cancelled)
    };
    Ok(workload.is_some_and(|row| row.status != WorkloadState::Deleted) && base.is_some_and(is_kept))
}
