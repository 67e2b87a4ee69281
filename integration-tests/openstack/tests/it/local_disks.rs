use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Result;
use openstack_tests::carrier::Carrier;
use openstack_tests::guest::Guest;
use openstack_tests::hypervisor::LocalDisk;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;

/// Owner, group, mode and security label.
fn rights(path: &Path) -> (u32, u32, u32, Vec<u8>) {
    let metadata = std::fs::metadata(path).unwrap();
    let mut label = vec![0; 256];
    // No label where no security module gives any.
    let length = rustix::fs::getxattr(path, "security.selinux", &mut label[..]).unwrap_or(0);
    label.truncate(length);
    (metadata.uid(), metadata.gid(), metadata.mode(), label)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_local_disk_is_written_and_its_server_starts_with_it() -> Result<()> {
    let (lab, carrier) = (Lab::from_env()?, Carrier::new()?);
    let project = Project::create(&lab)?;
    let phase = Phase::begin("local disk: source, booted, stopped, backed up");
    let source = project.create_local_server("source")?;
    let guest = Guest::wait_for(&source)?;
    // Freed again on the source, this must not come back from the image below the destination.
    guest.run("rm -r /usr/share/udhcpc; sync")?;
    let checksum = guest.write_file("/var/lib/mark", 5)?;
    project.stop(&source)?;
    let disk = LocalDisk::of(&lab, &source)?;
    let (snapshot, done) = carrier.back_up(&disk.location, disk.size, None).await?;
    assert!(done.bytes_read < disk.size.0, "holes are not read");
    drop(phase);

    let phase = Phase::begin("local disk: destination, booted, stopped, written");
    let destination = project.create_local_server("destination")?;
    Guest::wait_for(&destination)?.write_file("/var/lib/old", 8)?;
    project.stop(&destination)?;
    let disk = LocalDisk::of(&lab, &destination)?;
    let before = rights(&disk.path);
    let done = carrier.restore(snapshot, &disk.location, disk.size).await?;
    assert_eq!(done.bytes_read_back, disk.size.0);
    assert_eq!(rights(&disk.path), before, "owner, mode and label are as before");
    drop(phase);

    let phase = Phase::begin("local disk: server started with it, file seen inside");
    project.start(&destination)?;
    let guest = Guest::wait_for(&destination)?;
    assert_eq!(guest.checksum("/var/lib/mark")?, checksum);
    let gone = guest.run("ls -d /var/lib/old /usr/share/udhcpc 2>/dev/null || echo none")?;
    assert_eq!(gone.trim(), "none", "neither what was there before nor what the image holds is back");
    drop(phase);
    project.close()
}
