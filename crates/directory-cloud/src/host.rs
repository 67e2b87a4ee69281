//! The port of a datamover: the instances of its own host, and the disks it may open.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cloud::{
    Base, ChangeRecord, Changes, CutRequest, DestinationDisk, Frozen, Host, HostLeftover, LeftoverKey,
    Moment, SourceDisk, SourceQuery, Thawed,
};
use model::{
    DiskFormat, DiskLocation, Failure, HostName, InstanceId, SnapshotId, VolumeId, VolumeSnapshotId,
};
use runtime::FaultTable;

use crate::cut;
use crate::effect::{self, Effects};
use crate::error::{self, OpenError};
use crate::image;
use crate::record::{CutRecord, VolumeSnapshotRecord};
use crate::store::{self, IMAGE, INSTANCES, Instance, Store, VOLUME_SNAPSHOTS};

/// There while the guest is frozen; holds how many file systems are.
const FROZEN: &str = "frozen";
/// There in the folder of a volume snapshot since which changes are not known rightly.
const DISTRUSTED: &str = "distrusted";

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

    async fn cut(&self, request: &CutRequest) -> Result<Moment, Failure> {
        let (host, request) = (self.host.clone(), request.clone());
        let cut = move |store: &Store| cut::cut(store, &own(store, &host, request.instance_id)?, &request);
        self.effects.perform("cut", cut).await
    }

    async fn end_cut(
        &self,
        instance: InstanceId,
        snapshot: SnapshotId,
        _keep_changes: bool,
    ) -> Result<(), Failure> {
        let record = CutRecord { instance_id: instance, snapshot_id: snapshot, host: self.host.clone() };
        self.effects.perform("end_cut", move |store| cut::end(store, &record)).await
    }

    /// This cloud keeps no records of changes.
    async fn drop_changes(&self, id: InstanceId) -> Result<(), Failure> {
        let host = self.host.clone();
        self.effects.perform("drop_changes", move |store| own(store, &host, id).map(drop)).await
    }

    async fn source_disk(&self, query: &SourceQuery) -> Result<SourceDisk, Failure> {
        let (host, query) = (self.host.clone(), query.clone());
        let find = move |store: &Store| source_disk(store, &own(store, &host, query.instance_id)?, &query);
        self.effects.perform("source_disk", find).await
    }

    async fn check_moment(&self, query: &SourceQuery) -> Result<(), Failure> {
        let (host, query) = (self.host.clone(), query.clone());
        let check = move |store: &Store| check_moment(store, &own(store, &host, query.instance_id)?, &query);
        self.effects.perform("check_moment", check).await
    }

    async fn forget_changes(&self, query: &SourceQuery) -> Result<(), Failure> {
        let (host, query) = (self.host.clone(), query.clone());
        let forget =
            move |store: &Store| forget_changes(store, &own(store, &host, query.instance_id)?, &query);
        self.effects.perform("forget_changes", forget).await
    }

    async fn changes_are_false(&self, query: &SourceQuery) -> Result<bool, Failure> {
        let query = query.clone();
        self.effects.perform("changes_are_false", move |store| changes_are_false(store, &query)).await
    }

    async fn destination_disk(&self, volume: VolumeId) -> Result<DestinationDisk, Failure> {
        self.effects.perform("destination_disk", move |store| destination_disk(store, volume)).await
    }

    async fn list_leftovers(&self) -> Result<Vec<HostLeftover>, Failure> {
        let host = self.host.clone();
        self.effects.perform("list_leftovers", move |store| list_cuts(store, &host)).await
    }

    /// This cloud has nothing but cuts to remove.
    async fn remove_leftover(&self, key: LeftoverKey) -> Result<(), Failure> {
        let LeftoverKey::Cut { instance, snapshot } = key else { return Ok(()) };
        self.end_cut(instance, snapshot, false).await
    }

    async fn list_frozen(&self) -> Result<Vec<InstanceId>, Failure> {
        let host = self.host.clone();
        self.effects.perform("list_frozen", move |store| list_frozen(store, &host)).await
    }
}

fn own(store: &Store, host: &HostName, id: InstanceId) -> Result<Instance, Failure> {
    let instance = store.find_instance(id)?;
    let instance = instance.ok_or_else(|| error::not_found("INSTANCE_NOT_FOUND", "instance", id))?;
    if instance.record.host == *host {
        return Ok(instance);
    }
    // It moved after it was looked up: the next attempt looks again.
    Err(Failure::transient(
        "FOREIGN_INSTANCE",
        format!("instance {id} is on host {}, not on {host}; it is looked up again", instance.record.host),
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

fn list_cuts(store: &Store, host: &HostName) -> Result<Vec<HostLeftover>, Failure> {
    let cuts = store.cut_records()?.into_iter().filter(|record| record.host == *host);
    let tell = |CutRecord { instance_id: instance, snapshot_id: snapshot, .. }: CutRecord| HostLeftover {
        key: LeftoverKey::Cut { instance, snapshot },
        name: "a copy of its disks".to_owned(),
        owner: None,
        age: None,
        size: None,
        base_of: None,
    };
    Ok(cuts.map(tell).collect())
}

fn list_frozen(store: &Store, host: &HostName) -> Result<Vec<InstanceId>, Failure> {
    let mut frozen = Vec::new();
    for instance in store.instances()?.into_iter().filter(|instance| instance.record.host == *host) {
        if store.root().read_text(&marker(&instance))?.is_some() {
            frozen.push(instance.record.id);
        }
    }
    Ok(frozen)
}

fn source_disk(store: &Store, instance: &Instance, query: &SourceQuery) -> Result<SourceDisk, Failure> {
    let Moment::VolumeSnapshot(id) = query.moment else {
        let image = cut::local_image(store, instance, query)?;
        return Ok(SourceDisk {
            location: DiskLocation::file(store.root().absolute(&image.image), image.format),
            size: image.size,
            changes: None,
            full_read_reason: None,
            changes_are_false: false,
            keeps_changes: false,
        });
    };
    let kept = volume_snapshot(store, instance, query, id)?.ok_or_else(|| {
        error::no_such_disk(format_args!("disk {} has no volume snapshot {id}", query.disk_id))
    })?;
    let relative = snapshot_image(id);
    store.open_image(&relative)?;
    let keeps_changes = store.settings()?.keeps_changes && kept.format == DiskFormat::Raw;
    let (changes, full_read_reason) = match query.base {
        Some(Base { snapshot_id, volume_snapshot_id: Some(base) }) if keeps_changes => {
            match volume_snapshot(store, instance, query, base)? {
                Some(_) if changes_are_false(store, query)? => {
                    (None, Some(format!("what changed since snapshot {snapshot_id} was found to be false")))
                }
                Some(base) => (Some(changes_since(store, snapshot_id, &base, &kept)?), None),
                None => (None, Some(format!("the volume snapshot {base} of snapshot {snapshot_id} is gone"))),
            }
        }
        _ => (None, None),
    };
    let location = DiskLocation::file(store.root().absolute(&relative), kept.format);
    let (size, changes_are_false) = (kept.size_bytes, changes_are_false(store, query)?);
    Ok(SourceDisk { location, size, changes, full_read_reason, changes_are_false, keeps_changes })
}

fn check_moment(store: &Store, instance: &Instance, query: &SourceQuery) -> Result<(), Failure> {
    let Moment::VolumeSnapshot(id) = query.moment else {
        return cut::local_image(store, instance, query).map(drop);
    };
    let what = format!("its volume snapshot {id} was deleted");
    let kept = volume_snapshot(store, instance, query, id)?;
    kept.map(drop).ok_or_else(|| error::point_in_time_lost(&query.disk_id, &instance.record.name, &what))
}

fn forget_changes(store: &Store, instance: &Instance, query: &SourceQuery) -> Result<(), Failure> {
    let Some(Base { volume_snapshot_id: Some(id), .. }) = query.base else { return Ok(()) };
    let Some(base) = volume_snapshot(store, instance, query, id)? else { return Ok(()) };
    let lock = store.root().lock()?;
    store.root().mark(&distrusted(base.id), "", &lock).map(drop)
}

fn changes_are_false(store: &Store, query: &SourceQuery) -> Result<bool, Failure> {
    let Some(Base { volume_snapshot_id: Some(id), .. }) = query.base else { return Ok(false) };
    Ok(store.root().read_text(&distrusted(id))?.is_some())
}

/// A volume snapshot, if it is one of the disk that is asked for.
fn volume_snapshot(
    store: &Store,
    instance: &Instance,
    query: &SourceQuery,
    id: VolumeSnapshotId,
) -> Result<Option<VolumeSnapshotRecord>, Failure> {
    let is_named = |volume: &VolumeId| volume.to_string() == query.disk_id.as_str();
    let volume = instance.record.disk.iter().filter_map(|disk| disk.volume_id).find(is_named);
    let volume = volume.ok_or_else(|| {
        error::no_such_disk(format_args!("instance {} has no volume {}", instance.record.id, query.disk_id))
    })?;
    let kept = store.volume_snapshot_record(id)?;
    Ok(kept.filter(|record| record.volume_id == volume && record.project == instance.project))
}

fn changes_since(
    store: &Store,
    since: SnapshotId,
    old: &VolumeSnapshotRecord,
    new: &VolumeSnapshotRecord,
) -> Result<Changes, Failure> {
    let open = |record: &VolumeSnapshotRecord| store.open_image(&snapshot_image(record.id));
    let extents = image::differences(&open(old)?, &open(new)?).map_err(|source| {
        error::io(format_args!("compare volume snapshots {} and {}", old.id, new.id), &source)
    })?;
    Ok(Changes { since, record: ChangeRecord::Extents(extents) })
}

fn distrusted(id: VolumeSnapshotId) -> PathBuf {
    Path::new(VOLUME_SNAPSHOTS).join(id.to_string()).join(DISTRUSTED)
}

fn snapshot_image(id: VolumeSnapshotId) -> PathBuf {
    Path::new(VOLUME_SNAPSHOTS).join(id.to_string()).join(IMAGE)
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
