//! Volume snapshots: made with their tag, found by it, deleted by it.

use std::time::Duration;

use cloud::Tag;
use model::{ErrorClass, Failure, Owner, VolumeId, VolumeSnapshotId};
use openstack::Service::BlockStorage;
use serde_json::json;

use crate::calls::{Calls, wait};
use crate::wire::cinder::{Snapshot, SnapshotBody};
use crate::{describe, refusals, tags};

/// Storage that cuts at once needs seconds. Other storage copies: then the next attempt finds it.
const AVAILABLE_MAX: Duration = Duration::from_secs(120);
const GONE_MAX: Duration = Duration::from_secs(300);

/// Cuts a volume; it is cut when this returns.
///
/// Cinder answers before its storage cut anything, so the answer alone is no point in time: only `available` is.
pub(crate) async fn create(
    calls: &Calls,
    owner: &Owner,
    volume_id: VolumeId,
    tag: &Tag,
) -> Result<VolumeSnapshotId, Failure> {
    let volume = describe::find_volume(calls, owner, volume_id).await?;
    let path = format!("/snapshots/detail?volume_id={volume_id}");
    let (failed, sound): (Vec<Snapshot>, Vec<Snapshot>) =
        tagged(calls, path, tag).await?.into_iter().partition(|found| found.status.contains("error"));
    for snapshot in failed {
        remove(calls, &snapshot).await?;
    }
    if let Some(found) = sound.into_iter().find(|found| found.status != "deleting") {
        return wait_until_available(calls, found.id).await;
    }
    refusals::check_volume(&volume)?;
    let body = json!({"snapshot": {
        "volume_id": volume_id,
        "force": true, // attached volumes are the rule
        "name": "holdfast",
        "description": "made by Holdfast for a backup, and removed by it",
        "metadata": tags::metadata(&Default::default(), tag),
    }});
    let made: Result<SnapshotBody, _> = calls.post(BlockStorage, "/snapshots", &body).await;
    let made = made.map_err(|error| error.failure())?.snapshot;
    wait_until_available(calls, made.id).await
}

/// Deletes all that bear the tag; they are gone when this returns.
pub(crate) async fn delete(calls: &Calls, tag: &Tag) -> Result<(), Failure> {
    for snapshot in tagged(calls, "/snapshots/detail".to_owned(), tag).await? {
        remove(calls, &snapshot).await?;
    }
    Ok(())
}

async fn tagged(calls: &Calls, path: String, tag: &Tag) -> Result<Vec<Snapshot>, Failure> {
    let mut all: Vec<Snapshot> = calls.list(BlockStorage, path, "snapshots").await?;
    all.retain(|snapshot| tags::is_tagged(&snapshot.metadata, tag));
    Ok(all)
}

async fn wait_until_available(calls: &Calls, id: VolumeSnapshotId) -> Result<VolumeSnapshotId, Failure> {
    let what = format!("volume snapshot {id} has not become available");
    let look = || async {
        match find(calls, id).await? {
            Some(snapshot) if snapshot.status == "available" => Ok(Some(id)),
            Some(snapshot) if snapshot.status == "creating" => Ok(None),
            Some(Snapshot { status, volume_id, .. }) => Err(Failure::transient(
                "VOLUME_SNAPSHOT_FAILED",
                format!(
                    "volume snapshot {id} of volume {volume_id} is in state {status}: the log of the block storage service \
                     says why; the next attempt removes it and makes another"
                ),
            )),
            None => Err(Failure::transient(
                "VOLUME_SNAPSHOT_FAILED",
                format!("volume snapshot {id} was deleted by somebody else while it was made"),
            )),
        }
    };
    wait(AVAILABLE_MAX, "VOLUME_SNAPSHOT_SLOW", &what, look).await
}

/// Cinder accepts the deletion of a volume snapshot with clones too; then it is `available` again, and nothing else says so.
async fn remove(calls: &Calls, snapshot: &Snapshot) -> Result<(), Failure> {
    let (id, volume_id) = (snapshot.id, snapshot.volume_id);
    let what = format!("volume snapshot {id} of volume {volume_id} has not been settled");
    let settled = || async {
        Ok(match find(calls, id).await? {
            Some(found) if matches!(found.status.as_str(), "creating" | "deleting") => None,
            other => Some(other),
        })
    };
    let Some(_) = wait(GONE_MAX, "VOLUME_SNAPSHOT_SLOW", &what, settled).await? else { return Ok(()) };
    calls.delete(BlockStorage, format!("/snapshots/{id}")).await?;
    match wait(GONE_MAX, "VOLUME_SNAPSHOT_SLOW", &what, settled).await? {
        None => Ok(()),
        Some(found) if found.status == "available" => Err(Failure::new(
            ErrorClass::Contention,
            "VOLUME_SNAPSHOT_IN_USE",
            format!(
                "volume snapshot {id} of volume {volume_id} was not deleted: volumes were made from it, and the storage keeps it \
                 for them; delete those, or wait until they are gone"
            ),
        )),
        Some(found) => Err(Failure::transient(
            "VOLUME_SNAPSHOT_NOT_DELETED",
            format!(
                "volume snapshot {id} of volume {volume_id} is in state {} instead of gone: the log of the block storage service \
                 says why",
                found.status
            ),
        )),
    }
}

async fn find(calls: &Calls, id: VolumeSnapshotId) -> Result<Option<Snapshot>, Failure> {
    let found: Option<SnapshotBody> = calls.find(BlockStorage, format!("/snapshots/{id}")).await?;
    Ok(found.map(|body| body.snapshot))
}
