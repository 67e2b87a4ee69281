//! The main job, in the order in which a user meets it.

use anyhow::{Result, ensure};
use integration_tests::world::Spec;
use model::ByteCount;

use crate::fixture::Shop;

#[test]
fn both_points_in_time_come_back_byte_for_byte() -> Result<()> {
    let mut shop = Shop::open(Spec::default())?;
    let full = shop.world.take_snapshot(shop.workload, true)?;
    ensure!(full.summary.snapshot_type == "full");
    ensure!(full.summary.consistency.as_deref() == Some("filesystem"), "{:?}", full.summary.consistency);

    shop.change_web("new-file", ByteCount::mib(2))?;
    let second = shop.remember_disks()?;
    let incremental = shop.world.take_snapshot(shop.workload, false)?;
    ensure!(incremental.summary.snapshot_type == "incremental");
    ensure!(incremental.parent_snapshot_id == Some(full.summary.id));
    // Two MiB were written, so a few chunks changed; the rest is referenced.
    ensure!(incremental.summary.uploaded_size * 2 < full.summary.uploaded_size, "{incremental:?}");
    ensure!(incremental.summary.bytes_read > 0);

    let restore =
        shop.world.start_selective_restore(full.summary.id, &[(shop.web, "web-old"), (shop.db, "db-old")])?;
    shop.assert_restored(&shop.world.wait_for_good_restore(restore)?, 0)?;
    let restore = shop.world.start_selective_restore(incremental.summary.id, &[(shop.web, "web-new")])?;
    shop.assert_restored(&shop.world.wait_for_good_restore(restore)?, second)?;

    for instance in [shop.web, shop.db] {
        integration_tests::scenario::destroy_instance(&shop.world.places.cloud(), instance)?;
    }
    let restore = shop.world.start_one_click_restore(incremental.summary.id)?;
    let restore = shop.world.wait_for_good_restore(restore)?;
    shop.assert_restored(&restore, second)?;
    let names: Vec<&str> = restore.instances.iter().map(|instance| instance.name.as_str()).collect();
    ensure!(names == ["web-1", "db-1"] || names == ["db-1", "web-1"], "{names:?}");
    shop.assert_no_effect_twice()
}
