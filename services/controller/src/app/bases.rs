//! Kept bases: volume snapshots that the next snapshot of a workload builds on. While they are there, the cloud does not let
//! users delete the volumes. So those that nothing will build on go as soon as somebody looks: `base_keeper` from time to time,
//! and whoever hears that an instance was deleted or a volume detached.

use std::collections::BTreeMap;
use std::time::Duration;

use catalog::KeptBaseRow;
use cloud::{InstanceDescription, VolumeUse};
use model::{Failure, InstanceId, Owner, VolumeId, WorkloadId, WorkloadState};
use tokio::time::timeout;

use super::Error;
use super::retrying::retrying;
use crate::engine::{BaseRelease, BaseReleaseOrder, NeedlessBase, refused_releases};
use crate::state::AppState;

/// One question to the cloud; what takes longer is asked again at the next look.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A base that the cloud did not let go of, as one that a user made a volume of, is left for so long.
const REFUSAL_LASTS: Duration = Duration::from_secs(4 * 3600);

/// Whether a base whose removal was refused is tried again at once: somebody heard that something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    None,
    Hours,
}

/// Has those bases removed, of one workload or of all, whose volumes are not used by their instances any more; gives how many
/// there are. A saga does it.
///
/// Errors: the catalog's. A cloud that does not answer is none: its bases are looked at the next time.
pub async fn release_needless(state: &AppState, workload: Option<WorkloadId>) -> Result<usize, Error> {
    let mut tx = state.catalog.read().await?;
    let kept = tx.list_kept_bases(workload).await?;
    drop(tx);
    let mut by_workload: BTreeMap<WorkloadId, Vec<KeptBaseRow>> = BTreeMap::new();
    for row in kept.into_iter().filter(|row| row.holder_saga_id.is_none()) {
        by_workload.entry(row.workload_id).or_default().push(row);
    }
    let mut count = 0;
    for (id, rows) in by_workload {
        let patience = if workload.is_some() { Patience::None } else { Patience::Hours };
        count += look_at(state, id, &rows, patience).await?;
    }
    if workload.is_none() {
        forget_deleted(state).await?;
    }
    Ok(count)
}

fn volume_of(row: &KeptBaseRow) -> Option<VolumeId> {
    row.disk_id.as_str().parse().ok()
}

/// Looks at bases of one workload, and starts the saga that removes the needless.
async fn look_at(
    state: &AppState,
    id: WorkloadId,
    rows: &[KeptBaseRow],
    patience: Patience,
) -> Result<usize, Error> {
    let mut tx = state.catalog.read().await?;
    let Some(workload) = tx.get_workload(id).await? else { return Ok(0) };
    let owner = workload.owner();
    let refused = refused_releases(&mut tx, id).await?;
    drop(tx);
    let now = state.clock.now();
    let is_refused = |row: &&KeptBaseRow| {
        refused.get(&row.base.tag).is_some_and(|refused| now.since(refused.ended_at) < REFUSAL_LASTS)
    };
    let mut bases = Vec::new();
    for row in rows.iter().filter(|row| patience == Patience::None || !is_refused(row)) {
        match judge(state, &owner, row).await {
            Ok(base) => bases.extend(base),
            Err(failure) => {
                // Of this owner nothing more is learned now.
                tracing::info!(workload_id = %id, code = failure.code, error = failure.message, "kept bases cannot be looked at now");
                break;
            }
        }
    }
    if bases.is_empty() {
        return Ok(0);
    }
    let count = bases.len();
    let Owner { project_id, user_id } = owner;
    let order = BaseReleaseOrder { project_id, user_id, workload_id: id, bases };
    retrying(|| start(state, &order)).await?;
    state.engine.wake();
    Ok(count)
}

async fn start(state: &AppState, order: &BaseReleaseOrder) -> Result<(), Error> {
    let mut tx = state.catalog.begin().await?;
    let saga_id = state.engine.new_saga_id();
    state.engine.start::<BaseRelease>(&mut tx, saga_id, order).await?;
    Ok(tx.commit().await?)
}

/// `None`: the next snapshot may build on it.
async fn judge(state: &AppState, owner: &Owner, row: &KeptBaseRow) -> Result<Option<NeedlessBase>, Failure> {
    let Some(volume_id) = volume_of(row) else { return Ok(None) };
    let found = in_time(state.cloud.volume_use(owner, volume_id)).await?;
    let (volume_name, why) = match found {
        None => (String::new(), "the volume is gone"),
        Some(VolumeUse { name, is_free: true, .. }) => (name, "the volume is not attached any more"),
        Some(VolumeUse { name, holders, .. })
            if !holders.is_empty() && !holders.contains(&row.instance_id) =>
        {
            (name, "the volume is attached to another instance")
        }
        Some(_) => return Ok(None),
    };
    let is_left_behind = !volume_name.is_empty()
        && was_to_go_with_its_instance(state, row, volume_id).await?
        && is_gone(state, owner, row.instance_id).await?;
    Ok(Some(NeedlessBase {
        lineage_id: row.base.lineage_id,
        tag: row.base.tag.clone(),
        volume_id,
        volume_name,
        instance_id: row.instance_id,
        why: why.to_owned(),
        is_left_behind,
    }))
}

/// As it was when the base was made.
async fn was_to_go_with_its_instance(
    state: &AppState,
    row: &KeptBaseRow,
    volume_id: VolumeId,
) -> Result<bool, Failure> {
    let read = async {
        let mut tx = state.catalog.read().await?;
        tx.list_snapshot_instances(row.base.snapshot_id).await
    };
    let instances = read.await.map_err(|error| error.failure())?;
    let described = instances.into_iter().find(|instance| instance.instance_id == row.instance_id);
    let described =
        described.and_then(|it| serde_json::from_str::<InstanceDescription>(&it.description_json).ok());
    let disks = described.map(|instance| instance.disks).unwrap_or_default();
    let disk = disks.into_iter().find(|disk| disk.volume_id == Some(volume_id));
    Ok(disk.is_some_and(|disk| disk.attachment.delete_on_termination))
}

async fn is_gone(state: &AppState, owner: &Owner, id: InstanceId) -> Result<bool, Failure> {
    let instances = in_time(state.cloud.list_instances(owner)).await?;
    Ok(!instances.iter().any(|(listed, _)| *listed == id))
}

/// Notes of volumes that their users deleted since go.
async fn forget_deleted(state: &AppState) -> Result<(), Error> {
    let mut tx = state.catalog.read().await?;
    let left = tx.list_volumes_left(None).await?;
    drop(tx);
    for row in left {
        let Some(workload) = state.catalog.read().await?.get_workload(row.workload_id).await? else {
            continue;
        };
        // Of a workload that is deleted nobody asks any more: a release that ended after it noted the volume.
        let is_over = workload.status == WorkloadState::Deleted;
        // A cloud that does not answer proves nothing.
        if is_over
            || matches!(in_time(state.cloud.volume_use(&workload.owner(), row.volume_id)).await, Ok(None))
        {
            let mut tx = state.catalog.begin().await?;
            tx.delete_volume_left(row.volume_id).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

async fn in_time<T>(question: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(ANSWER_MAX, question).await.unwrap_or_else(|_| {
        let message = format!("the cloud did not answer in {} seconds", ANSWER_MAX.as_secs());
        Err(Failure::transient("CLOUD_SILENT", message))
    })
}
