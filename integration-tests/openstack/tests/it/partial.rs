//! Workloads of several instances on a real OpenStack, of which one fails: the others are in the snapshot, which says so.

use anyhow::{Context as _, Result, ensure};
use model::{InstanceId, WorkloadId, WorkloadType};
use openstack_tests::guest::Guest;
use openstack_tests::hypervisor::{bitmaps, checkpoints};
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::site::{Pace, Site};
use rest_api::{LooseBool, Snapshot, SnapshotInstance, WorkloadChange};
use rustix::process::Signal;

const SLOW: Pace = Pace::Slow { rate_mib_per_s: 6 };

fn change(site: &Site, workload: WorkloadId, change: WorkloadChange) -> Result<()> {
    let changed = site.world.block_on(site.world.client.change_workload(workload, change))?;
    ensure!(changed.allow_partial, "{changed:?}");
    Ok(())
}

fn part(snapshot: &Snapshot, id: InstanceId) -> Result<&SnapshotInstance> {
    snapshot.instances.iter().find(|part| part.id == id).context("the instance is listed")
}

/// One is left out with one of these codes, the other is saved.
fn assert_partial(
    snapshot: &Snapshot,
    left_out: InstanceId,
    codes: &[&str],
    saved: InstanceId,
) -> Result<()> {
    let warning = snapshot.summary.warning_msg.clone().context("there is a warning")?;
    let part_out = part(snapshot, left_out)?;
    let code = part_out.error_code.as_deref().context("it says why")?;
    ensure!(warning.contains(code), "{warning}");
    ensure!(part_out.status == "error" && codes.contains(&code), "{part_out:?}");
    ensure!(part_out.vdisks.is_empty(), "{part_out:?}");
    let part_in = part(snapshot, saved)?;
    ensure!(part_in.status == "available" && part_in.vdisks.len() == 1, "{part_in:?}");
    Ok(())
}

#[test]
fn an_instance_that_fails_is_left_out_and_the_other_is_saved() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let phase = Phase::begin("partial: two servers on local disks, and a slow Holdfast");
    let (first, second) = (project.create_local_server("first")?, project.create_local_server("second")?);
    let (one, other): (InstanceId, InstanceId) = (first.parse()?, second.parse()?);
    let guest = Guest::wait_for(&second)?;
    Guest::wait_for(&first)?;
    let site = Site::open_at(&lab, &project, SLOW)?;
    let workload = site.world.create_workload("both", &[one, other])?;
    drop(phase);

    let phase = Phase::begin("partial: one is rescued");
    project.run(&["server", "rescue", &first])?;
    project.wait_for_status(&["server"], &first, "RESCUE")?;
    let refused = site.world.start_snapshot(workload, true).unwrap_err();
    ensure!(format!("{refused:#}").contains("rescue"), "without leave to be partial: {refused:#}");
    let partial = WorkloadChange { allow_partial: Some(LooseBool(true)), ..WorkloadChange::default() };
    change(&site, workload, partial)?;
    let snapshot = site.world.take_snapshot(workload, true)?;
    assert_partial(&snapshot, one, &["INSTANCE_RESCUED"], other)?;
    let refused = site.world.start_selective_restore(snapshot.summary.id, &[(one, "back")]).unwrap_err();
    ensure!(format!("{refused:#}").contains("is not in snapshot"), "{refused:#}");
    project.run(&["server", "unrescue", &first])?;
    project.wait_for_status(&["server"], &first, "ACTIVE")?;
    drop(phase);

    let phase =
        Phase::begin("partial: serial, one is deleted while it is transferred, bytes of the other compared");
    let serial = WorkloadChange { workload_type: Some(WorkloadType::Serial), ..WorkloadChange::default() };
    change(&site, workload, serial)?;
    project.stop(&second)?;
    let id = site.world.start_snapshot(workload, true)?;
    site.world.wait_for_transfer_in_progress(id)?;
    let running = site.world.block_on(site.world.client.show_snapshot(id))?;
    let untouched = part(&running, other)?.vdisks.iter().all(|disk| disk.bytes_done == 0);
    ensure!(untouched, "the second waits for the first: {:?}", part(&running, other)?);
    // However slow the cloud is: bytes wait for it.
    let mover = site.world.datamovers.values().next().context("there is a datamover")?;
    mover.signal(Signal::STOP)?;
    let deleted = project.run(&["server", "delete", "--wait", &first]);
    mover.signal(Signal::CONT)?;
    deleted?;
    let snapshot = site.world.wait_for_snapshot(id)?;
    let summary = &snapshot.summary;
    ensure!(summary.status == "available", "{:?}\n{}", summary.error_msg, site.world.logs());
    // Whoever is asked first says it: Nova's database, or its API.
    assert_partial(&snapshot, one, &["INSTANCE_DELETED", "INSTANCE_NOT_FOUND"], other)?;
    site.assert_local_disk_kept(&lab, &snapshot, &second)?;
    drop(phase);

    let phase = Phase::begin("partial: the other starts, and nothing is left");
    project.start(&second)?;
    Guest::wait_for(&second)?;
    ensure!(guest.frozen_status()? == "thawed");
    ensure!(bitmaps(&second)?.len() <= 1 && checkpoints(&second)?.is_empty(), "{:?}", bitmaps(&second)?);
    drop(phase);
    site.close()?;
    project.close()
}
