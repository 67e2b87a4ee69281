//! The port of a datamover: the instances of its own host, and the disks it may open.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cloud::{DestinationDisk, Frozen, Host, SourceDisk, Thawed};
use model::{DiskId, DiskLocation, Failure, HostName, InstanceId, VolumeId, VolumeSnapshotId};
use runtime::FaultTable;

use crate::effect::{self, Effects};
use crate::error::{self, OpenError};
use crate::store::{self, IMAGE, INSTANCES, Instance, Store, VOLUME_SNAPSHOTS};

/// There while the guest is frozen; holds how many file systems are.
const FROZEN: &str = "frozen";

/// One host of the folder.
#[derive(Debug, Clone)]
pub struct DirectoryHost {
    host: HostName,
    effects: Effects,
}

impl DirectoryHost {
    /// Opens the folder at `path` for the instances of `host`.
    pub fn open(path: &Path, host: HostName, faults: FaultTable) -> Result<Self, OpenError> {
        Ok(Self { host, effects: Effects::open(path, faults)? })
    }
}

#[async_trait]
impl Host for DirectoryHost {
    async fn freeze(&self, id: InstanceId) -> Result<Frozen, Failure> {
        let host = self.host.clone();
        self.effects.perform("freeze", move |store| freeze(store, &host, id)).await
    }

    async fn thaw(&self, id: InstanceId) -> Result<Thawed, Failure> {
        let host = self.host.clone();
        self.effects.perform("thaw", move |store| thaw(store, &host, id)).await
    }

    async fn source_disk(
        &self,
        id: InstanceId,
        disk: &DiskId,
        volume_snapshot: VolumeSnapshotId,
    ) -> Result<SourceDisk, Failure> {
        let (host, disk) = (self.host.clone(), disk.clone());
        let find = move |store: &Store| source_disk(store, &own(store, &host, id)?, &disk, volume_snapshot);
        self.effects.perform("source_disk", find).await
    }

    async fn destination_disk(&self, volume: VolumeId) -> Result<DestinationDisk, Failure> {
        self.effects.perform("destination_disk", move |store| destination_disk(store, volume)).await
    }
}

fn own(store: &Store, host: &HostName, id: InstanceId) -> Result<Instance, Failure> {
    let instance = store.find_instance(id)?;
    let instance = instance.ok_or_else(|| error::not_found("INSTANCE_NOT_FOUND", "instance", id))?;
    if instance.record.host == *host {
        return Ok(instance);
    }
    Err(Failure::permanent(
        "FOREIGN_INSTANCE",
        format!("instance {id} is on host {}, not on {host}: ask that host", instance.record.host),
    ))
}

fn freeze(store: &Store, host: &HostName, id: InstanceId) -> Result<Frozen, Failure> {
    let instance = own(store, host, id)?;
    if !instance.record.guest_agent {
        return Ok(Frozen { count: 0 });
    }
    let count = u32::try_from(instance.record.disk.len()).unwrap_or(u32::MAX);
    let lock = store.root().lock()?;
    if store.root().mark(&marker(&instance), &count.to_string(), &lock)? {
        effect::record(store, "freeze", id, None)?;
    }
    Ok(Frozen { count })
}

fn thaw(store: &Store, host: &HostName, id: InstanceId) -> Result<Thawed, Failure> {
    let instance = own(store, host, id)?;
    let lock = store.root().lock()?;
    let Some(text) = store.root().read_text(&marker(&instance))? else { return Ok(Thawed { count: 0 }) };
    if store.root().unmark(&marker(&instance), &lock)? {
        effect::record(store, "thaw", id, None)?;
    }
    // A marker that a killed process left empty still stood for a frozen guest.
    Ok(Thawed { count: text.trim().parse().unwrap_or(1) })
}

fn source_disk(
    store: &Store,
    instance: &Instance,
    disk: &DiskId,
    id: VolumeSnapshotId,
) -> Result<SourceDisk, Failure> {
    let no_such_disk = |what: String| Failure::permanent("NO_SUCH_DISK", what);
    let named = instance.record.disk.iter().find(|record| store::disk_id(record).as_ref() == Ok(disk));
    let named =
        named.ok_or_else(|| no_such_disk(format!("instance {} has no disk {disk}", instance.record.id)))?;
    let kept = store
        .volume_snapshot_record(id)?
        .filter(|record| record.volume_id == named.volume_id && record.project == instance.project);
    let kept = kept.ok_or_else(|| no_such_disk(format!("disk {disk} has no volume snapshot {id}")))?;
    let relative = Path::new(VOLUME_SNAPSHOTS).join(id.to_string()).join(IMAGE);
    store.open_image(&relative)?;
    let location = DiskLocation::file(store.root().absolute(&relative), kept.format);
    Ok(SourceDisk { location, size: kept.size_bytes, changes: None })
}

fn destination_disk(store: &Store, id: VolumeId) -> Result<DestinationDisk, Failure> {
    let kept = store.volume_record(id)?;
    let kept = kept.ok_or_else(|| error::not_found("VOLUME_NOT_FOUND", "volume", id))?;
    if let Some(holder) = store.holder(id)? {
        return Err(error::in_use(id, &holder.record.name));
    }
    let relative = store::volume_image(id);
    store.open_image(&relative)?;
    let location = DiskLocation::file(store.root().absolute(&relative), kept.format);
    Ok(DestinationDisk { location, size: kept.size_bytes })
}

fn marker(instance: &Instance) -> PathBuf {
    Path::new(INSTANCES).join(&instance.folder).join(FROZEN)
}
