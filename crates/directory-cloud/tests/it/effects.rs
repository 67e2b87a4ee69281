//! What the cloud workers and dmapi can do.

use cloud::{Cloud as _, Host as _, Located, Placement as _, ResourceKind};
use model::{ByteCount, DiskFormat, DiskLocation, InstanceId, VolumeId};

use crate::toy::{self, IMAGE_SIZE, Toy, others, owner, tag};

#[tokio::test]
async fn an_instance_is_described_with_its_disks_in_boot_order() {
    let toy = Toy::new();
    let description = toy.describe(toy.web.id).await;
    assert_eq!((description.name.as_str(), description.project_id), ("web", owner().project_id));
    let disks: Vec<_> = description
        .disks
        .iter()
        .map(|disk| (disk.device.as_str(), disk.format, disk.size, disk.bootable))
        .collect();
    let (raw, qcow2) = (DiskFormat::Raw, DiskFormat::Qcow2);
    assert_eq!(
        disks,
        [
            ("vda", raw, ByteCount(IMAGE_SIZE), true),
            ("vdb", qcow2, ByteCount::mib(32), false),
            ("vdc", raw, ByteCount(IMAGE_SIZE), false)
        ]
    );
    assert_eq!(
        (description.disks[2].id.as_str(), description.disks[2].volume_id),
        ("vdc", None),
        "it is local"
    );
    assert_eq!(description.disks[0].id.as_str(), toy.volume(0).to_string());
}

#[tokio::test]
async fn a_project_sees_nothing_of_another() {
    let toy = Toy::new();
    let cloud = toy.cloud();
    let refused = cloud.describe_instance(&owner(), toy.other.id).await.unwrap_err();
    assert_eq!(refused.code, "INSTANCE_NOT_FOUND");
    assert_eq!(cloud.list_instances(&owner()).await.unwrap(), [(toy.web.id, "web".to_owned())]);
    assert_eq!(cloud.list_instances(&others()).await.unwrap(), [(toy.other.id, "other".to_owned())]);
    let refused = cloud.create_volume_snapshot(&others(), toy.volume(0), &tag("t")).await.unwrap_err();
    assert_eq!(refused.code, "VOLUME_NOT_FOUND");
    let volume = cloud.create_volume(&others(), &toy::make_volume("s/v/0", DiskFormat::Raw)).await.unwrap();
    let new = toy::make_instance(toy.describe(toy.web.id).await, vec![volume], "s/i/0");
    assert_eq!(cloud.create_instance(&owner(), &new).await.unwrap_err().code, "VOLUME_NOT_FOUND");
    cloud.delete_volumes(&owner(), &tag("s/v/0")).await.unwrap();
    let left = cloud.list_resources(&others()).await.unwrap();
    assert!(left.iter().any(|resource| resource.id == volume.to_string()));
}

#[tokio::test]
async fn creates_with_the_same_tag_make_one_thing_and_deletes_may_repeat() {
    let toy = Toy::new();
    let before = toy.resources().await;
    let cloud = toy.cloud();
    let create = || async {
        let snapshot = cloud.create_volume_snapshot(&owner(), toy.volume(0), &tag("s/cut/0")).await.unwrap();
        let volume = toy::make_volume("s/volume/0", DiskFormat::Qcow2);
        let volume = cloud.create_volume(&owner(), &volume).await.unwrap();
        let new = toy::make_instance(toy.describe(toy.web.id).await, vec![volume], "s/instance/0");
        (snapshot, volume, cloud.create_instance(&owner(), &new).await.unwrap())
    };
    let first = create().await;
    assert_eq!(first, create().await);
    assert_eq!(toy.resources().await.len(), before.len() + 3);
    for _ in 0..2 {
        cloud.delete_instances(&owner(), &tag("s/instance/0")).await.unwrap();
        cloud.delete_volumes(&owner(), &tag("s/volume/0")).await.unwrap();
        cloud.delete_volume_snapshots(&owner(), &tag("s/cut/0")).await.unwrap();
    }
    assert_eq!(toy.resources().await, before);
    let effects = ["create_volume_snapshot", "create_volume", "create_instance"];
    let undone = ["delete_instance", "delete_volume", "delete_volume_snapshot"];
    assert_eq!(toy.effect_names(), [effects, undone].concat());
    assert_eq!(toy.effects()[0], format!("create_volume_snapshot {} s/cut/0", first.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_at_the_same_time_make_one_thing() {
    let toy = Toy::new();
    let creates = (0..8).map(|_| {
        let (cloud, volume) = (toy.cloud(), toy.volume(0));
        tokio::spawn(
            async move { cloud.create_volume_snapshot(&owner(), volume, &tag("s/cut/0")).await.unwrap() },
        )
    });
    let mut ids = Vec::new();
    for create in creates.collect::<Vec<_>>() {
        ids.push(create.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(toy.effect_names(), ["create_volume_snapshot"]);
    let cut = std::fs::read_dir(toy.path().join("volume-snapshots")).unwrap().count();
    assert_eq!(cut, 1, "unfinished folders are left");
}

#[tokio::test]
async fn a_volume_snapshot_keeps_bytes_and_holes_and_later_writes_do_not_reach_it() {
    let toy = Toy::new();
    let id = toy.cloud().create_volume_snapshot(&owner(), toy.volume(0), &tag("t")).await.unwrap();
    let source = toy.path().join("instances/web/disk0.raw");
    let original = std::fs::read(&source).unwrap();
    std::fs::write(&source, b"changed").unwrap();
    let cut = toy.path().join(format!("volume-snapshots/{id}/disk.img"));
    assert!(std::fs::read(&cut).unwrap() == original, "the bytes differ");
    assert!(toy::allocated_bytes(&cut) < 1 << 20, "holes were filled: {}", toy::allocated_bytes(&cut));
}

#[tokio::test]
async fn a_new_volume_is_empty_and_of_its_format() {
    let toy = Toy::new();
    for (format, name) in [(DiskFormat::Raw, "raw"), (DiskFormat::Qcow2, "qcow2")] {
        let volume = toy::make_volume(name, format);
        let id = toy.cloud().create_volume(&owner(), &volume).await.unwrap();
        let disk = toy.host("host-a").destination_disk(id).await.unwrap();
        let path = toy.path().join(format!("volumes/{id}/disk.img"));
        assert_eq!((disk.location, disk.size), (DiskLocation::file(&path, format), ByteCount::mib(8)));
        let begins = std::fs::read(&path).unwrap();
        match format {
            DiskFormat::Raw => assert!(begins.len() == 8 << 20 && begins.iter().all(|byte| *byte == 0)),
            DiskFormat::Qcow2 => assert!(begins.starts_with(b"QFI\xfb")),
        }
    }
}

#[tokio::test]
async fn a_new_instance_takes_its_volumes_to_the_emptiest_host() {
    let toy = Toy::new();
    let cloud = toy.cloud();
    let volume = cloud.create_volume(&owner(), &toy::make_volume("v", DiskFormat::Raw)).await.unwrap();
    let new = toy::make_instance(toy.describe(toy.web.id).await, vec![volume], "i");
    let id = cloud.create_instance(&owner(), &new).await.unwrap();
    assert_eq!(toy.placement().locate_instance(id).await.unwrap(), Located::On("host-b".parse().unwrap()));
    let description = toy.describe(id).await;
    assert_eq!(
        (description.name.as_str(), description.flavor),
        ("web-again", new.description.flavor.clone())
    );
    let disk = &description.disks[0];
    assert_eq!(
        (disk.volume_id, disk.device.as_str(), disk.volume_type.as_str()),
        (Some(volume), "vda", "fast")
    );
    // Held volumes are neither given away, nor deleted, nor written.
    let second = toy::make_instance(new.description, vec![volume], "j");
    assert_eq!(cloud.create_instance(&owner(), &second).await.unwrap_err().code, "VOLUME_IN_USE");
    assert_eq!(cloud.delete_volumes(&owner(), &tag("v")).await.unwrap_err().code, "VOLUME_IN_USE");
    assert_eq!(toy.host("host-b").destination_disk(volume).await.unwrap_err().code, "VOLUME_IN_USE");
    cloud.create_volume_snapshot(&owner(), volume, &tag("c")).await.unwrap();
    cloud.delete_instances(&owner(), &tag("i")).await.unwrap();
    let kept = toy.resources().await.into_iter().find(|resource| resource.id == volume.to_string());
    assert_eq!(kept.map(|resource| resource.kind), Some(ResourceKind::Volume));
}

#[tokio::test]
async fn placement_finds_hosts_and_pools() {
    let toy = Toy::new();
    let placement = toy.placement();
    let nobody = InstanceId::from_uuid(toy.volume(0).uuid());
    assert_eq!(placement.locate_instance(nobody).await.unwrap(), Located::Nowhere);
    assert_eq!(
        placement.locate_instance(toy.other.id).await.unwrap(),
        Located::On("host-a".parse().unwrap())
    );
    assert_eq!(placement.pool_of_volume(toy.volume(1)).await.unwrap().as_str(), "default");
    let missing = VolumeId::from_uuid(toy.web.id.uuid());
    assert_eq!(placement.pool_of_volume(missing).await.unwrap_err().code, "VOLUME_NOT_FOUND");
    let target = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f".parse().unwrap();
    assert_eq!(placement.pool_of_target(target).await.unwrap().as_str(), "default");
}

#[tokio::test]
async fn what_a_killed_process_left_is_never_seen_and_swept_by_the_next_create() {
    let toy = Toy::new();
    let cloud = toy.cloud();
    let before = toy.resources().await;
    let stale = toy.path().join("volumes/.tmp-stale");
    std::fs::create_dir(&stale).unwrap();
    std::fs::write(stale.join("disk.img"), b"half").unwrap();
    assert_eq!(toy.resources().await, before);
    cloud.create_volume(&owner(), &toy::make_volume("v", DiskFormat::Raw)).await.unwrap();
    assert!(!stale.try_exists().unwrap());
}
