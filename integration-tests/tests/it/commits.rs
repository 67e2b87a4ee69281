//! The controller is killed as a process right before and right after each transaction of a snapshot and of a restore, in
//! turn: each ends available, with its bytes, and no effect happened twice.

use anyhow::{Context as _, Result, ensure};
use integration_tests::jobs::JOB_DEADLINE;
use integration_tests::process::Program;
use integration_tests::wait;
use integration_tests::world::Spec;
use model::{RestoreId, SagaId, SnapshotId};

use crate::fixture::Shop;

const POINTS: [&str; 2] = ["before_commit", "after_commit"];
/// A snapshot of one disk makes some twenty, a restore some ten.
const NUMBER_MAX: u32 = 100;

fn open_small_shop() -> Result<(Shop, Program)> {
    let shop = Shop::open_for_web_only(Spec::default())?;
    let plain = shop.world.controller.program().clone();
    Ok((shop, plain))
}

fn drilled(plain: &Program, point: &str, number: u32) -> Program {
    plain.with_env("HOLDFAST_DRILL", &format!("kill:{point}:{number}"))
}

/// Waits until the drill struck or the job is over; whether it struck.
fn wait_for_strike(shop: &mut Shop, mut is_over: impl FnMut(&Shop) -> Result<bool>) -> Result<bool> {
    wait::until(JOB_DEADLINE, "the drill strikes or the job is over", || {
        if !shop.world.controller.is_running() {
            return Ok(Some(true));
        }
        // A controller that is just being killed does not answer.
        Ok(is_over(shop).unwrap_or(false).then_some(false))
    })
}

fn newest_snapshot(shop: &Shop) -> Result<SnapshotId> {
    let all = shop.world.block_on(shop.world.client.list_snapshots(Some(shop.workload)))?;
    all.into_iter().map(|one| one.id).max().context("a snapshot was asked for")
}

fn newest_restore(shop: &Shop) -> Result<RestoreId> {
    let all = shop.world.block_on(shop.world.client.list_restores(None))?;
    all.into_iter().map(|one| one.id).max().context("a restore was asked for")
}

/// Whether the job is done, and its saga too.
fn is_over(shop: &Shop, status: &str, saga: SagaId) -> Result<bool> {
    let saga = shop.world.block_on(shop.world.client.show_saga(saga))?;
    Ok(status == "available" && saga.summary.finished_at.is_some())
}

#[test]
fn a_controller_killed_at_any_commit_of_a_snapshot_finishes_it() -> Result<()> {
    let (mut shop, plain) = open_small_shop()?;
    let cloud = shop.cloud_ledger()?;
    for point in POINTS {
        for number in 1..=NUMBER_MAX {
            shop.world.replace_controller(&drilled(&plain, point, number))?;
            // The answer may be lost with the process.
            let asked = shop.world.start_snapshot(shop.workload, true);
            let struck = wait_for_strike(&mut shop, |shop| {
                let newest =
                    shop.world.block_on(shop.world.client.show_snapshot(newest_snapshot(shop)?))?.summary;
                is_over(shop, &newest.status, newest.saga_id)
            })?;
            let name = || format!("killed {point} {number}");
            if struck {
                shop.world.replace_controller(&plain)?;
            }
            let snapshot = shop.world.wait_for_snapshot(newest_snapshot(&shop)?).with_context(name)?;
            shop.assert_taken(&snapshot, 0).with_context(name)?;
            shop.assert_no_effect_twice().with_context(name)?;
            let left = cloud.difference(&shop.cloud_ledger()?);
            ensure!(left.is_empty(), "{}: left in the cloud: {left:?}", name());
            if !struck {
                asked.with_context(name)?;
                ensure!(number > 15, "a snapshot made only {number} transactions");
                break;
            }
        }
    }
    shop.assert_no_error_logged()
}

#[test]
fn a_controller_killed_at_any_commit_of_a_restore_finishes_it() -> Result<()> {
    let (mut shop, plain) = open_small_shop()?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?.summary.id;
    for point in POINTS {
        for number in 1..=NUMBER_MAX {
            shop.world.replace_controller(&drilled(&plain, point, number))?;
            let name = format!("web-{point}-{number}").replace('_', "-");
            // The answer may be lost with the process.
            let asked = shop.world.start_selective_restore(snapshot, &[(shop.web, &name)]);
            let struck = wait_for_strike(&mut shop, |shop| {
                let newest =
                    shop.world.block_on(shop.world.client.show_restore(newest_restore(shop)?))?.summary;
                is_over(shop, &newest.status, newest.saga_id)
            })?;
            if struck {
                shop.world.replace_controller(&plain)?;
            }
            let restore =
                shop.world.wait_for_restore(newest_restore(&shop)?).with_context(|| name.clone())?;
            shop.assert_restored(&restore, 0).with_context(|| name.clone())?;
            shop.assert_no_effect_twice().with_context(|| name.clone())?;
            if !struck {
                asked.with_context(|| name.clone())?;
                ensure!(number > 6, "a restore made only {number} transactions");
                break;
            }
        }
    }
    shop.assert_no_error_logged()
}
