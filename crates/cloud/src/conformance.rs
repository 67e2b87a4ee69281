//! What every cloud must do, as a test that any driver passes. It makes real things, and takes them all away again.

use std::collections::BTreeMap;

use model::{ByteCount, DiskFormat, Failure, InstanceId, Owner, VolumeId};

use crate::{
    Attached, Cloud, Connection, Connector, InstanceDescription, NewInstance, NewVolume, Planned, Resource,
    ResourceKind, Tag,
};

/// What the cloud holds before.
#[derive(Debug, Clone)]
pub struct Ground {
    pub owner: Owner,
    /// Of the owner's project, with a volume as its first disk.
    pub instance_id: InstanceId,
    /// Of other projects, or of nobody.
    pub foreign_instance_ids: Vec<InstanceId>,
    pub foreign_volume_id: VolumeId,
    /// As a host describes itself to the storage.
    pub connector: String,
}

/// Checks all promises of `Cloud`; everything is as before when it returns.
///
/// Panics: a promise is broken.
pub async fn check(cloud: &dyn Cloud, ground: &Ground) {
    let before = resources(cloud, ground).await;
    assert!(before.is_sorted(), "a ledger ascends");
    check_reading(cloud, ground).await;
    check_volume_snapshots(cloud, ground).await;
    check_volumes_and_instances(cloud, ground).await;
    check_attachments(cloud, ground).await;
    assert_eq!(resources(cloud, ground).await, before, "everything is as before");
}

async fn resources(cloud: &dyn Cloud, ground: &Ground) -> Vec<Resource> {
    cloud.list_resources(&ground.owner).await.expect("everything can be listed")
}

async fn describe(cloud: &dyn Cloud, ground: &Ground) -> InstanceDescription {
    cloud.describe_instance(&ground.owner, ground.instance_id).await.expect("the instance is described")
}

fn tag(effect: &str) -> Tag {
    Tag::from_text(&format!("018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f/{effect}/0"))
}

#[track_caller]
fn assert_code<T: std::fmt::Debug>(outcome: Result<T, Failure>, code: &str) {
    assert_eq!(outcome.expect_err("it is refused").code, code);
}

async fn tagged(cloud: &dyn Cloud, ground: &Ground, tag: &Tag) -> Vec<(ResourceKind, String)> {
    let all = resources(cloud, ground).await.into_iter();
    all.filter(|resource| resource.tag.as_ref() == Some(tag)).map(|it| (it.kind, it.id)).collect()
}

async fn check_reading(cloud: &dyn Cloud, ground: &Ground) {
    let description = describe(cloud, ground).await;
    assert_eq!(description.id, ground.instance_id);
    assert_eq!(description.project_id, ground.owner.project_id);
    assert!(!description.disks.is_empty(), "it has a disk");
    assert_eq!(describe(cloud, ground).await, description, "nothing happened meanwhile");
    let text = serde_json::to_string(&description).expect("a description is plain data");
    let again: InstanceDescription = serde_json::from_str(&text).expect("as it was written");
    assert_eq!(again, description);
    let listed = cloud.list_instances(&ground.owner).await.expect("instances can be listed");
    assert!(listed.contains(&(description.id, description.name)), "{listed:?}");
    for foreign in &ground.foreign_instance_ids {
        assert_code(cloud.describe_instance(&ground.owner, *foreign).await, "INSTANCE_NOT_FOUND");
        assert!(!listed.iter().any(|(id, _)| id == foreign), "{listed:?}");
    }
    cloud.check_quotas(&ground.owner, &[]).await.expect("nothing needs nothing");
    let size = ByteCount::gib(1);
    let small = Planned::VolumeSnapshot { volume_type: description.disks[0].volume_type.clone(), size };
    cloud.check_quotas(&ground.owner, &[small]).await.expect("there is room for one");
}

async fn check_volume_snapshots(cloud: &dyn Cloud, ground: &Ground) {
    let (owner, mark, other) = (&ground.owner, tag("cut"), tag("cut_again"));
    let volume = describe(cloud, ground).await.disks[0].volume_id.expect("the first disk is a volume");
    let first = cloud.create_volume_snapshot(owner, volume, &mark).await.expect("a volume snapshot");
    let again = cloud.create_volume_snapshot(owner, volume, &mark).await.expect("the same");
    assert_eq!(first, again, "what bears the tag is found");
    let of_source = cloud.volume_use(owner, volume).await.expect("it can be looked at");
    let of_source = of_source.expect("the volume is there");
    assert_eq!((of_source.is_free, of_source.holders), (false, vec![ground.instance_id]));
    let of_foreign = cloud.volume_use(owner, ground.foreign_volume_id).await;
    assert_eq!(of_foreign.expect("it can be looked for"), None, "what is another project's is not there");
    let second = cloud.create_volume_snapshot(owner, volume, &other).await.expect("another one");
    assert_ne!(first, second, "another tag, another effect");
    assert_eq!(tagged(cloud, ground, &mark).await, [(ResourceKind::VolumeSnapshot, first.to_string())]);
    for _ in 0..2 {
        cloud.delete_volume_snapshots(owner, &mark).await.expect("deleted, or gone already");
    }
    assert_eq!(tagged(cloud, ground, &mark).await, [], "it is gone when the answer comes");
    assert_eq!(tagged(cloud, ground, &other).await.len(), 1, "others stay");
    cloud.delete_volume_snapshots(owner, &other).await.expect("deleted");
    let foreign = cloud.create_volume_snapshot(owner, ground.foreign_volume_id, &mark).await;
    assert_code(foreign, "VOLUME_NOT_FOUND");
}

/// A temporary volume of a volume snapshot, as a host reads it.
async fn check_attachments(cloud: &dyn Cloud, ground: &Ground) {
    let (owner, mark) = (&ground.owner, tag("cut"));
    let disk = describe(cloud, ground).await.disks.remove(0);
    let volume = disk.volume_id.expect("the first disk is a volume");
    let source = cloud.create_volume_snapshot(owner, volume, &mark).await.expect("a volume snapshot");
    let temporary = NewVolume {
        name: "conformance".to_owned(),
        size: disk.size,
        volume_type: disk.volume_type,
        format: disk.format,
        bootable: false,
        source: Some(source),
        image_properties: BTreeMap::new(),
        tag: tag("temporary"),
    };
    let id = cloud.create_volume(owner, &temporary).await.expect("a volume from a volume snapshot");
    let Attached { attachment_id, connection } =
        cloud.attach_volume(owner, id, &ground.connector).await.expect("an attachment");
    let again = cloud.attach_volume(owner, id, &ground.connector).await.expect("the same");
    assert_eq!(again, Attached { attachment_id: attachment_id.clone(), connection });
    let unused = cloud.volume_use(owner, id).await.expect("it can be looked at").expect("it is there");
    assert_eq!((unused.is_free, unused.holders), (false, Vec::new()), "a host has it");
    let is_it = |all: Vec<Resource>| {
        all.iter().any(|it| it.kind == ResourceKind::Attachment && it.id == attachment_id)
    };
    assert!(is_it(resources(cloud, ground).await), "it is in the ledger");
    for _ in 0..2 {
        cloud.detach_volumes(owner, &temporary.tag).await.expect("detached, or so already");
    }
    assert!(!is_it(resources(cloud, ground).await), "it is gone when the answer comes");
    cloud.attach_volume(owner, id, &ground.connector).await.expect("a late one");
    for _ in 0..2 {
        cloud.delete_volumes(owner, &temporary.tag).await.expect("deleted with its attachment, or gone");
    }
    cloud.delete_volume_snapshots(owner, &mark).await.expect("deleted");
    let foreign = cloud.attach_volume(owner, ground.foreign_volume_id, &ground.connector).await;
    assert_code(foreign, "VOLUME_NOT_FOUND");
}

/// Checks all promises of `Connector` with a volume that is attached to its host; it is disconnected when this returns. What was
/// read of the volume is given to `read`: the location, and its size.
///
/// Panics: a promise is broken.
pub async fn check_connector(
    connector: &dyn Connector,
    connection: &Connection,
    read: impl Fn(&model::DiskLocation, ByteCount),
) {
    let properties = connector.properties().await.expect("a host knows itself");
    let value: serde_json::Value = serde_json::from_str(&properties).expect("in JSON");
    assert!(value["host"].as_str().is_some_and(|host| !host.is_empty()), "{properties}");
    assert_eq!(connector.properties().await.expect("again"), properties, "nothing happened meanwhile");
    connector.disconnect(connection, None).await.expect("nothing is connected");
    let connected = connector.connect(connection).await.expect("it is connected");
    assert_eq!(connector.connect(connection).await.expect("the same"), connected);
    read(&connected.location, connected.size);
    for info in [Some(connected.device_info.as_str()), Some(connected.device_info.as_str()), None] {
        connector.disconnect(connection, info).await.expect("disconnected, or so already");
    }
    let nonsense = Connection::from_json(
        "{\"driver_volume_type\": \"carrier pigeon\", \"secret\": \"hunter2\"}".to_owned(),
    );
    let refused = connector.connect(&nonsense).await.expect_err("no way to it is known");
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
}

async fn check_volumes_and_instances(cloud: &dyn Cloud, ground: &Ground) {
    let owner = &ground.owner;
    let description = describe(cloud, ground).await;
    let volume = NewVolume {
        name: "conformance".to_owned(),
        size: ByteCount::mib(9), // of no round size anywhere
        volume_type: description.disks[0].volume_type.clone(),
        format: DiskFormat::Raw,
        bootable: true,
        source: None,
        image_properties: BTreeMap::from([("hw_qemu_guest_agent".to_owned(), "yes".to_owned())]),
        tag: tag("volume"),
    };
    let id = cloud.create_volume(owner, &volume).await.expect("a volume");
    assert_eq!(cloud.create_volume(owner, &volume).await.expect("the same"), id);
    assert_eq!(tagged(cloud, ground, &volume.tag).await, [(ResourceKind::Volume, id.to_string())]);

    let unused = cloud.volume_use(owner, id).await.expect("it can be looked at").expect("it is there");
    assert_eq!((unused.name.as_str(), unused.is_free, unused.holders), ("conformance", true, Vec::new()));

    let new = NewInstance {
        name: "conformance".to_owned(),
        description,
        volume_ids: vec![id],
        tag: tag("instance"),
    };
    let instance = cloud.create_instance(owner, &new).await.expect("an instance");
    assert_eq!(cloud.create_instance(owner, &new).await.expect("the same"), instance);
    let made = cloud.describe_instance(owner, instance).await.expect("it is described");
    assert_eq!(made.name, "conformance");
    assert_eq!(made.metadata, new.description.metadata, "the tag is not the user's");
    let disks: Vec<_> = made.disks.iter().map(|disk| disk.volume_id).collect();
    assert_eq!(disks, [Some(id)], "it consists of what it was given");
    assert!(made.disks[0].size >= volume.size);
    assert_eq!(made.ports.len(), new.description.ports.len());
    assert_code(cloud.delete_volumes(owner, &volume.tag).await, "VOLUME_IN_USE");

    for _ in 0..2 {
        cloud.delete_instances(owner, &new.tag).await.expect("deleted, or gone already");
    }
    assert_eq!(tagged(cloud, ground, &new.tag).await, [], "nothing that was made for it stays");
    assert_eq!(tagged(cloud, ground, &volume.tag).await.len(), 1, "its volumes stay");
    for _ in 0..2 {
        cloud.delete_volumes(owner, &volume.tag).await.expect("deleted, or gone already");
    }
    assert_eq!(tagged(cloud, ground, &volume.tag).await, []);
}
