//! The services as Nova's own account, with the groups `kvm` and `libvirt` and no more.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use integration_tests::readback::assert_kept;
use model::InstanceId;
use openstack_tests::guest::Guest;
use openstack_tests::hypervisor::{LocalDisk, bitmaps, copy_file};
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::rbd;
use openstack_tests::site::Site;
use rest_api::Snapshot;

/// Owner, group and mode of all that Nova has of an instance.
fn rights(lab: &Lab, server: &str) -> Result<BTreeMap<PathBuf, (u32, u32, u32)>> {
    let folder = lab.instances_dir.join(server);
    let entries = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path()));
    entries
        .chain([Ok(folder.clone())])
        .map(|path: Result<PathBuf>| {
            let path = path?;
            let metadata = std::fs::symlink_metadata(&path)?;
            Ok((path, (metadata.uid(), metadata.gid(), metadata.mode())))
        })
        .collect()
}

fn assert_same_bytes(site: &Site, snapshot: &Snapshot, server: &str, witness: &Path) -> Result<()> {
    let id: InstanceId = server.parse()?;
    let instance = snapshot.instances.iter().find(|instance| instance.id == id);
    let disk = instance.and_then(|instance| instance.vdisks.first()).context("the instance has a disk")?;
    assert_kept(&site.world, snapshot, disk, witness)
}

/// Whose process it is.
fn account_of(pid: u32) -> Result<u32> {
    Ok(std::fs::metadata(format!("/proc/{pid}"))?.uid())
}

#[test]
fn running_volume_and_local_servers_and_a_stopped_one_are_protected_by_the_account_of_nova() -> Result<()> {
    let (lab, folder) = (Lab::from_env()?, tempfile::tempdir()?);
    let project = Project::create(&lab)?;
    let phase = Phase::begin("as nova: a volume server, a local server, and a Holdfast");
    let image = lab.image.clone();
    let on_volume = project.create_volume_server("web", &["--image", &image, "--boot-from-volume", "1"])?;
    let on_disk = project.create_local_server("db")?;
    for server in [&on_volume, &on_disk] {
        Guest::wait_for(server)?.write_file("/var/lib/mark", 5)?;
    }
    let volume = project.volume_of(&on_volume)?;
    let site = Site::open_as_nova(&lab, &project)?;
    for process in site.world.datamovers.values() {
        ensure!(account_of(process.id())? != 0, "the datamover is not root");
    }
    let workload = site.world.create_workload("both", &[on_volume.parse()?, on_disk.parse()?])?;
    drop(phase);

    let phase = Phase::begin("as nova: both run, frozen, full and by changes");
    for is_full in [true, false] {
        let snapshot = site.world.take_snapshot(workload, is_full)?;
        for instance in &snapshot.instances {
            ensure!(instance.consistency.as_deref() == Some("filesystem"), "{instance:?}");
        }
    }
    ensure!(bitmaps(&on_disk)?.len() == 1, "{:?}", bitmaps(&on_disk)?);
    drop(phase);

    let phase = Phase::begin("as nova: both stopped, bytes compared, rights as they were");
    project.stop(&on_disk)?;
    project.stop(&on_volume)?;
    let before = rights(&lab, &on_disk)?;
    let stopped = site.world.take_snapshot(workload, false)?;
    ensure!(rights(&lab, &on_disk)? == before, "{before:?} became {:?}", rights(&lab, &on_disk)?);
    let witness = folder.path().join("witness");
    copy_file(&LocalDisk::of(&lab, &on_disk)?.path, &witness)?;
    assert_same_bytes(&site, &stopped, &on_disk, &witness)?;
    rbd::export(&lab.volume_image(&volume, None), &witness)?;
    assert_same_bytes(&site, &stopped, &on_volume, &witness)?;
    for server in [&on_disk, &on_volume] {
        project.start(server)?;
    }
    Guest::wait_for(&on_disk)?;
    drop(phase);
    site.close()?;
    project.close()
}
