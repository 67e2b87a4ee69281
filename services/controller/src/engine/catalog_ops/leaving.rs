//! The catalog's part of the sagas that take away: `workload_reset`, `workload_delete` and `base_release`.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{KeptBaseRow, SagaFilter, SnapshotFilter, VolumeLeftRow};
use model::{Failure, InstanceId, SnapshotEvent, Timestamp, VolumeFact, VolumeId, WorkloadId, WorkloadState};
use saga::{Phase, Saga as _};

use super::{Became, OpCtx, OpError, OpResult, not_found, snapshot};
use crate::sagas::base_release::{self, BaseRelease, NeedlessBase};
use crate::sagas::catalog_op::CatalogAnswer;
use crate::sagas::clearing::{ClearingBegun, Params, TaggedBase};

/// A base that nothing builds on, and that the cloud does not let go of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusedRelease {
    pub(crate) ended_at: Timestamp,
    pub(crate) why: String,
}

/// The newest sagas of a workload among which its releases are looked for.
const RELEASES_LOOKED_AT: u32 = 16;

pub(super) async fn begin(ctx: &mut OpCtx<'_>, params: &Params) -> OpResult {
    let workload = ctx.tx.get_workload(params.workload_id).await?;
    let workload = workload.ok_or_else(|| not_found("workload", params.workload_id))?;
    let bases = ctx.tx.list_kept_bases(Some(workload.id)).await?;
    // A local disk is known by its device, a volume by its id.
    let lineages = ctx.tx.list_lineages(workload.id).await?.into_iter();
    let local = lineages.filter(|lineage| lineage.disk_id.as_str().parse::<VolumeId>().is_err());
    let instance_ids: BTreeSet<InstanceId> = local.map(|lineage| lineage.instance_id).collect();
    Ok(CatalogAnswer::ClearingBegun(ClearingBegun {
        user_id: workload.user_id,
        instance_ids: instance_ids.into_iter().collect(),
        bases: bases.iter().map(tagged).collect(),
    }))
}

pub(super) async fn end(ctx: &mut OpCtx<'_>, params: &Params) -> OpResult {
    snapshot::free_workload(ctx, params.workload_id).await?;
    Ok(CatalogAnswer::Done)
}

pub(super) async fn record_reset(ctx: &mut OpCtx<'_>, params: &Params) -> OpResult {
    forget_bases(ctx, params).await?;
    ctx.tx.insert_workload_reset(params.workload_id).await?;
    snapshot::free_workload(ctx, params.workload_id).await?;
    Ok(CatalogAnswer::Done)
}

pub(super) async fn record_delete(ctx: &mut OpCtx<'_>, params: &Params) -> OpResult {
    let id = params.workload_id;
    let filter = SnapshotFilter { workload_id: Some(id), ..SnapshotFilter::default() };
    let snapshots = ctx.tx.list_snapshots(&filter).await?;
    if let Some(held) = snapshots.iter().find(|row| row.status.holds_data()) {
        return Err(OpError::Refused(Failure::permanent(
            "WORKLOAD_HAS_SNAPSHOTS",
            format!("the workload has snapshot {} ({}): delete its snapshots first", held.name, held.id),
        )));
    }
    for row in snapshots {
        ctx.move_snapshot(row.id, SnapshotEvent::Delete).await?;
    }
    forget_bases(ctx, params).await?;
    ctx.tx.delete_workload_reset(id).await?;
    for left in ctx.tx.list_volumes_left(Some(id)).await? {
        ctx.tx.delete_volume_left(left.volume_id).await?;
    }
    ctx.tx.unlock_workload(id, ctx.saga.id).await?;
    ctx.tx.delete_workload(id).await?;
    ctx.announce(Became::Workload(id, WorkloadState::Deleted)).await?;
    Ok(CatalogAnswer::Done)
}

async fn forget_bases(ctx: &mut OpCtx<'_>, params: &Params) -> Result<(), OpError> {
    for kept in ctx.tx.list_kept_bases(Some(params.workload_id)).await? {
        ctx.tx.delete_lineage_base(kept.base.lineage_id).await?;
    }
    Ok(())
}

/// Gives only what is still as it was when it was looked at, and what nobody works on.
pub(super) async fn lease_bases(ctx: &mut OpCtx<'_>, params: &base_release::Params) -> OpResult {
    let mut leased = Vec::new();
    for (place, wanted) in params.bases.iter().enumerate() {
        let base = ctx.tx.get_lineage_base(wanted.lineage_id).await?;
        if base.is_none_or(|base| base.tag != wanted.tag) {
            continue;
        }
        match ctx.tx.acquire_lineage_lease(wanted.lineage_id, ctx.saga.id).await {
            Ok(_) => leased.push(place),
            Err(catalog::Error::Held { .. } | catalog::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(CatalogAnswer::BasesLeased(leased))
}

pub(super) async fn release_base_leases(ctx: &mut OpCtx<'_>, params: &base_release::Params) -> OpResult {
    for base in &params.bases {
        ctx.tx.release_lineage_lease(base.lineage_id, ctx.saga.id).await?;
    }
    Ok(CatalogAnswer::Done)
}

pub(super) async fn record_release(
    ctx: &mut OpCtx<'_>,
    params: &base_release::Params,
    gone: &[usize],
) -> OpResult {
    for base in gone.iter().filter_map(|place| params.bases.get(*place)) {
        ctx.tx.delete_lineage_base(base.lineage_id).await?;
        tell(ctx, params, base).await?;
    }
    release_base_leases(ctx, params).await
}

/// The bases of a workload whose release was refused, by tag.
///
/// Errors: the catalog.
pub(crate) async fn refused_releases(
    tx: &mut catalog::Tx,
    workload: WorkloadId,
) -> Result<BTreeMap<String, RefusedRelease>, catalog::Error> {
    let filter = SagaFilter {
        object_id: Some(workload.uuid()),
        limit: Some(RELEASES_LOOKED_AT),
        ..SagaFilter::default()
    };
    let mut refused = BTreeMap::new();
    for row in tx.list_sagas(&filter).await? {
        let (Some(ended_at), BaseRelease::KIND) = (row.finished_at, row.kind.as_str()) else { continue };
        let params = serde_json::from_str::<base_release::Params>(&row.params);
        let facts = serde_json::from_str::<base_release::Facts>(&row.facts);
        let (Ok(params), Ok(facts)) = (params, facts) else { continue };
        for (place, base) in params.bases.into_iter().enumerate() {
            let given_up = (row.phase != Phase::Succeeded.as_str()).then(|| row.error_message.clone());
            let why = facts.refused.get(&place).cloned().or(given_up.flatten());
            if let Some(why) = why {
                // The newest comes first.
                refused.entry(base.tag).or_insert(RefusedRelease { ended_at, why });
            }
        }
    }
    Ok(refused)
}

async fn tell(
    ctx: &mut OpCtx<'_>,
    params: &base_release::Params,
    base: &NeedlessBase,
) -> Result<(), OpError> {
    let NeedlessBase { volume_id, volume_name, why, .. } = base;
    tracing::info!(%volume_id, volume = volume_name, why, left_behind = base.is_left_behind, "a base was removed");
    if base.is_left_behind {
        let row = VolumeLeftRow {
            volume_id: *volume_id,
            workload_id: params.workload_id,
            instance_id: base.instance_id,
            name: volume_name.clone(),
            found_at: ctx.tx.now(),
        };
        ctx.tx.insert_volume_left(&row).await?;
        let message = format!(
            "volume {volume_name} ({volume_id}) was to be deleted with instance {}, and stayed because of a volume snapshot of \
             Holdfast, which is gone now: its user may delete it",
            base.instance_id
        );
        return Ok(ctx
            .announce_volume(*volume_id, VolumeFact::LeftBehind, ("VOLUME_LEFT_BEHIND", &message))
            .await?);
    }
    let message = format!(
        "the volume snapshot that Holdfast kept of volume {volume_name} ({volume_id}) was removed, since {why}: its user may \
         delete the volume"
    );
    Ok(ctx.announce_volume(*volume_id, VolumeFact::Freed, ("BASE_REMOVED", &message)).await?)
}

fn tagged(row: &KeptBaseRow) -> TaggedBase {
    let subject = format!("volume {} of instance {}", row.disk_id, row.instance_id);
    TaggedBase { subject, tag: row.base.tag.clone() }
}

/// The bases of a workload's disks that are in none of its instances any more: they are forgotten here, and removed by whoever
/// asked. An instance that was not described may still have its disks.
pub(super) async fn forget_orphans(
    ctx: &mut OpCtx<'_>,
    params: &crate::sagas::snapshot_create::Params,
    disks: &[(InstanceId, Vec<model::DiskId>)],
) -> OpResult {
    let mut orphans = Vec::new();
    for kept in ctx.tx.list_kept_bases(Some(params.workload_id)).await? {
        let described = disks.iter().find(|(instance, _)| *instance == kept.instance_id);
        let is_orphan = match described {
            Some((_, disks)) => !disks.contains(&kept.disk_id),
            None => !params.instance_ids.contains(&kept.instance_id),
        };
        if is_orphan && kept.holder_saga_id.is_none_or(|holder| holder == ctx.saga.id) {
            ctx.tx.delete_lineage_base(kept.base.lineage_id).await?;
            orphans.push(tagged(&kept));
        }
    }
    Ok(CatalogAnswer::BasesOrphaned(orphans))
}
