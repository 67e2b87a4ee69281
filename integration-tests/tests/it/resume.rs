//! A transfer that is killed near its end does not begin anew.

use anyhow::{Result, ensure};
use integration_tests::jobs::JOB_DEADLINE;
use integration_tests::wait;
use integration_tests::world::Spec;

use crate::fixture::{Shop, Sizes};

/// Sixteen packs of 64 MiB: what is lost is the pack that is being filled, and the one that is being put.
const DISK_MIB: u64 = 1024;
/// Slow enough that the end is seen coming.
const RATE_LIMIT_MIB_PER_S: u64 = 96;

#[test]
fn a_transfer_killed_at_nine_tenths_reads_less_than_a_fifth_again() -> Result<()> {
    let spec = Spec { rate_limit_mib_per_s: Some(RATE_LIMIT_MIB_PER_S), ..Spec::default() };
    // Half of a shop's disk is files, so this one is of twice the size.
    let mut shop = Shop::open_with(spec, Sizes { web_mib: DISK_MIB * 2, db_mib: 4 })?;
    let web = shop.web;
    let id = shop.world.start_snapshot(shop.workload, true)?;
    wait::until(JOB_DEADLINE, "the transfer has nine tenths", || {
        let snapshot = shop.world.block_on(shop.world.client.show_snapshot(id))?;
        let disks = snapshot.instances.iter().filter(|one| one.id == web).flat_map(|one| &one.vdisks);
        Ok(disks.into_iter().find(|disk| disk.bytes_read >= (DISK_MIB << 20) / 10 * 9).map(drop))
    })?;
    for datamover in shop.world.datamovers.values_mut() {
        datamover.kill_and_start_again()?;
    }
    let snapshot = shop.world.wait_for_snapshot(id)?;
    shop.assert_taken(&snapshot, 0)?;
    let disks = snapshot.instances.iter().filter(|one| one.id == web).flat_map(|one| &one.vdisks);
    for disk in disks {
        ensure!(disk.bytes_read > 0, "the transfer was over before it was killed");
        ensure!(
            disk.bytes_read < (DISK_MIB << 20) / 5,
            "the second attempt read {} of {} bytes",
            disk.bytes_read,
            DISK_MIB << 20
        );
    }
    Ok(())
}
