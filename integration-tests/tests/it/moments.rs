//! Points in time: local disks are cut by their hosts, a lost one is taken once more, and where the storage can list what
//! changed, it keeps the newest one as the base of the next snapshot.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use integration_tests::world::Spec;
use model::ByteCount;

use crate::drill::Drill;
use crate::fixture::{Before, Shop};

/// `db-1` has a local disk beside its boot volume.
fn open_with_local_disks() -> Result<Shop> {
    Shop::open(Spec { has_local_disks: true, ..Spec::default() })
}

fn count_of(shop: &Shop, effect: &str) -> Result<usize> {
    Ok(shop.effects()?.iter().filter(|((name, _), _)| name == effect).map(|(_, count)| count).sum())
}

/// The volume snapshots that lie in the cloud.
fn volume_snapshots(shop: &Shop) -> Result<Vec<PathBuf>> {
    let folders = std::fs::read_dir(shop.world.places.cloud().join("volume-snapshots"))?;
    folders.map(|entry| Ok(entry?.path())).collect()
}

#[test]
fn a_local_disk_is_cut_beside_the_volumes_and_comes_back() -> Result<()> {
    let shop = open_with_local_disks()?;
    let before = shop.cloud_ledger()?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?;
    shop.assert_taken(&snapshot, 0)?;
    ensure!(snapshot.summary.consistency.as_deref() == Some("filesystem"), "{snapshot:?}");
    ensure!((count_of(&shop, "cut")?, count_of(&shop, "end_cut")?) == (1, 1));
    let left = before.difference(&shop.cloud_ledger()?);
    ensure!(left.is_empty(), "left in the cloud: {left:?}");
    let restore = shop.world.start_selective_restore(snapshot.summary.id, &[(shop.db, "db-again")])?;
    shop.assert_restored(&shop.world.wait_for_good_restore(restore)?, 0)
}

#[test]
fn an_instance_whose_point_in_time_is_lost_is_cut_once_more() -> Result<()> {
    let shop = open_with_local_disks()?;
    let drill = Drill::begin(&shop, &[LOST_ONCE])?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?;
    drop(drill);
    shop.assert_taken(&snapshot, 0)?;
    ensure!(count_of(&shop, "cut")? == 2, "{:?}", shop.effects()?);
    shop.assert_workload_is("available")?;
    // What the first round left is gone: the next snapshot adds as much as one without a loss.
    let before = shop.cloud_ledger()?;
    let again = shop.world.take_snapshot(shop.workload, false)?;
    shop.assert_taken(&again, 0)?;
    let left = before.difference(&shop.cloud_ledger()?);
    ensure!(left.is_empty(), "left in the cloud: {left:?}");
    shop.assert_no_effect_twice()
}

/// In each datamover.
const LOST_ONCE: &str =
    "effect = \"check_moment\"\nfail = \"permanent\"\ncode = \"POINT_IN_TIME_LOST\"\ntimes = 1\n";

#[test]
fn a_point_in_time_that_is_lost_twice_fails_the_snapshot_and_leaves_nothing() -> Result<()> {
    let shop = open_with_local_disks()?;
    let before = Before::of(&shop)?;
    let drill = Drill::begin(&shop, &[&LOST_ONCE.replace("times = 1\n", "")])?;
    let id = shop.world.start_snapshot(shop.workload, true)?;
    let snapshot = shop.world.wait_for_snapshot(id)?;
    drop(drill);
    ensure!(snapshot.summary.status == "error", "the snapshot ended {}", snapshot.summary.status);
    ensure!(snapshot.summary.error_code.as_deref() == Some("POINT_IN_TIME_LOST"), "{snapshot:?}");
    before.assert_unchanged(&shop)?;
    shop.assert_workload_is("available")
}

#[test]
fn a_kept_volume_snapshot_spares_reading_what_did_not_change() -> Result<()> {
    let mut shop = Shop::open(Spec { keeps_changes: true, ..Spec::default() })?;
    shop.world.take_snapshot(shop.workload, true)?;
    let kept = volume_snapshots(&shop)?;
    ensure!(kept.len() == 2, "one of each raw disk: {kept:?}");
    shop.change_web("new-file", ByteCount::mib(2))?;
    let second = shop.remember_disks()?;
    let incremental = shop.world.take_snapshot(shop.workload, false)?;
    shop.assert_taken(&incremental, second)?;
    let disks = incremental.instances.iter().filter(|instance| instance.id == shop.web);
    let web = disks.flat_map(|instance| &instance.vdisks).next().context("web-1 has a disk")?;
    ensure!(web.bytes_read > 0 && web.bytes_read * 2 < web.restore_size, "{web:?}");
    let newer = volume_snapshots(&shop)?;
    ensure!(newer.len() == 2 && !newer.iter().any(|path| kept.contains(path)), "{kept:?}, then {newer:?}");
    // Somebody removes them; all is read, and the record on the target says why.
    for path in &newer {
        std::fs::remove_dir_all(path)?;
    }
    let third = shop.world.take_snapshot(shop.workload, false)?;
    shop.assert_taken(&third, second)?;
    let record = shop.world.places.target().join(format!("w/{}", shop.workload));
    let told = find_text(&record, &third.summary.id.to_string(), "is gone")?;
    ensure!(told, "no record below {} says why all was read", record.display());
    Ok(())
}

/// Whether a file below `folder` has both texts.
fn find_text(folder: &std::path::Path, first: &str, second: &str) -> Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let found = if path.is_dir() {
            find_text(&path, first, second)?
        } else {
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            text.contains(first) && text.contains(second)
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
