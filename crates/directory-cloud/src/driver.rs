//! The port of the controllers' cloud workers. Creates look for their tag first, build a folder that nobody sees, and look
//! once more, under the lock, before they show it: so a create that runs twice, or twice at once, makes one thing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cloud::{
    Attached, Cloud, InstanceDescription, NewInstance, NewVolume, Planned, Resource, ResourceKind, Tag,
    VolumeUse,
};
use model::{Failure, HostName, InstanceId, Owner, ProjectId, VolumeId, VolumeSnapshotId};
use runtime::{Clock as _, Entropy, FaultTable, SystemClock};

use crate::attachment;
use crate::effect::{self, Effects};
use crate::error::{self, OpenError};
use crate::image;
use crate::quotas;
use crate::record::{self, DiskRecord, InstanceRecord, VolumeRecord, VolumeSnapshotRecord};
use crate::store::{
    IMAGE, INSTANCE_RECORD, INSTANCES, Instance, Store, VOLUME_RECORD, VOLUME_SNAPSHOT_RECORD,
    VOLUME_SNAPSHOTS, VOLUMES,
};

/// The whole folder.
#[derive(Debug, Clone)]
pub struct DirectoryCloud {
    effects: Effects,
}

impl DirectoryCloud {
    /// Opens the folder at `path`.
    pub fn open(path: &Path, faults: FaultTable) -> Result<Self, OpenError> {
        Ok(Self { effects: Effects::open(path, faults)? })
    }
}

#[async_trait]
impl Cloud for DirectoryCloud {
    async fn describe_instance(&self, owner: &Owner, id: InstanceId) -> Result<InstanceDescription, Failure> {
        let project = owner.project_id.clone();
        let describe = move |store: &Store| store.describe(&store.instance(&project, id)?);
        self.effects.perform("describe_instance", describe).await
    }

    async fn list_instances(&self, owner: &Owner) -> Result<Vec<(InstanceId, String)>, Failure> {
        let project = owner.project_id.clone();
        let list = self.effects.perform("list_instances", move |store| {
            let instances = store.instances()?.into_iter().filter(|instance| instance.project == project);
            Ok(instances.map(|instance| (instance.record.id, instance.record.name)).collect())
        });
        list.await
    }

    async fn create_volume_snapshot(
        &self,
        owner: &Owner,
        volume: VolumeId,
        tag: &Tag,
    ) -> Result<VolumeSnapshotId, Failure> {
        let (project, tag) = (owner.project_id.clone(), tag.clone());
        let create = move |store: &Store| create_volume_snapshot(store, &project, volume, &tag);
        self.effects.perform("create_volume_snapshot", create).await
    }

    async fn volume_use(&self, owner: &Owner, volume: VolumeId) -> Result<Option<VolumeUse>, Failure> {
        let project = owner.project_id.clone();
        self.effects.perform("volume_use", move |store| volume_use(store, &project, volume)).await
    }

    async fn delete_volume_snapshots(&self, owner: &Owner, tag: &Tag) -> Result<(), Failure> {
        let (project, tag) = (owner.project_id.clone(), tag.clone());
        let delete = self.effects.perform("delete_volume_snapshots", move |store| {
            let lock = store.root().lock()?;
            for record in store.volume_snapshot_records(&project)? {
                if record.tag.as_ref() == Some(&tag) {
                    store.root().remove(VOLUME_SNAPSHOTS, &record.id.to_string(), &lock)?;
                    effect::record(store, "delete_volume_snapshot", record.id, Some(tag.as_str()))?;
                }
            }
            Ok(())
        });
        delete.await
    }

    async fn create_volume(&self, owner: &Owner, volume: &NewVolume) -> Result<VolumeId, Failure> {
        let (project, volume) = (owner.project_id.clone(), volume.clone());
        self.effects.perform("create_volume", move |store| create_volume(store, &project, &volume)).await
    }

    async fn delete_volumes(&self, owner: &Owner, tag: &Tag) -> Result<(), Failure> {
        let (project, tag) = (owner.project_id.clone(), tag.clone());
        let delete = self.effects.perform("delete_volumes", move |store| {
            let lock = store.root().lock()?;
            for record in store.volume_records(&project)? {
                if record.tag.as_ref() == Some(&tag) {
                    if let Some(holder) = store.holder(record.id)? {
                        return Err(error::in_use(record.id, &holder.record.name));
                    }
                    attachment::end(store, &project, record.id, &lock)?;
                    store.root().remove(VOLUMES, &record.id.to_string(), &lock)?;
                    effect::record(store, "delete_volume", record.id, Some(tag.as_str()))?;
                }
            }
            Ok(())
        });
        delete.await
    }

    async fn attach_volume(
        &self,
        owner: &Owner,
        volume: VolumeId,
        connector: &str,
    ) -> Result<Attached, Failure> {
        let (project, connector) = (owner.project_id.clone(), connector.to_owned());
        let attach = move |store: &Store| attachment::begin(store, &project, volume, &connector);
        self.effects.perform("attach_volume", attach).await
    }

    async fn detach_volumes(&self, owner: &Owner, tag: &Tag) -> Result<(), Failure> {
        let (project, tag) = (owner.project_id.clone(), tag.clone());
        let detach = self.effects.perform("detach_volumes", move |store| {
            let lock = store.root().lock()?;
            for record in store.volume_records(&project)? {
                if record.tag.as_ref() == Some(&tag) {
                    attachment::end(store, &project, record.id, &lock)?;
                }
            }
            Ok(())
        });
        detach.await
    }

    async fn create_instance(&self, owner: &Owner, instance: &NewInstance) -> Result<InstanceId, Failure> {
        let (project, instance) = (owner.project_id.clone(), instance.clone());
        let create = move |store: &Store| create_instance(store, &project, &instance);
        self.effects.perform("create_instance", create).await
    }

    async fn delete_instances(&self, owner: &Owner, tag: &Tag) -> Result<(), Failure> {
        let (project, tag) = (owner.project_id.clone(), tag.clone());
        let delete = self.effects.perform("delete_instances", move |store| {
            let lock = store.root().lock()?;
            for instance in store.tagged_instances(&project, &tag)? {
                store.root().remove(INSTANCES, &instance.folder, &lock)?;
                effect::record(store, "delete_instance", instance.record.id, Some(tag.as_str()))?;
            }
            Ok(())
        });
        delete.await
    }

    async fn check_quotas(&self, owner: &Owner, plan: &[Planned]) -> Result<(), Failure> {
        let (project, plan) = (owner.project_id.clone(), plan.to_vec());
        let check = move |store: &Store| quotas::check(store, &project, &plan);
        self.effects.perform("check_quotas", check).await
    }

    async fn list_resources(&self, owner: &Owner) -> Result<Vec<Resource>, Failure> {
        let project = owner.project_id.clone();
        self.effects.perform("list_resources", move |store| list_resources(store, &project)).await
    }
}

fn create_volume_snapshot(
    store: &Store,
    project: &ProjectId,
    volume_id: VolumeId,
    tag: &Tag,
) -> Result<VolumeSnapshotId, Failure> {
    let find = || -> Result<Option<VolumeSnapshotId>, Failure> {
        let records = store.volume_snapshot_records(project)?;
        Ok(records.into_iter().find(|record| record.tag.as_ref() == Some(tag)).map(|record| record.id))
    };
    if let Some(found) = find()? {
        return Ok(found);
    }
    let volume = store.volume(project, volume_id)?;
    let record = VolumeSnapshotRecord {
        id: VolumeSnapshotId::from_uuid(Entropy.uuid()),
        project: project.clone(),
        volume_id,
        size_bytes: volume.size,
        format: volume.format,
        tag: Some(tag.clone()),
        created_at: SystemClock.now(),
    };
    let folder = store.root().begin(VOLUME_SNAPSHOTS)?;
    let source = store.open_image(&volume.image)?;
    let copied = folder.create(IMAGE).and_then(|image| image::copy(&source, &image));
    copied.map_err(|source| error::io(format_args!("copy volume {volume_id}"), &source))?;
    folder.write_text(VOLUME_SNAPSHOT_RECORD, &record::write(&record)?)?;
    let lock = store.root().lock()?;
    if let Some(found) = find()? {
        return Ok(found);
    }
    folder.publish(&record.id.to_string(), &lock)?;
    effect::record(store, "create_volume_snapshot", record.id, Some(tag.as_str()))?;
    Ok(record.id)
}

fn create_volume(store: &Store, project: &ProjectId, volume: &NewVolume) -> Result<VolumeId, Failure> {
    let find = || -> Result<Option<VolumeId>, Failure> {
        let records = store.volume_records(project)?;
        Ok(records
            .into_iter()
            .find(|record| record.tag.as_ref() == Some(&volume.tag))
            .map(|record| record.id))
    };
    if let Some(found) = find()? {
        return Ok(found);
    }
    let record = VolumeRecord {
        id: VolumeId::from_uuid(Entropy.uuid()),
        name: volume.name.clone(),
        project: project.clone(),
        size_bytes: volume.size,
        format: volume.format,
        volume_type: volume.volume_type.clone(),
        bootable: volume.bootable,
        image_properties: volume.image_properties.clone(),
        tag: Some(volume.tag.clone()),
        created_at: SystemClock.now(),
    };
    let folder = store.root().begin(VOLUMES)?;
    match volume.source {
        None => image::create_empty(&folder.path().join(IMAGE), volume.format, volume.size)?,
        Some(source) => {
            let source = store.open_image(&volume_snapshot_image(store, project, source)?)?;
            let copied = folder.create(IMAGE).and_then(|image| image::copy(&source, &image));
            copied.map_err(|source| error::io(format_args!("fill volume {}", record.id), &source))?;
        }
    }
    folder.write_text(VOLUME_RECORD, &record::write(&record)?)?;
    let lock = store.root().lock()?;
    if let Some(found) = find()? {
        return Ok(found);
    }
    folder.publish(&record.id.to_string(), &lock)?;
    effect::record(store, "create_volume", record.id, Some(volume.tag.as_str()))?;
    Ok(record.id)
}

fn volume_snapshot_image(
    store: &Store,
    project: &ProjectId,
    id: VolumeSnapshotId,
) -> Result<PathBuf, Failure> {
    let kept = store.volume_snapshot_record(id)?.filter(|record| record.project == *project);
    kept.ok_or_else(|| error::not_found("VOLUME_SNAPSHOT_NOT_FOUND", "volume snapshot", id))?;
    Ok(Path::new(VOLUME_SNAPSHOTS).join(id.to_string()).join(IMAGE))
}

fn create_instance(store: &Store, project: &ProjectId, new: &NewInstance) -> Result<InstanceId, Failure> {
    let folder = store.root().begin(INSTANCES)?;
    let lock = store.root().lock()?;
    if let Some(found) = store.tagged_instances(project, &new.tag)?.first() {
        return Ok(found.record.id);
    }
    let description = &new.description;
    let mut disk = Vec::new();
    for (index, volume_id) in new.volume_ids.iter().enumerate() {
        let kept = store.volume_record(*volume_id)?.filter(|record| record.project == *project);
        let kept = kept.ok_or_else(|| error::not_found("VOLUME_NOT_FOUND", "volume", volume_id))?;
        if let Some(holder) = store.holder(*volume_id)? {
            return Err(error::in_use(volume_id, &holder.record.name));
        }
        disk.push(DiskRecord {
            volume_id: Some(*volume_id),
            device: description.disks.get(index).map_or_else(|| device(index), |old| old.device.clone()),
            format: kept.format,
            size_bytes: Some(kept.size_bytes),
            file: None,
            excluded: false,
            by_attachment: description.disks.get(index).is_some_and(|old| old.volume.connects_by.is_some()),
        });
    }
    let record = InstanceRecord {
        id: InstanceId::from_uuid(Entropy.uuid()),
        name: new.name.clone(),
        host: emptiest_host(store)?,
        project: Some(project.clone()),
        guest_agent: false,
        running: true,
        tag: Some(new.tag.clone()),
        flavor: description.flavor.clone(),
        metadata: description.metadata.clone(),
        ports: description.ports.clone(),
        disk,
    };
    folder.write_text(INSTANCE_RECORD, &record::write(&record)?)?;
    folder.publish(&record.id.to_string(), &lock)?;
    effect::record(store, "create_instance", record.id, Some(new.tag.as_str()))?;
    Ok(record.id)
}

/// The host with the fewest instances; the first of these in `cloud.toml`.
fn emptiest_host(store: &Store) -> Result<HostName, Failure> {
    let mut counts: BTreeMap<HostName, usize> = BTreeMap::new();
    for instance in store.instances()? {
        *counts.entry(instance.record.host).or_default() += 1;
    }
    let hosts = store.settings()?.hosts;
    let emptiest = hosts.into_iter().min_by_key(|host| counts.get(host).copied().unwrap_or(0));
    emptiest.ok_or_else(|| {
        Failure::permanent(
            "CLOUD_FULL",
            "cloud.toml lists no hosts: add one, so that an instance finds a place",
        )
    })
}

fn list_resources(store: &Store, project: &ProjectId) -> Result<Vec<Resource>, Failure> {
    let mut resources = Vec::new();
    for Instance { record, .. } in
        store.instances()?.into_iter().filter(|instance| instance.project == *project)
    {
        let volumes = record.disk.iter().filter(|disk| disk.file.is_some());
        let disks = volumes.filter_map(|disk| {
            let name = format!("{}-{}", record.name, disk.device);
            disk.volume_id.map(|id| Resource {
                kind: ResourceKind::Volume,
                id: id.to_string(),
                name,
                tag: None,
            })
        });
        resources.extend(disks);
        let (id, name, tag) = (record.id.to_string(), record.name, record.tag);
        resources.push(Resource { kind: ResourceKind::Instance, id, name, tag });
    }
    for VolumeRecord { id, name, tag, .. } in store.volume_records(project)? {
        resources.push(Resource { kind: ResourceKind::Volume, id: id.to_string(), name, tag });
    }
    for VolumeSnapshotRecord { id, tag, volume_id, .. } in store.volume_snapshot_records(project)? {
        let (id, name) = (id.to_string(), format!("of {volume_id}"));
        resources.push(Resource { kind: ResourceKind::VolumeSnapshot, id, name, tag });
    }
    for attachment in store.attachment_records(project)? {
        let name = format!("of {} to {}", attachment.volume_id, attachment.host);
        resources.push(Resource { kind: ResourceKind::Attachment, id: attachment.id, name, tag: None });
    }
    resources.sort();
    Ok(resources)
}

fn volume_use(store: &Store, project: &ProjectId, id: VolumeId) -> Result<Option<VolumeUse>, Failure> {
    let kept = store.volume_record(id)?.filter(|record| record.project == *project);
    let holder = store.holder(id)?.filter(|instance| instance.project == *project);
    let name = match (&kept, &holder) {
        (Some(record), _) => record.name.clone(),
        (None, Some(instance)) => instance.record.name.clone(),
        (None, None) => return Ok(None),
    };
    let is_attached = store.attachment_records(project)?.iter().any(|record| record.volume_id == id);
    let holders: Vec<InstanceId> = holder.into_iter().map(|instance| instance.record.id).collect();
    Ok(Some(VolumeUse { name, is_free: holders.is_empty() && !is_attached, holders }))
}

/// `vda`, `vdb`, … for disks that the description does not name.
fn device(index: usize) -> String {
    let letter = u8::try_from(index % 26).map_or('a', |offset| char::from(b'a' + offset));
    format!("vd{letter}")
}
