//! The whole product on a real OpenStack, as its users have it: protected by the services, compared byte for byte with what
//! other tools read, and brought back.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use integration_tests::readback::assert_kept;
use model::InstanceId;
use openstack_tests::guest::Guest;
use openstack_tests::hypervisor::{LocalDisk, bitmaps, checkpoints, copy_file};
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::rbd;
use openstack_tests::site::Site;
use rest_api::Snapshot;

const MIB: u64 = 1 << 20;

fn assert_consistent(snapshot: &Snapshot) -> Result<()> {
    let instance = snapshot.instances.first().context("there is an instance")?;
    ensure!(instance.consistency.as_deref() == Some("filesystem"), "{instance:?}");
    Ok(())
}

/// What the snapshot's only disk has on the target is what `witness` has.
fn assert_same_bytes(site: &Site, snapshot: &Snapshot, witness: &Path) -> Result<()> {
    let disk = snapshot.instances[0].vdisks.first().context("the instance has a disk")?;
    assert_kept(&site.world, snapshot, disk, witness)
}

fn bytes_read(snapshot: &Snapshot) -> u64 {
    snapshot.instances[0].vdisks.iter().map(|disk| disk.bytes_read).sum()
}

/// The only volume snapshot of a project: what is kept of its last snapshot.
fn kept_base(project: &Project) -> Result<String> {
    let all = project.json(&["volume", "snapshot", "list"])?;
    let [one] = all.as_array().map_or(&[][..], Vec::as_slice) else {
        anyhow::bail!("one volume snapshot is kept as base, and there are: {all}");
    };
    Ok(one["ID"].as_str().context("it has an id")?.to_owned())
}

#[test]
fn an_instance_that_boots_from_a_volume_is_protected_twice_and_comes_back_beside_itself() -> Result<()> {
    let (lab, folder) = (Lab::from_env()?, tempfile::tempdir()?);
    let project = Project::create(&lab)?;
    let phase = Phase::begin("protecting a volume: a server from a new one, and a Holdfast");
    let image = lab.image.clone();
    let server = project.create_volume_server("web", &["--image", &image, "--boot-from-volume", "1"])?;
    let guest = Guest::wait_for(&server)?;
    let volume = project.volume_of(&server)?;
    let mark = guest.write_file("/var/lib/mark", 5)?;
    let site = Site::open(&lab, &project)?;
    let instance: InstanceId = server.parse()?;
    let workload = site.world.create_workload("web", &[instance])?;
    drop(phase);

    let witness = folder.path().join("witness");
    let phase = Phase::begin("protecting a volume: a full snapshot, bytes compared");
    let full = site.world.take_snapshot(workload, true)?;
    assert_consistent(&full)?;
    rbd::export(&lab.volume_image(&volume, Some(&kept_base(&project)?)), &witness)?;
    assert_same_bytes(&site, &full, &witness)?;
    drop(phase);

    let phase = Phase::begin("protecting a volume: an incremental snapshot, bytes compared");
    guest.write_file("/var/lib/after", 4)?;
    let incremental = site.world.take_snapshot(workload, false)?;
    assert_consistent(&incremental)?;
    let read = bytes_read(&incremental);
    ensure!((4 * MIB..64 * MIB).contains(&read), "it read {read} bytes");
    rbd::export(&lab.volume_image(&volume, Some(&kept_base(&project)?)), &witness)?;
    assert_same_bytes(&site, &incremental, &witness)?;
    drop(phase);

    let phase = Phase::begin("protecting a volume: the first snapshot comes back beside it");
    let restore = site.world.start_selective_restore(full.summary.id, &[(instance, "web-back")])?;
    let restore = site.world.wait_for_good_restore(restore)?;
    let made = restore.instances.first().and_then(|made| made.id).context("an instance was restored")?;
    let back = Guest::wait_for(&made.to_string())?;
    ensure!(back.checksum("/var/lib/mark")? == mark, "the file is another");
    ensure!(back.run("ls /var/lib/after 2>/dev/null || echo none")?.trim() == "none");
    drop(phase);
    site.close()?;
    project.close()
}

#[test]
fn an_instance_on_a_local_disk_is_protected_while_it_runs_and_while_it_is_stopped() -> Result<()> {
    let (lab, folder) = (Lab::from_env()?, tempfile::tempdir()?);
    let project = Project::create(&lab)?;
    let phase = Phase::begin("protecting a local disk: a server from an image, and a Holdfast");
    let server = project.create_local_server("db")?;
    let guest = Guest::wait_for(&server)?;
    guest.write_file("/var/lib/mark", 5)?;
    let site = Site::open(&lab, &project)?;
    let workload = site.world.create_workload("db", &[server.parse()?])?;
    drop(phase);

    let phase = Phase::begin("protecting a local disk: running, full and by its changes");
    let full = site.world.take_snapshot(workload, true)?;
    assert_consistent(&full)?;
    guest.write_file("/var/lib/after", 4)?;
    let incremental = site.world.take_snapshot(workload, false)?;
    assert_consistent(&incremental)?;
    let read = bytes_read(&incremental);
    ensure!((4 * MIB..64 * MIB).contains(&read), "it read {read} bytes");
    ensure!(bitmaps(&server)?.len() == 1, "one bitmap between two snapshots: {:?}", bitmaps(&server)?);
    ensure!(checkpoints(&server)?.is_empty(), "the domain bears no checkpoint");
    drop(phase);

    let phase = Phase::begin("protecting a local disk: stopped, bytes compared");
    project.stop(&server)?;
    let stopped = site.world.take_snapshot(workload, false)?;
    let witness = folder.path().join("witness");
    copy_file(&LocalDisk::of(&lab, &server)?.path, &witness)?;
    assert_same_bytes(&site, &stopped, &witness)?;
    drop(phase);

    let phase = Phase::begin("protecting a local disk: it starts again, and nothing is left");
    project.start(&server)?;
    Guest::wait_for(&server)?;
    ensure!(
        project.json(&["volume", "snapshot", "list"])? == serde_json::json!([]),
        "nothing is left in Cinder"
    );
    drop(phase);
    site.close()?;
    project.close()
}
