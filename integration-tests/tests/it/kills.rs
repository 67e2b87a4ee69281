//! Processes die in the middle; the jobs do not.

use anyhow::{Result, ensure};
use integration_tests::world::Spec;
use model::SnapshotId;

use crate::fixture::{Shop, Sizes};

/// Slow enough that a transfer is caught in the middle, quick enough for a test: 40 MiB in some ten seconds.
fn open_slow_shop() -> Result<Shop> {
    let spec = Spec { rate_limit_mib_per_s: Some(4), ..Spec::default() };
    Shop::open_with(spec, Sizes { web_mib: 40, db_mib: 8 })
}

fn start_and_wait_until_moving(shop: &Shop) -> Result<SnapshotId> {
    let snapshot = shop.world.start_snapshot(shop.workload, true)?;
    shop.world.wait_for_transfer_in_progress(snapshot)?;
    Ok(snapshot)
}

fn check_snapshot_and_its_bytes(shop: &Shop, snapshot: SnapshotId) -> Result<()> {
    let snapshot = shop.world.wait_for_snapshot(snapshot)?;
    let summary = &snapshot.summary;
    ensure!(
        summary.status == "available",
        "{}: {:?}\n{}",
        summary.status,
        summary.error_msg,
        shop.world.logs()
    );
    shop.assert_no_effect_twice()?;
    let workload = shop.world.block_on(shop.world.client.show_workload(shop.workload))?;
    ensure!(workload.summary.status == "available", "the workload is {}", workload.summary.status);
    let restore =
        shop.world.start_selective_restore(summary.id, &[(shop.web, "web-2"), (shop.db, "db-2")])?;
    shop.assert_restored(&shop.world.wait_for_good_restore(restore)?, 0)
}

#[test]
fn a_controller_killed_in_mid_transfer_resumes_its_snapshot() -> Result<()> {
    let mut shop = open_slow_shop()?;
    let snapshot = start_and_wait_until_moving(&shop)?;
    shop.world.restart_controller()?;
    check_snapshot_and_its_bytes(&shop, snapshot)
}

#[test]
fn a_dmapi_killed_in_mid_transfer_is_not_missed() -> Result<()> {
    let mut shop = open_slow_shop()?;
    let snapshot = start_and_wait_until_moving(&shop)?;
    shop.world.dmapi.kill_and_start_again()?;
    check_snapshot_and_its_bytes(&shop, snapshot)
}

#[test]
fn a_datamover_killed_in_mid_transfer_resumes_its_disk() -> Result<()> {
    let mut shop = open_slow_shop()?;
    let snapshot = start_and_wait_until_moving(&shop)?;
    for datamover in shop.world.datamovers.values_mut() {
        datamover.kill_and_start_again()?;
    }
    check_snapshot_and_its_bytes(&shop, snapshot)
}
