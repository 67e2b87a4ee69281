//! Disks fill up, turn read-only and go away while jobs run. What can wait, waits; what cannot, is taken back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::disks::SmallDisk;
use integration_tests::process::Process;
use integration_tests::wait;
use integration_tests::world::Spec;

use crate::fixture::{Shop, Sizes};

const NOTICE_DEADLINE: Duration = Duration::from_secs(60);

fn wait_for_log(process: &Process, word: &str) -> Result<()> {
    let says = || Ok(process.log().contains(word).then_some(()));
    wait::until(NOTICE_DEADLINE, &format!("{process} says {word}"), says).with_context(|| process.log())
}

#[test]
fn a_full_disk_under_the_catalog_is_named_and_work_goes_on_when_there_is_room() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = SmallDisk::mount(dir.path(), 16)?;
    let spec = Spec { database_dir: Some(dir.path().to_owned()), ..Spec::default() };
    let shop = Shop::open_for_web_only(Spec { rate_limit_mib_per_s: Some(2), ..spec })?;
    let cloud = shop.cloud_ledger()?;
    let id = shop.world.start_snapshot(shop.workload, true)?;
    shop.world.wait_for_transfer_in_progress(id)?;
    let filler = disk.fill()?;
    wait_for_log(&shop.world.controller, "DATABASE_FULL")?;
    let refused = shop.world.create_workload("more", &[shop.db]).err().context("nothing can be written")?;
    ensure!(format!("{refused:#}").contains("no space left"), "{refused:#}");
    std::fs::remove_file(filler)?;
    shop.assert_taken(&shop.world.wait_for_snapshot(id)?, 0)?;
    shop.world.create_workload("more", &[shop.db])?;
    let left = cloud.difference(&shop.cloud_ledger()?);
    ensure!(left.is_empty(), "left in the cloud: {left:?}");
    shop.assert_no_effect_twice()?;
    shop.assert_no_error_logged()
}

#[test]
fn a_target_that_fills_up_or_turns_read_only_in_mid_transfer_is_left_as_it_was() -> Result<()> {
    let shop = Shop::open_slow()?;
    let (target, aside) = (shop.world.places.target(), shop.world.places.root.join("repo.json"));
    std::fs::copy(target.join("repo.json"), &aside)?;
    let disk = SmallDisk::mount(&target, 64)?;
    std::fs::copy(&aside, target.join("repo.json"))?;
    let (cloud_before, target_before) = (shop.cloud_ledger()?, shop.target_ledger()?);

    let id = shop.world.start_snapshot(shop.workload, true)?;
    shop.world.wait_for_transfer_in_progress(id)?;
    let filler = disk.fill()?;
    let snapshot = shop.world.wait_for_snapshot(id)?;
    ensure!(snapshot.summary.error_code.as_deref() == Some("TARGET_FULL"), "{:?}", snapshot.summary);
    std::fs::remove_file(filler)?;
    let left = target_before.difference(&shop.target_ledger()?);
    ensure!(left.is_empty(), "left on the full target: {left:?}");

    let id = shop.world.start_snapshot(shop.workload, true)?;
    shop.world.wait_for_transfer_in_progress(id)?;
    disk.set_read_only(true)?;
    let saga = shop.world.block_on(shop.world.client.show_snapshot(id))?.summary.saga_id;
    wait::until(NOTICE_DEADLINE, "the saga turns back", || {
        let saga = shop.world.block_on(shop.world.client.show_saga(saga))?;
        Ok((saga.summary.phase == "backward").then_some(()))
    })?;
    disk.set_read_only(false)?;
    let snapshot = shop.world.wait_for_snapshot(id)?;
    ensure!(snapshot.summary.status == "error", "{:?}", snapshot.summary);
    ensure!(snapshot.summary.error_code.as_deref() == Some("TARGET_READ_ONLY"), "{:?}", snapshot.summary);
    let saga = shop.world.block_on(shop.world.client.show_saga(saga))?;
    ensure!(saga.summary.phase == "compensated", "the saga is {}", saga.summary.phase);
    let left = target_before.difference(&shop.target_ledger()?);
    ensure!(left.is_empty(), "left on the target that was read-only: {left:?}");
    let left = cloud_before.difference(&shop.cloud_ledger()?);
    ensure!(left.is_empty(), "left in the cloud: {left:?}");
    shop.assert_taken(&shop.world.take_snapshot(shop.workload, true)?, 0)
}

#[test]
fn a_target_that_goes_away_in_mid_transfer_is_waited_for() -> Result<()> {
    // A restore reads 64 MiB ahead: of a smaller disk it has all before the target is gone.
    let spec = Spec { rate_limit_mib_per_s: Some(16), ..Spec::default() };
    let shop = Shop::open_with(spec, Sizes { web_mib: 256, db_mib: 8 })?;
    let (target, away) = (shop.world.places.target(), shop.world.places.root.join("away"));
    let misses = || {
        let count = |process: &Process| {
            let log = process.log();
            log.matches("TARGET_GONE").count() + log.matches("TARGET_NOT_INITIALIZED").count()
        };
        let world = &shop.world;
        let all = [&world.controller, &world.dmapi].into_iter().chain(world.datamovers.values());
        all.map(count).sum::<usize>()
    };
    let leave = || -> Result<()> {
        let known = misses();
        std::fs::rename(&target, &away)?;
        // What is seen where nothing is mounted.
        std::fs::create_dir(&target)?;
        wait::until(NOTICE_DEADLINE, "a service misses the target", || Ok((misses() > known).then_some(())))?;
        ensure!(std::fs::read_dir(&target)?.next().is_none(), "something was written where no target is");
        std::fs::remove_dir(&target)?;
        Ok(std::fs::rename(&away, &target)?)
    };
    let id = shop.world.start_snapshot(shop.workload, true)?;
    shop.world.wait_for_transfer_in_progress(id)?;
    leave()?;
    shop.assert_taken(&shop.world.wait_for_snapshot(id)?, 0)?;

    let restore = shop.world.start_selective_restore(id, &[(shop.web, "web-2"), (shop.db, "db-2")])?;
    shop.world.wait_for_write_in_progress(restore)?;
    leave()?;
    shop.assert_restored(&shop.world.wait_for_restore(restore)?, 0)?;
    shop.assert_no_effect_twice()?;
    shop.assert_no_error_logged()
}
