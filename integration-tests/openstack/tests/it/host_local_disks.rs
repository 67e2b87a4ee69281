//! Local disks of running and stopped instances, cut by the product; bytes compared with qemu's own tools.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cloud::{ChangeRecord, CutRequest, Host as _, Moment, SourceDisk, SourceQuery};
use model::{DiskLocation, NbdExport, SnapshotId};
use openstack_tests::carrier::Carrier;
use openstack_tests::compute::Compute;
use openstack_tests::guest::Guest;
use openstack_tests::hypervisor::{bitmaps, checkpoints, copy_export, copy_file};
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;

const MIB: u64 = 1 << 20;

fn export(source: &SourceDisk) -> Result<&NbdExport> {
    match &source.location {
        DiskLocation::Export(export) => Ok(export),
        other => anyhow::bail!("{other} is no export"),
    }
}

fn bitmap_of(snapshot: SnapshotId) -> Vec<String> {
    vec![format!("holdfast-{snapshot}")]
}

fn assert_is_incremental(source: &SourceDisk, since: SnapshotId) {
    let changes = source.changes.as_ref().unwrap_or_else(|| panic!("{source:?}"));
    assert_eq!(changes.since, since);
    assert!(matches!(changes.record, ChangeRecord::DirtyBitmap(_)), "{changes:?}");
}

/// Asking again gives the same; asking for another snapshot meanwhile is refused.
async fn assert_cut_is_found_again(compute: &Compute, cut: &SourceQuery, base: SnapshotId) -> Result<()> {
    let again = CutRequest {
        instance_id: cut.instance_id,
        snapshot_id: cut.snapshot_id,
        disks: vec![cut.disk_id.clone()],
        base: Some(base),
    };
    assert_eq!(compute.host().cut(&again).await?, Moment::Cut, "it is found, not cut again");
    let other = CutRequest { snapshot_id: base, ..again };
    assert_eq!(compute.host().cut(&other).await.unwrap_err().code, "CUT_BUSY");
    Ok(())
}

/// Stops the instance, reads its disk as it is, and starts it while somebody still reads.
async fn read_stopped(
    (project, compute, carrier): (&Project, &Compute, &Carrier),
    base: &SourceQuery,
    witness: &Path,
) -> Result<SourceQuery> {
    let instance = base.instance_id.to_string();
    let phase = Phase::begin("local disk: stopped, read as it is, bytes compared, started while it is read");
    project.stop(&instance)?;
    let stopped = compute.cut(&instance, Some(base.snapshot_id)).await?;
    assert_eq!(stopped.moment, Moment::AsIs);
    let source = compute.source(&stopped).await?;
    let DiskLocation::File(image) = &source.location else { anyhow::bail!("{source:?}") };
    carrier.back_up_as(stopped.snapshot_id, Some(base.snapshot_id), source.clone()).await?;
    std::fs::remove_file(witness)?;
    copy_file(&image.path, witness)?;
    carrier.compare(stopped.snapshot_id, witness).await?;
    compute.host().check_moment(&stopped).await?;
    let reader = carrier.disks().read(&source.location, source.size).await?;
    reader.read(0, MIB).await?;
    project.start(&instance)?; // we hold it open, and it is not refused
    let loss = compute.loss(&stopped).await?;
    assert_eq!(loss.code, "POINT_IN_TIME_LOST");
    assert!(loss.message.contains("the instance was started"), "{loss}");
    drop(reader);
    compute.end(&stopped, true).await?; // it had been read before: see above
    drop(phase);
    Ok(stopped)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_local_disk_is_read_whole_then_by_its_changes_and_stopped_as_it_is() -> Result<()> {
    let (lab, carrier) = (Lab::from_env()?, Carrier::new()?);
    let (project, mut compute) = (Project::create(&lab)?, Compute::open(&lab).await?);
    let phase = Phase::begin("local disk: server from an image, booted");
    let instance = project.create_local_server("running")?;
    let guest = Guest::wait_for(&instance)?;
    drop(phase);

    let phase = Phase::begin("local disk: whole, bytes compared");
    guest.write_file("/var/lib/first", 5)?;
    let first = compute.cut(&instance, None).await?;
    assert_eq!(first.moment, Moment::Cut);
    assert_eq!(checkpoints(&instance)?, "", "a domain bears no checkpoint once it is cut");
    guest.write_file("/var/lib/after", 2)?; // must not show
    let source = compute.source(&first).await?;
    let done = carrier.back_up_as(first.snapshot_id, None, source.clone()).await?;
    let witness = carrier.path("witness");
    copy_export(export(&source)?, &witness)?;
    carrier.compare(first.snapshot_id, &witness).await?;
    assert!(done.bytes_read < source.size.0, "holes are not read");
    compute.host().check_moment(&first).await?;
    compute.end(&first, true).await?;
    compute.end(&first, true).await?; // twice is as once
    assert_eq!(bitmaps(&instance)?, bitmap_of(first.snapshot_id));
    assert!(compute.scratch()?.is_empty(), "left in the scratch folder: {:?}", compute.scratch()?);
    drop(phase);

    let phase =
        Phase::begin("local disk: by its changes, the datamover restarted in mid-cut, bytes compared");
    guest.write_file("/var/lib/second", 3)?;
    let second = compute.cut(&instance, Some(first.snapshot_id)).await?;
    compute.reopen().await?;
    assert_cut_is_found_again(&compute, &second, first.snapshot_id).await?;
    let source = compute.source(&second).await?;
    assert_is_incremental(&source, first.snapshot_id);
    let done = carrier.back_up_as(second.snapshot_id, Some(first.snapshot_id), source.clone()).await?;
    copy_export(export(&source)?, &witness)?;
    carrier.compare(second.snapshot_id, &witness).await?;
    assert!((5 * MIB..64 * MIB).contains(&done.bytes_read), "read {} bytes", done.bytes_read);
    compute.end(&second, true).await?;
    assert_eq!(bitmaps(&instance)?, bitmap_of(second.snapshot_id), "between two runs there is one bitmap");
    drop(phase);

    let phase = Phase::begin("local disk: a run that fails takes its own bitmap with it");
    let failed = compute.cut(&instance, Some(second.snapshot_id)).await?;
    compute.end(&failed, false).await?;
    assert_eq!(bitmaps(&instance)?, bitmap_of(second.snapshot_id));
    drop(phase);

    let stopped = read_stopped((&project, &compute, &carrier), &second, &witness).await?;

    let phase = Phase::begin("local disk: by its changes since it was read stopped, bytes compared");
    let guest = Guest::wait_for(&instance)?;
    guest.write_file("/var/lib/third", 3)?;
    let third = compute.cut(&instance, Some(stopped.snapshot_id)).await?;
    let source = compute.source(&third).await?;
    assert_is_incremental(&source, stopped.snapshot_id);
    let done = carrier.back_up_as(third.snapshot_id, Some(stopped.snapshot_id), source.clone()).await?;
    copy_export(export(&source)?, &witness)?;
    carrier.compare(third.snapshot_id, &witness).await?;
    ensure!(done.bytes_read < 96 * MIB, "the bitmap outlived the stop: read {} bytes", done.bytes_read);
    compute.end(&third, true).await?;
    assert_eq!(bitmaps(&instance)?, bitmap_of(third.snapshot_id), "between two runs there is one bitmap");
    drop(phase);

    let phase = Phase::begin("local disk: deleted with its bitmap kept");
    project.run(&["server", "delete", "--wait", &instance]).context("a kept bitmap is in nobody's way")?;
    drop(phase);
    project.close()
}
