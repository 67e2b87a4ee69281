//! What a datamover can do: for the instances of its own host only.

use cloud::{Cloud as _, Frozen, Host as _, Thawed};
use model::{ByteCount, DiskFormat, DiskLocation, InstanceId, VolumeSnapshotId};

use crate::toy::{self, IMAGE_SIZE, Toy, at_volume_snapshot, owner, tag};

#[tokio::test]
async fn a_guest_is_frozen_once_and_thawed_once() {
    let toy = Toy::new();
    let host = toy.host("host-a");
    assert_eq!(host.thaw(toy.web.id).await.unwrap(), Thawed { count: 0 });
    for _ in 0..2 {
        assert_eq!(host.freeze(toy.web.id).await.unwrap(), Frozen { count: 3 });
    }
    assert!(toy.path().join("instances/web/frozen").try_exists().unwrap());
    assert_eq!(host.thaw(toy.web.id).await.unwrap(), Thawed { count: 3 });
    assert_eq!(host.thaw(toy.web.id).await.unwrap(), Thawed { count: 0 });
    assert_eq!(toy.effect_names(), ["freeze", "thaw"]);
}

#[tokio::test]
async fn a_guest_without_an_agent_is_not_frozen() {
    let toy = Toy::new();
    let record = toy.path().join("instances/web/instance.toml");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace("guest_agent = true", "guest_agent = false")).unwrap();
    assert_eq!(toy.host("host-a").freeze(toy.web.id).await.unwrap(), Frozen { count: 0 });
    assert_eq!(toy.host("host-a").thaw(toy.web.id).await.unwrap(), Thawed { count: 0 });
    assert!(toy.effects().is_empty());
}

#[tokio::test]
async fn an_instance_of_another_host_is_refused() {
    let toy = Toy::new();
    let host = toy.host("host-b");
    let refused = host.freeze(toy.web.id).await.unwrap_err();
    assert_eq!(refused.code, "FOREIGN_INSTANCE");
    assert!(refused.message.contains("is on host host-a, not on host-b"), "{refused}");
    assert_eq!(host.thaw(toy.web.id).await.unwrap_err().code, "FOREIGN_INSTANCE");
    let nobody = InstanceId::from_uuid(toy.volume(0).uuid());
    assert_eq!(host.freeze(nobody).await.unwrap_err().code, "INSTANCE_NOT_FOUND");
}

#[tokio::test]
async fn a_source_is_the_volume_snapshot_of_that_disk_and_no_other() {
    let toy = Toy::new();
    let (cloud, host) = (toy.cloud(), toy.host("host-a"));
    let disks = toy.describe(toy.web.id).await.disks;
    let cut = cloud.create_volume_snapshot(&owner(), toy.volume(0), &tag("t")).await.unwrap();
    let source = host.source_disk(&at_volume_snapshot(toy.web.id, &disks[0].id, cut)).await.unwrap();
    let path = toy.path().join(format!("volume-snapshots/{cut}/disk.img"));
    assert_eq!(source.location, DiskLocation::file(path, DiskFormat::Raw));
    assert_eq!((source.size, source.changes), (ByteCount(IMAGE_SIZE), None));
    let refused = host.source_disk(&at_volume_snapshot(toy.web.id, &disks[1].id, cut)).await.unwrap_err();
    assert_eq!(refused.code, "NO_SUCH_DISK", "the snapshot is of another disk");
    let missing = VolumeSnapshotId::from_uuid(toy.web.id.uuid());
    assert_eq!(
        host.source_disk(&at_volume_snapshot(toy.web.id, &disks[0].id, missing)).await.unwrap_err().code,
        "NO_SUCH_DISK"
    );
    let unknown = "vdz".parse().unwrap();
    assert_eq!(
        host.source_disk(&at_volume_snapshot(toy.web.id, &unknown, cut)).await.unwrap_err().code,
        "NO_SUCH_DISK"
    );
    let foreign =
        toy.host("host-b").source_disk(&at_volume_snapshot(toy.web.id, &disks[0].id, cut)).await.unwrap_err();
    assert_eq!(foreign.code, "FOREIGN_INSTANCE");
}

#[tokio::test]
async fn a_destination_is_a_volume_that_is_attached_nowhere() {
    let toy = Toy::new();
    let host = toy.host("host-a");
    assert_eq!(host.destination_disk(toy.volume(0)).await.unwrap_err().code, "VOLUME_NOT_FOUND");
    let volume = toy::make_volume("v", DiskFormat::Raw);
    let id = toy.cloud().create_volume(&owner(), &volume).await.unwrap();
    assert_eq!(host.destination_disk(id).await.unwrap().size, volume.size);
}
