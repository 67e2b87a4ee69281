//! Volumes in Ceph, found by the product: whole, by the difference of two snapshots, and for writing.

use anyhow::Result;
use cloud::{Base, ChangeRecord, Host as _, Moment, SourceDisk, SourceQuery};
use model::{DiskLocation, RbdImage, SnapshotId, VolumeId, VolumeSnapshotId};
use openstack_tests::carrier::Carrier;
use openstack_tests::compute::Compute;
use openstack_tests::guest::Guest;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::rbd;
use runtime::Entropy;

const MIB: u64 = 1 << 20;

fn image(source: &SourceDisk) -> Result<&RbdImage> {
    match &source.location {
        DiskLocation::Rbd(image) => Ok(image),
        other => anyhow::bail!("{other} is not in Ceph"),
    }
}

fn make_query(instance: &str, volume: &str, snapshot: &str, base: Option<Base>) -> Result<SourceQuery> {
    Ok(SourceQuery {
        instance_id: instance.parse()?,
        disk_id: volume.parse()?,
        snapshot_id: SnapshotId::from_uuid(Entropy.uuid()),
        moment: Moment::VolumeSnapshot(snapshot.parse()?),
        base,
    })
}

fn base_at(query: &SourceQuery) -> Base {
    let Moment::VolumeSnapshot(id) = query.moment else { unreachable!("made so above") };
    Base { snapshot_id: query.snapshot_id, volume_snapshot_id: Some(id) }
}

/// With a base that is not there any more the whole is read, and the reason told.
async fn assert_reads_whole(compute: &Compute, first: &SourceQuery, second: &SourceQuery) -> Result<()> {
    for (base, words) in [
        (base_at(first), "is gone"),
        (Base { volume_snapshot_id: None, ..base_at(first) }, "was not kept"),
        (
            Base { volume_snapshot_id: Some(VolumeSnapshotId::from_uuid(Entropy.uuid())), ..base_at(first) },
            "is gone",
        ),
    ] {
        let source = compute.source(&SourceQuery { base: Some(base), ..second.clone() }).await?;
        assert_eq!(source.changes, None);
        assert!(source.full_read_reason.as_ref().is_some_and(|reason| reason.contains(words)), "{source:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_found_at_its_snapshots_with_what_changed_between_them() -> Result<()> {
    let (lab, carrier) = (Lab::from_env()?, Carrier::new()?);
    let (project, compute) = (Project::create(&lab)?, Compute::open(&lab).await?);
    let host = compute.host();
    let phase = Phase::begin("volumes: server from a new volume, booted");
    let of_image = ["--image", lab.image.as_str(), "--boot-from-volume", "1"];
    let server = project.create_volume_server("source", &of_image)?;
    let guest = Guest::wait_for(&server)?;
    let volume = project.volume_of(&server)?;
    let volume_id: VolumeId = volume.parse()?;
    let take = |name: &str| {
        let made =
            project.create_one(&["volume", "snapshot", "create", "--force", "--volume", &volume, name])?;
        project.wait_for_status(&["volume", "snapshot"], &made, "available")?;
        Ok::<String, anyhow::Error>(made)
    };
    guest.write_file("/var/lib/mark", 5)?;
    drop(phase);

    let phase = Phase::begin("volumes: whole, bytes compared");
    let first_snapshot = take("first")?;
    let first = make_query(&server, &volume, &first_snapshot, None)?;
    guest.write_file("/var/lib/after", 4)?;
    let source = compute.source(&first).await?;
    assert!(source.keeps_changes && source.changes.is_none(), "{source:?}");
    carrier.back_up_as(first.snapshot_id, None, source.clone()).await?;
    let witness = carrier.path("witness");
    rbd::export(image(&source)?, &witness)?;
    carrier.compare(first.snapshot_id, &witness).await?;
    host.check_moment(&first).await?;
    let in_use = host.destination_disk(volume_id).await.unwrap_err();
    assert_eq!(in_use.code, "VOLUME_IN_USE", "{in_use}");
    drop(phase);

    let phase = Phase::begin("volumes: by the difference of two snapshots, bytes compared");
    let second_snapshot = take("second")?;
    let second = make_query(&server, &volume, &second_snapshot, Some(base_at(&first)))?;
    let source = compute.source(&second).await?;
    let changes = source.changes.as_ref().unwrap_or_else(|| panic!("{source:?}"));
    assert_eq!(changes.since, first.snapshot_id);
    assert!(matches!(changes.record, ChangeRecord::Extents(_)));
    let done = carrier.back_up_as(second.snapshot_id, Some(first.snapshot_id), source.clone()).await?;
    std::fs::remove_file(&witness)?;
    rbd::export(image(&source)?, &witness)?;
    carrier.compare(second.snapshot_id, &witness).await?;
    assert!((4 * MIB..64 * MIB).contains(&done.bytes_read), "read {} bytes", done.bytes_read);
    drop(phase);

    let phase = Phase::begin("volumes: the base is gone, and is not kept: read whole, with the reason");
    project.run(&["volume", "snapshot", "delete", &first_snapshot])?;
    let gone = || Ok(project.json(&["volume", "snapshot", "show", &first_snapshot]).err());
    integration_tests::wait::until(std::time::Duration::from_secs(120), "the snapshot is gone", gone)?;
    assert_reads_whole(&compute, &first, &second).await?;
    let lost = compute.loss(&first).await?;
    assert_eq!(lost.code, "POINT_IN_TIME_LOST", "{lost}");
    drop(phase);

    let phase = Phase::begin("volumes: a detached one is written, and read where its instance is unknown");
    let new = project.create_one(&["volume", "create", "--size", "1", "written"])?;
    project.wait_for_status(&["volume"], &new, "available")?;
    let destination = host.destination_disk(new.parse()?).await?;
    assert_eq!(destination.size, source.size);
    carrier.restore(second.snapshot_id, &destination.location, destination.size).await?;
    let written = carrier.path("written");
    rbd::export(&lab.volume_image(&new, None), &written)?;
    let same = integration_tests::disks::digest(&written)? == integration_tests::disks::digest(&witness)?;
    assert!(same, "the volume holds the snapshot's bytes");
    let nowhere = SourceQuery { instance_id: model::InstanceId::from_uuid(Entropy.uuid()), ..second.clone() };
    assert_eq!(compute.source(&nowhere).await?.location, source.location);
    let missing = host.destination_disk(VolumeId::from_uuid(Entropy.uuid())).await.unwrap_err();
    assert_eq!(missing.code, "VOLUME_NOT_FOUND", "{missing}");
    drop(phase);
    project.close()
}
