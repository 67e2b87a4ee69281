//! The whole product on a real OpenStack, as its users have it: protected by the services, and brought back.

use anyhow::{Context as _, Result, ensure};
use model::InstanceId;
use openstack_tests::guest::Guest;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::site::Site;

const MIB: u64 = 1 << 20;

#[test]
fn an_instance_that_boots_from_a_volume_is_protected_twice_and_comes_back_beside_itself() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let phase = Phase::begin("protecting: a server from a new volume, and a Holdfast");
    let image = lab.image.clone();
    let server = project.create_volume_server("web", &["--image", &image, "--boot-from-volume", "1"])?;
    let guest = Guest::wait_for(&server)?;
    let mark = guest.write_file("/var/lib/mark", 5)?;
    let site = Site::open(&lab, &project)?;
    let instance: InstanceId = server.parse()?;
    let workload = site.world.create_workload("web", &[instance])?;
    drop(phase);

    let phase = Phase::begin("protecting: a full snapshot");
    let full = site.world.take_snapshot(workload, true)?;
    ensure!(full.instances[0].consistency.as_deref() == Some("filesystem"), "{:?}", full.instances[0]);
    drop(phase);

    let phase = Phase::begin("protecting: an incremental snapshot");
    guest.write_file("/var/lib/after", 4)?;
    let incremental = site.world.take_snapshot(workload, false)?;
    let disk = incremental.instances[0].vdisks.first().context("the instance has a disk")?;
    ensure!((4 * MIB..64 * MIB).contains(&disk.bytes_read), "it read {} bytes", disk.bytes_read);
    drop(phase);

    let phase = Phase::begin("protecting: the first snapshot comes back beside it");
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
