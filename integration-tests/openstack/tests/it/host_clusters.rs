//! Two Ceph clusters: each volume is read in the one that its instance's domain names, or where it is found.

use std::io::Read as _;

use anyhow::{Context as _, Result};
use cloud::{Base, ChangeRecord, Host as _, Moment, SourceQuery};
use integration_tests::disks::digest;
use model::{DiskLocation, InstanceId, SnapshotId, VolumeId, VolumeSnapshotId};
use openstack_tests::carrier::Carrier;
use openstack_tests::compute::Compute;
use openstack_tests::hypervisor::TestDomain;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::rbd;
use openstack_tests::second_ceph::SecondCeph;
use runtime::Entropy;

fn make_query(instance: InstanceId, volume: VolumeId, at: VolumeSnapshotId) -> Result<SourceQuery> {
    Ok(SourceQuery {
        instance_id: instance,
        disk_id: volume.to_string().parse()?,
        snapshot_id: SnapshotId::from_uuid(Entropy.uuid()),
        moment: Moment::VolumeSnapshot(at),
        base: None,
    })
}

/// A disk as Nova describes it. Its user is the cluster's; ours is another.
fn disk_xml(device: &str, volume: VolumeId, monitor_port: u16, secret: Option<&str>) -> String {
    let auth =
        secret.map(|secret| format!("<auth username='cinder'><secret type='ceph' uuid='{secret}'/></auth>"));
    format!(
        "<disk type='network' device='disk'><driver name='qemu' type='raw' cache='none'/>{}\
         <source protocol='rbd' name='volumes/volume-{volume}'><host name='127.0.0.1' port='{monitor_port}'/></source>\
         <target dev='{device}' bus='virtio'/><serial>{volume}</serial></disk>",
        auth.unwrap_or_default()
    )
}

/// The port of the cloud's own monitor.
fn port_of_the_cloud(lab: &Lab) -> Result<u16> {
    let conf = std::fs::read_to_string(&lab.ceph.conf)?;
    let (_, rest) = conf.split_once("v1:127.0.0.1:").context("the cloud's monitor is on loopback")?;
    Ok(rest.split('/').next().context("an address has a port")?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_volume_is_found_in_its_own_cluster_with_its_own_user() -> Result<()> {
    let (lab, carrier) = (Lab::from_env()?, Carrier::new()?);
    let phase = Phase::begin("clusters: a second one, a volume in each");
    let (project, second) = (Project::create(&lab)?, SecondCeph::start()?);
    let compute = Compute::open_with_clusters(&lab, &[second.settings()]).await?;
    let here: VolumeId = project.create_one(&["volume", "create", "--size", "1", "here"])?.parse()?;
    project.wait_for_status(&["volume"], &here.to_string(), "available")?;
    let taken = ["volume", "snapshot", "create", "--volume", &here.to_string(), "first"];
    let at_here: VolumeSnapshotId = project.create_one(&taken)?.parse()?;
    project.wait_for_status(&["volume", "snapshot"], &at_here.to_string(), "available")?;

    let there = VolumeId::from_uuid(Entropy.uuid());
    let ids = [(); 2].map(|()| VolumeSnapshotId::from_uuid(Entropy.uuid()));
    let bytes = carrier.path("bytes");
    let mut noise = vec![0; 8 << 20];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut noise)?;
    std::fs::write(&bytes, &noise)?;
    let image = second.import(&format!("volume-{there}"), &bytes)?;
    second.snapshot(&image, &format!("snapshot-{}", ids[0]))?;
    drop(phase);

    let phase = Phase::begin("clusters: attached to one instance, each is read in its own, bytes compared");
    let disks = disk_xml("vda", here, port_of_the_cloud(&lab)?, None)
        + &disk_xml("vdb", there, second.monitor_port(), None);
    let domain = TestDomain::define(&disks)?;
    let source = compute.source(&make_query(domain.id, here, at_here)?).await?;
    assert!(
        matches!(&source.location, DiskLocation::Rbd(found) if found.conf == lab.ceph.conf),
        "{source:?}"
    );
    let first = make_query(domain.id, there, ids[0])?;
    let source = compute.source(&first).await?;
    let DiskLocation::Rbd(found) = &source.location else { anyhow::bail!("{source:?}") };
    assert_eq!((&found.conf, found.user.as_str()), (&second.settings().conf, "holdfast"));
    carrier.back_up_as(first.snapshot_id, None, source).await?;
    carrier.compare(first.snapshot_id, &bytes).await?;
    drop(phase);

    let phase =
        Phase::begin("clusters: by the difference of two snapshots in the second, false and forgotten");
    let destination = compute.host().destination_disk(there).await?; // it is attached, and nobody has it open
    carrier.restore(first.snapshot_id, &destination.location, destination.size).await?;
    second.snapshot(&image, &format!("snapshot-{}", ids[1]))?;
    let base = Base { snapshot_id: first.snapshot_id, volume_snapshot_id: Some(ids[0]) };
    let next = SourceQuery { base: Some(base), ..make_query(domain.id, there, ids[1])? };
    let source = compute.source(&next).await?;
    let changes = source.changes.context("Ceph tells what changed")?;
    assert!(matches!(changes.record, ChangeRecord::Extents(_)) && changes.since == first.snapshot_id);
    assert!(!compute.host().changes_are_false(&next).await? && !source.changes_are_false);
    compute.host().forget_changes(&next).await?;
    assert!(compute.host().changes_are_false(&next).await?, "whoever went by it reads all");
    let source = compute.source(&next).await?;
    assert!(source.changes.is_none() && source.full_read_reason.is_some(), "{source:?}");
    assert!(source.changes_are_false, "and tells the controllers");
    drop(phase);

    let phase = Phase::begin("clusters: attached nowhere, each is found where it is");
    drop(domain);
    let copy = carrier.path("copy");
    for (volume, conf) in [(here, &lab.ceph.conf), (there, &second.settings().conf)] {
        let destination = compute.host().destination_disk(volume).await?;
        assert!(
            matches!(&destination.location, DiskLocation::Rbd(found) if found.conf == *conf),
            "{destination:?}"
        );
    }
    rbd::export(&image, &copy)?;
    assert_eq!(digest(&copy)?, digest(&bytes)?);
    let unknown = TestDomain::define(&disk_xml("vda", there, 1, Some(&Entropy.uuid().to_string())))?;
    let refused = compute.host().source_disk(&make_query(unknown.id, there, ids[0])?).await.unwrap_err();
    assert_eq!(refused.code, "CEPH_CLUSTER_UNKNOWN", "{refused}");
    drop(phase);
    drop((unknown, compute, second));
    project.close()
}
