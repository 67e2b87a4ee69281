use anyhow::Result;
use cloud::{ChangeRecord, Changes};
use model::{ByteCount, DiskLocation};
use openstack_tests::carrier::Carrier;
use openstack_tests::guest::Guest;
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::rbd;

const MIB: u64 = 1 << 20;
const SIZE: ByteCount = ByteCount::gib(1);

/// Cuts a volume under a freeze; gives the volume snapshot's id.
fn cut_frozen(project: &Project, guest: &Guest, volume: &str, name: &str) -> Result<String> {
    guest.freeze()?;
    // The volume is attached, so it must be forced.
    let made = project.create_one(&["volume", "snapshot", "create", "--force", "--volume", volume, name]);
    assert!(guest.thaw()? >= 1, "the guest was frozen when its volume was cut");
    let snapshot = made?;
    project.wait_for_status(&["volume", "snapshot"], &snapshot, "available")?;
    Ok(snapshot)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_read_from_its_snapshots_and_a_new_one_boots_a_server() -> Result<()> {
    let (lab, carrier) = (Lab::from_env()?, Carrier::new()?);
    let project = Project::create(&lab)?;
    let phase = Phase::begin("volume: server from a new volume, booted");
    let image = lab.image.clone();
    let server = project.create_volume_server("source", &["--image", &image, "--boot-from-volume", "1"])?;
    let guest = Guest::wait_for(&server)?;
    let volume = project.volume_of(&server)?;
    let checksum = guest.write_file("/var/lib/mark", 5)?;
    drop(phase);

    let phase = Phase::begin("volume: whole, from a snapshot, bytes compared");
    let cut = lab.volume_image(&volume, Some(&cut_frozen(&project, &guest, &volume, "first")?));
    guest.write_file("/var/lib/after", 4)?;
    let (first, done) = carrier.back_up(&DiskLocation::Rbd(cut.clone()), SIZE, None).await?;
    let witness = carrier.path("witness");
    rbd::export(&cut, &witness)?;
    carrier.compare(first, &witness).await?;
    assert!(done.bytes_read < SIZE.0, "holes are not read");
    drop(phase);

    let phase = Phase::begin("volume: by the difference of two snapshots, bytes compared");
    let later = lab.volume_image(&volume, Some(&cut_frozen(&project, &guest, &volume, "second")?));
    let record = ChangeRecord::Extents(rbd::changes_since(&later, &cut)?);
    let changes = Changes { since: first, record };
    let (second, done) = carrier.back_up(&DiskLocation::Rbd(later.clone()), SIZE, Some(changes)).await?;
    std::fs::remove_file(&witness)?;
    rbd::export(&later, &witness)?;
    carrier.compare(second, &witness).await?;
    assert!((4 * MIB..64 * MIB).contains(&done.bytes_read), "read {} bytes", done.bytes_read);
    drop(phase);

    let phase = Phase::begin("volume: new one written from the target");
    let new = project.create_one(&["volume", "create", "--size", "1", "--bootable", "written"])?;
    project.wait_for_status(&["volume"], &new, "available")?;
    // Of the image only its properties are needed: here the channel of the guest's agent.
    project.run(&["volume", "set", "--image-property", "hw_qemu_guest_agent=yes", &new])?;
    let written = lab.volume_image(&new, None);
    assert_eq!(rbd::watchers(&written)?, [""; 0], "nobody has it open");
    let done = carrier.restore(first, &DiskLocation::Rbd(written.clone()), SIZE).await?;
    assert!(done.bytes_written < SIZE.0, "a new volume says that it reads as zero: holes are not written");
    assert_eq!(rbd::watchers(&written)?, [""; 0], "nor we any more");
    drop(phase);

    let phase = Phase::begin("volume: server booted from it, file seen inside");
    let restored = project.create_volume_server("restored", &["--volume", &new])?;
    let guest = Guest::wait_for(&restored)?;
    assert_eq!(guest.checksum("/var/lib/mark")?, checksum);
    assert_eq!(guest.run("ls /var/lib/after 2>/dev/null || echo none")?.trim(), "none");
    drop(phase);
    project.close()
}
