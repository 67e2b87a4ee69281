use anyhow::Result;
use cloud::{ChangeRecord, Changes};
use openstack_tests::carrier::Carrier;
use openstack_tests::guest::Guest;
use openstack_tests::hypervisor::{Checkpoint, Cut, LocalDisk, bitmaps, checkpoints};
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;

const MIB: u64 = 1 << 20;

/// Cuts under a freeze, which lasts no longer than the cut.
fn cut_frozen(
    guest: &Guest,
    instance_id: &str,
    name: &str,
    base: Option<&Checkpoint>,
    carrier: &Carrier,
) -> Result<Cut> {
    guest.freeze()?;
    let cut = Cut::begin(instance_id, name, base, &carrier.path(""));
    assert!(guest.thaw()? >= 1, "the guest was frozen when its disk was cut");
    let cut = cut?;
    assert_eq!(checkpoints(instance_id)?, "", "a domain bears no checkpoint once it is cut");
    Ok(cut)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_local_disk_is_cut_whole_and_then_by_its_dirty_bitmap() -> Result<()> {
    let (lab, carrier) = (Lab::from_env()?, Carrier::new()?);
    let project = Project::create(&lab)?;
    let phase = Phase::begin("running disk: server from an image, booted");
    let instance = project.create_local_server("running")?;
    let guest = Guest::wait_for(&instance)?;
    let size = LocalDisk::of(&lab, &instance)?.size;
    drop(phase);

    let phase = Phase::begin("running disk: whole, bytes compared");
    guest.write_file("/var/lib/first", 5)?;
    let cut = cut_frozen(&guest, &instance, &format!("{instance}-1"), None, &carrier)?;
    guest.write_file("/var/lib/after", 2)?; // must not show
    let (first, done) = carrier.back_up(&cut.location(), size, None).await?;
    let witness = carrier.path("witness");
    cut.witness(&witness)?;
    carrier.compare(first, &witness).await?;
    assert!(done.bytes_read < size.0, "holes are not read");
    let base = cut.checkpoint.clone();
    drop(cut);
    drop(phase);

    let phase = Phase::begin("running disk: by dirty bitmap, bytes compared");
    guest.write_file("/var/lib/second", 3)?;
    let cut = cut_frozen(&guest, &instance, &format!("{instance}-2"), Some(&base), &carrier)?;
    let changes = Changes { since: first, record: ChangeRecord::DirtyBitmap(Cut::BITMAP.to_owned()) };
    let (second, done) = carrier.back_up(&cut.location(), size, Some(changes)).await?;
    cut.witness(&witness)?;
    carrier.compare(second, &witness).await?;
    assert!((5 * MIB..64 * MIB).contains(&done.bytes_read), "read {} bytes", done.bytes_read);
    let later = cut.checkpoint.clone();
    drop(cut);
    base.drop_bitmap(&instance, &later)?;
    assert_eq!(
        bitmaps(&instance)?,
        std::slice::from_ref(&later.name),
        "between two runs there is one bitmap"
    );
    drop(phase);

    let phase = Phase::begin("running disk: stopped by its user in mid-transfer, started, cut again");
    let cut = cut_frozen(&guest, &instance, &format!("{instance}-3"), Some(&later), &carrier)?;
    let reader = carrier.disks().read(&cut.location(), size).await?;
    reader.read(0, MIB).await?;
    project.stop(&instance)?;
    let lost = reader.read(0, MIB).await.unwrap_err().failure();
    assert_eq!(lost.code, "POINT_IN_TIME_LOST", "{lost}");
    drop(cut);
    project.start(&instance)?;
    let guest = Guest::wait_for(&instance)?;
    let cut = cut_frozen(&guest, &instance, &format!("{instance}-4"), Some(&later), &carrier)?;
    let changes = Changes { since: second, record: ChangeRecord::DirtyBitmap(Cut::BITMAP.to_owned()) };
    let (third, done) = carrier.back_up(&cut.location(), size, Some(changes)).await?;
    cut.witness(&witness)?;
    carrier.compare(third, &witness).await?;
    assert!(done.bytes_read < 64 * MIB, "the bitmap outlived the stop: read {} bytes", done.bytes_read);
    drop(cut);
    drop(phase);
    project.close()
}
