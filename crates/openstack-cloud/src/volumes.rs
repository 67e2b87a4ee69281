//! Volumes: made with their tag, found by it, deleted by it.

use std::collections::BTreeMap;
use std::time::Duration;

use cloud::{NewVolume, Tag, VolumeUse};
use model::{ByteCount, ErrorClass, Failure, Owner, VolumeId};
use openstack::Service::BlockStorage;
use serde_json::json;

use crate::calls::{Calls, wait};
use crate::wire::cinder::{Volume, VolumeBody};
use crate::{attachments, tags};

const AVAILABLE_MAX: Duration = Duration::from_secs(300);
const GONE_MAX: Duration = Duration::from_secs(300);

/// Makes a volume, empty or from its source. Ready to be written, and bootable if it shall be, when this returns.
pub(crate) async fn create(calls: &Calls, new: &NewVolume) -> Result<VolumeId, Failure> {
    let (failed, sound): (Vec<Volume>, Vec<Volume>) =
        tagged(calls, &new.tag).await?.into_iter().partition(|found| found.status.contains("error"));
    for volume in failed {
        remove(calls, &volume).await?;
    }
    let found = sound.into_iter().find(|found| found.status != "deleting");
    let id = match found {
        Some(found) => found.id,
        None => {
            let mut volume = json!({
                "name": new.name,
                "size": gib(new.size),
                "metadata": tags::metadata(&BTreeMap::new(), &new.tag),
            });
            if let Some(source) = new.source {
                volume["snapshot_id"] = json!(source);
            }
            if !new.volume_type.is_empty() {
                volume["volume_type"] = json!(new.volume_type);
            }
            let made: Result<VolumeBody, _> =
                calls.post(BlockStorage, "/volumes", &json!({ "volume": volume })).await;
            made.map_err(|error| error.failure())?.volume.id
        }
    };
    wait_until_available(calls, id).await?;
    if new.bootable {
        // Each may be said again.
        let path = format!("/volumes/{id}/action");
        calls.act(BlockStorage, path.clone(), &json!({"os-set_bootable": {"bootable": true}})).await?;
        if !new.image_properties.is_empty() {
            let metadata = json!({"os-set_image_metadata": {"metadata": new.image_properties}});
            calls.act(BlockStorage, path, &metadata).await?;
        }
    }
    Ok(id)
}

/// Deletes all that bear the tag; they are gone when this returns.
pub(crate) async fn delete(calls: &Calls, tag: &Tag) -> Result<(), Failure> {
    for volume in tagged(calls, tag).await? {
        remove(calls, &volume).await?;
    }
    Ok(())
}

/// Who uses a volume of the project. A shelved instance holds its volumes reserved: those are not free.
pub(crate) async fn find_use(
    calls: &Calls,
    owner: &Owner,
    id: VolumeId,
) -> Result<Option<VolumeUse>, Failure> {
    let found = find(calls, id).await?;
    let of_owner =
        |volume: &Volume| volume.tenant_id.as_deref().is_none_or(|it| it == owner.project_id.as_str());
    Ok(found.filter(of_owner).map(|volume| VolumeUse {
        is_free: volume.status == "available",
        holders: volume.attachments.iter().filter_map(|hold| hold.server_id.parse().ok()).collect(),
        name: volume.name,
    }))
}

/// Cinder's sizes are whole GiB; what a disk does not fill is a tail of zeroes.
pub(crate) const fn gib(size: ByteCount) -> u64 {
    let whole = size.0.div_ceil(1 << 30);
    if whole == 0 { 1 } else { whole }
}

pub(crate) async fn tagged(calls: &Calls, tag: &Tag) -> Result<Vec<Volume>, Failure> {
    let mut all: Vec<Volume> = calls.list(BlockStorage, "/volumes/detail".to_owned(), "volumes").await?;
    all.retain(|volume| tags::is_tagged(&volume.metadata, tag));
    Ok(all)
}

async fn wait_until_available(calls: &Calls, id: VolumeId) -> Result<(), Failure> {
    let what = format!("volume {id} has not become available");
    let look = || async {
        match find(calls, id).await? {
            // In use: of a repeat, after the instance was made from it.
            Some(volume) if matches!(volume.status.as_str(), "available" | "in-use") => Ok(Some(())),
            Some(volume) if volume.status.contains("error") => Err(Failure::transient(
                "VOLUME_FAILED",
                format!(
                    "volume {id} is in state {}: the log of the block storage service says why, often that no storage has room \
                     for it; the next attempt removes it and makes another",
                    volume.status
                ),
            )),
            Some(_) => Ok(None),
            None => Err(Failure::transient(
                "VOLUME_FAILED",
                format!("volume {id} was deleted by somebody else while it was made"),
            )),
        }
    };
    wait(AVAILABLE_MAX, "VOLUME_SLOW", &what, look).await
}

async fn remove(calls: &Calls, volume: &Volume) -> Result<(), Failure> {
    let id = volume.id;
    let what = format!("volume {id} has not been settled");
    let settled = || async {
        Ok(match find(calls, id).await? {
            Some(found) if matches!(found.status.as_str(), "creating" | "deleting" | "detaching") => None,
            other => Some(other),
        })
    };
    // A volume of ours that hangs on a host, and not on an instance, hangs on nobody's wish but ours.
    attachments::detach(calls, id).await?;
    match wait(GONE_MAX, "VOLUME_SLOW", &what, settled).await? {
        None => return Ok(()),
        Some(found) if found.status == "in-use" => return Err(in_use(&found)),
        Some(_) => calls.delete(BlockStorage, format!("/volumes/{id}")).await?,
    }
    match wait(GONE_MAX, "VOLUME_SLOW", &what, settled).await? {
        None => Ok(()),
        Some(found) if matches!(found.status.as_str(), "available" | "in-use") => Err(in_use(&found)),
        Some(found) => Err(Failure::transient(
            "VOLUME_NOT_DELETED",
            format!(
                "volume {id} is in state {} instead of gone: the log of the block storage service says why",
                found.status
            ),
        )),
    }
}

fn in_use(volume: &Volume) -> Failure {
    let Volume { id, name, status, attachments, .. } = volume;
    let holders: Vec<_> = attachments.iter().map(|hold| hold.server_id.as_str()).collect();
    let message = format!(
        "volume {name} ({id}) was not deleted: it is {status}, attached to instance {}; detach it, or delete the instance",
        if holders.is_empty() { "none".to_owned() } else { holders.join(", ") }
    );
    Failure::new(ErrorClass::Contention, "VOLUME_IN_USE", message)
}

pub(crate) async fn find(calls: &Calls, id: VolumeId) -> Result<Option<Volume>, Failure> {
    let found: Option<VolumeBody> = calls.find(BlockStorage, format!("/volumes/{id}")).await?;
    Ok(found.map(|body| body.volume))
}
