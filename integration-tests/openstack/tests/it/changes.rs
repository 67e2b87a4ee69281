//! Users who attach, detach and extend disks while a snapshot of their instance is made, on a real OpenStack and through the
//! whole product: before the cut, and while disks are on their way. Bytes are compared with what other tools read.

use anyhow::{Context as _, Result, ensure};
use integration_tests::readback::assert_kept;
use model::{InstanceId, WorkloadId};
use openstack_tests::guest::Guest;
use openstack_tests::hypervisor::{bitmaps, checkpoints};
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::rbd;
use openstack_tests::site::{Pace, Site};
use rest_api::Snapshot;
use rustix::process::Signal;

/// A disk of some hundred MiB takes half a minute.
const SLOW: Pace = Pace::Slow { rate_mib_per_s: 6 };
const GIB: u64 = 1 << 30;

fn devices(snapshot: &Snapshot) -> Vec<(&str, u64)> {
    let disks = snapshot.instances[0].vdisks.iter();
    let mut all: Vec<_> = disks.map(|disk| (disk.label.as_str(), disk.restore_size / GIB)).collect();
    all.sort_unstable();
    all
}

fn assert_devices(snapshot: &Snapshot, expected: &[(&str, u64)]) -> Result<()> {
    ensure!(devices(snapshot) == expected, "the snapshot has {:?}, not {expected:?}", devices(snapshot));
    Ok(())
}

/// Each volume of a snapshot is on the target as it is in the volume snapshot that was kept of it. Of one that was detached
/// none is kept, and nobody writes to it any more.
fn assert_same_bytes(lab: &Lab, project: &Project, site: &Site, snapshot: &Snapshot) -> Result<()> {
    let kept = project.json(&["volume", "snapshot", "list", "--long"])?;
    let folder = tempfile::tempdir()?;
    for disk in &snapshot.instances[0].vdisks {
        let volume = disk.volume_id.context("it is a volume")?.to_string();
        // The newest of a volume comes first.
        let shown = project.json(&["volume", "show", &volume])?;
        let name = shown["name"].as_str().unwrap_or_default().to_owned();
        let witness = folder.path().join("witness");
        if shown["status"] == "available" {
            rbd::export(&lab.volume_image(&volume, None), &witness)?;
            assert_kept(&site.world, snapshot, disk, &witness)?;
            continue;
        }
        let rows = kept.as_array().context("a list")?;
        let is_of = |row: &&serde_json::Value| {
            row["Volume"] == volume.as_str() || (!name.is_empty() && row["Volume"] == name.as_str())
        };
        let bases: Vec<_> = rows.iter().filter(is_of).collect();
        ensure!(bases.len() == 1, "one volume snapshot of {} {volume} is kept: {kept}", disk.label);
        let base = bases[0]["ID"].as_str().context("it has an id")?;
        rbd::export(&lab.volume_image(&volume, Some(base)), &witness)?;
        assert_kept(&site.world, snapshot, disk, &witness)?;
    }
    Ok(())
}

/// Takes a snapshot, in the middle of whose transfers the user does something; it must be available.
fn snapshot_during(site: &Site, workload: WorkloadId, act: impl FnOnce() -> Result<()>) -> Result<Snapshot> {
    let id = site.world.start_snapshot(workload, true)?;
    site.world.wait_for_transfer_in_progress(id)?;
    // However slow the cloud is: bytes wait for it.
    let mover = site.world.datamovers.values().next().context("there is a datamover")?;
    mover.signal(Signal::STOP)?;
    let acted = act();
    mover.signal(Signal::CONT)?;
    acted?;
    let status = site.world.block_on(site.world.client.show_snapshot(id))?.summary.status;
    ensure!(status == "uploading", "the user was done in mid-transfer, and it is {status}");
    finish(site, id)
}

/// The same, before it is cut: the datamover sleeps meanwhile.
fn snapshot_before_cut(
    site: &Site,
    workload: WorkloadId,
    act: impl FnOnce() -> Result<()>,
) -> Result<Snapshot> {
    let mover = site.world.datamovers.values().next().context("there is a datamover")?;
    mover.signal(Signal::STOP)?;
    let id = site.world.start_snapshot(workload, true)?;
    let described = integration_tests::wait::until(
        integration_tests::jobs::JOB_DEADLINE,
        "the snapshot waits for its freeze",
        || {
            let shown = site.world.block_on(site.world.client.show_snapshot(id))?;
            Ok(shown.summary.progress_msg.contains("freeze guests").then_some(()))
        },
    );
    let acted = described.and_then(|()| act());
    mover.signal(Signal::CONT)?;
    acted?;
    finish(site, id)
}

fn finish(site: &Site, id: model::SnapshotId) -> Result<Snapshot> {
    let snapshot = site.world.wait_for_snapshot(id)?;
    let summary = &snapshot.summary;
    ensure!(
        summary.status == "available",
        "{}: {:?}\n{}",
        summary.status,
        summary.error_msg,
        site.world.logs()
    );
    Ok(snapshot)
}

struct Stage<'a> {
    project: &'a Project,
    server: &'a str,
}

impl Stage<'_> {
    fn make_volume(&self, name: &str) -> Result<String> {
        let volume = self.project.create_one(&["volume", "create", "--size", "1", name])?;
        self.project.wait_for_status(&["volume"], &volume, "available")?;
        Ok(volume)
    }

    fn attach(&self, volume: &str) -> Result<()> {
        self.project.run(&["server", "add", "volume", self.server, volume])?;
        self.project.wait_for_status(&["volume"], volume, "in-use")
    }

    fn detach(&self, volume: &str) -> Result<()> {
        self.project.run(&["server", "remove", "volume", self.server, volume])?;
        self.project.wait_for_status(&["volume"], volume, "available")
    }

    fn extend(&self, volume: &str) -> Result<()> {
        let change = ["--os-volume-api-version", "3.42", "volume", "set", "--size", "2", volume];
        self.project.run(&change)?;
        self.project.wait_for_status(&["volume"], volume, "in-use")
    }
}

#[test]
fn disks_that_users_attach_detach_and_extend_leave_each_snapshot_with_its_own_point_in_time() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let phase = Phase::begin("changes: a server from a volume, with a second one, and a slow Holdfast");
    let image = lab.image.clone();
    let server = project.create_volume_server("web", &["--image", &image, "--boot-from-volume", "1"])?;
    let stage = Stage { project: &project, server: &server };
    let guest = Guest::wait_for(&server)?;
    let second = stage.make_volume("second")?;
    stage.attach(&second)?;
    guest.run("dd if=/dev/urandom of=/dev/vdb bs=1M count=48 2>/dev/null; sync")?;
    let site = Site::open_at(&lab, &project, SLOW)?;
    let instance: InstanceId = server.parse()?;
    let workload = site.world.create_workload("web", &[instance])?;
    let third = stage.make_volume("third")?;
    drop(phase);

    let phase = Phase::begin("changes: attach in mid-transfer");
    let snapshot = snapshot_during(&site, workload, || stage.attach(&third))?;
    assert_devices(&snapshot, &[("vda", 1), ("vdb", 1)])?;
    assert_same_bytes(&lab, &project, &site, &snapshot)?;
    drop(phase);

    let phase = Phase::begin("changes: extend in mid-transfer");
    guest.run("dd if=/dev/urandom of=/dev/vdc bs=1M count=24 2>/dev/null; sync")?;
    let snapshot = snapshot_during(&site, workload, || stage.extend(&third))?;
    assert_devices(&snapshot, &[("vda", 1), ("vdb", 1), ("vdc", 1)])?;
    assert_same_bytes(&lab, &project, &site, &snapshot)?;
    drop(phase);

    let phase = Phase::begin("changes: detach in mid-transfer");
    let snapshot = snapshot_during(&site, workload, || stage.detach(&third))?;
    assert_devices(&snapshot, &[("vda", 1), ("vdb", 1), ("vdc", 2)])?;
    assert_same_bytes(&lab, &project, &site, &snapshot)?;
    drop(phase);

    let phase = Phase::begin("changes: attach between description and cut: cut once more, with it");
    let fourth = stage.make_volume("fourth")?;
    let snapshot = snapshot_before_cut(&site, workload, || stage.attach(&fourth))?;
    assert_devices(&snapshot, &[("vda", 1), ("vdb", 1), ("vdc", 1)])?;
    assert_same_bytes(&lab, &project, &site, &snapshot)?;
    drop(phase);

    let phase = Phase::begin("changes: detach between description and cut: cut once more, without it");
    let snapshot = snapshot_before_cut(&site, workload, || stage.detach(&fourth))?;
    assert_devices(&snapshot, &[("vda", 1), ("vdb", 1)])?;
    assert_same_bytes(&lab, &project, &site, &snapshot)?;
    ensure!(guest.frozen_status()? == "thawed");
    drop(phase);
    site.close()?;
    project.close()
}

#[test]
fn a_local_disk_keeps_its_point_in_time_while_volumes_come_and_go() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let phase = Phase::begin("changes: a server on a local disk, and a slow Holdfast");
    let server = project.create_local_server("db")?;
    let stage = Stage { project: &project, server: &server };
    Guest::wait_for(&server)?.write_file("/var/lib/mark", 64)?;
    let site = Site::open_at(&lab, &project, SLOW)?;
    let workload = site.world.create_workload("db", &[server.parse()?])?;
    let volume = stage.make_volume("data")?;
    drop(phase);

    let phase = Phase::begin("changes: running, attach and detach in mid-transfer");
    let snapshot = snapshot_during(&site, workload, || stage.attach(&volume))?;
    assert_devices(&snapshot, &[("vda", 1)])?;
    let snapshot = snapshot_during(&site, workload, || stage.detach(&volume))?;
    assert_devices(&snapshot, &[("vda", 1), ("vdb", 1)])?;
    ensure!(bitmaps(&server)?.len() == 1, "one bitmap between two snapshots: {:?}", bitmaps(&server)?);
    ensure!(checkpoints(&server)?.is_empty(), "the domain bears no checkpoint");
    drop(phase);

    let phase = Phase::begin("changes: running, attach between description and cut");
    let snapshot = snapshot_before_cut(&site, workload, || stage.attach(&volume))?;
    assert_devices(&snapshot, &[("vda", 1), ("vdb", 1)])?;
    ensure!(bitmaps(&server)?.len() == 1, "the first cut left no bitmap: {:?}", bitmaps(&server)?);
    drop(phase);

    let phase = Phase::begin("changes: stopped, detach in mid-transfer, bytes compared");
    project.stop(&server)?;
    let snapshot = snapshot_during(&site, workload, || stage.detach(&volume))?;
    site.assert_local_disk_kept(&lab, &snapshot, &server)?;
    drop(phase);
    site.close()?;
    project.close()
}
