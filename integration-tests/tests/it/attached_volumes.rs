//! Volumes that hosts reach by an attachment only: read through a temporary volume that is attached to the host and connected
//! there, of which nothing stays, whatever fails or dies.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::wait;
use integration_tests::world::Spec;
use model::ByteCount;

use crate::drill::Drill;
use crate::fixture::{Before, Shop, Sizes};

const DEADLINE: Duration = Duration::from_secs(60);
/// Stands in every connection that the cloud tells.
const PASSWORD: &str = "hunter2";

/// The second disk of `db-1` is such a volume.
fn spec() -> Spec {
    Spec { has_attached_volumes: true, ..Spec::default() }
}

fn count_of(shop: &Shop, effect: &str) -> Result<usize> {
    Ok(shop.effects()?.iter().filter(|((name, _), _)| name == effect).map(|(_, count)| count).sum())
}

/// The files below a folder that hold a text.
fn holding(folder: &Path, text: &str, found: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            holding(&path, text, found)?;
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default(); // it may be gone by now
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(())
}

#[test]
fn such_a_volume_is_read_through_a_temporary_one_and_what_did_not_change_is_not_stored_again() -> Result<()> {
    let shop = Shop::open(spec())?;
    let before = shop.cloud_ledger()?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?;
    shop.assert_taken(&snapshot, 0)?;
    ensure!(snapshot.summary.consistency.as_deref() == Some("filesystem"), "{snapshot:?}");
    for effect in
        ["create_volume", "attach_volume", "connect", "disconnect", "detach_volume", "delete_volume"]
    {
        ensure!(count_of(&shop, effect)? == 1, "{effect}: {:?}", shop.effects()?);
    }
    let again = shop.world.take_snapshot(shop.workload, false)?;
    shop.assert_taken(&again, 0)?;
    let disks = again.instances.iter().filter(|instance| instance.id == shop.db);
    let disk = disks.flat_map(|instance| &instance.vdisks).nth(1).context("db-1 has two disks")?;
    ensure!(disk.bytes_read > 0, "it is read whole: {disk:?}");
    ensure!(disk.bytes_stored < ByteCount::mib(1).0, "and what is the same is not stored: {disk:?}");
    let left = before.difference(&shop.cloud_ledger()?);
    ensure!(left.is_empty(), "left in the cloud: {left:?}");
    let mut found = Vec::new();
    holding(&shop.world.places.state(), PASSWORD, &mut found)?;
    holding(&shop.world.places.logs(), PASSWORD, &mut found)?;
    ensure!(found.is_empty(), "a password of the storage is in {found:?}");
    shop.assert_no_effect_twice()
}

fn check_is_taken_back(shop: &Shop, fault: &str) -> Result<()> {
    let before = Before::of(shop)?;
    let drill = Drill::begin(shop, &[fault])?;
    let id = shop.world.start_snapshot(shop.workload, true)?;
    let snapshot = shop.world.wait_for_snapshot(id).context(fault.to_owned())?;
    drop(drill);
    ensure!(snapshot.summary.status == "error", "{fault}: the snapshot ended {}", snapshot.summary.status);
    ensure!(snapshot.summary.error_code.as_deref() == Some("CLOUD_FAULT"), "{fault}: {snapshot:?}");
    before.assert_unchanged(shop).context(fault.to_owned())?;
    shop.assert_workload_is("available")
}

#[test]
fn whatever_fails_of_a_temporary_volume_nothing_of_it_stays() -> Result<()> {
    let shop = Shop::open(spec())?;
    for (effect, kind) in [
        ("describe_connector", "permanent"),
        ("create_volume", "permanent"),
        ("create_volume", "indeterminate"),
        ("attach_volume", "permanent"),
        ("attach_volume", "indeterminate"),
        ("connect", "permanent"),
    ] {
        check_is_taken_back(&shop, &format!("effect = \"{effect}\"\nfail = \"{kind}\"\n"))?;
    }
    // Its answer is lost each time: what nobody heard of is disconnected all the same.
    check_is_taken_back(&shop, "effect = \"connect\"\nfail = \"indeterminate\"\n")?;
    let before = shop.cloud_ledger()?;
    for effect in ["connect", "disconnect", "detach_volumes", "delete_volumes"] {
        let drill =
            Drill::begin(&shop, &[&format!("effect = \"{effect}\"\nfail = \"transient\"\ntimes = 2\n")])?;
        let snapshot = shop.world.take_snapshot(shop.workload, true).context(effect)?;
        drop(drill);
        shop.assert_taken(&snapshot, 0)?;
        let left = before.difference(&shop.cloud_ledger()?);
        ensure!(left.is_empty(), "{effect} left in the cloud: {left:?}");
    }
    Ok(())
}

#[test]
fn a_datamover_that_dies_while_it_reads_one_leaves_it_connected_no_longer_than_its_next_start() -> Result<()>
{
    let spec = Spec { rate_limit_mib_per_s: Some(2), ..spec() };
    let mut shop = Shop::open_with(spec, Sizes::default())?;
    let before = shop.cloud_ledger()?;
    let id = shop.world.start_snapshot(shop.workload, true)?;
    let connections = shop.world.places.cloud().join("connections");
    wait::until(DEADLINE, "the volume is connected", || {
        Ok(std::fs::read_dir(&connections)?.next().is_some().then_some(()))
    })?;
    shop.world.datamovers.values_mut().try_for_each(|one| one.kill_and_start_again())?;
    let snapshot = shop.world.wait_for_snapshot(id)?;
    shop.assert_taken(&snapshot, 0)?;
    ensure!(count_of(&shop, "disconnect")? == 2, "at the start, and at the end: {:?}", shop.effects()?);
    let left = before.difference(&shop.cloud_ledger()?);
    ensure!(left.is_empty(), "left in the cloud: {left:?}");
    shop.assert_workload_is("available")
}

#[test]
fn a_restore_to_such_a_volume_is_refused_by_its_type_before_anything_is_made() -> Result<()> {
    let shop = Shop::open(spec())?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?;
    let before = Before::of(&shop)?;
    let id = shop.world.start_selective_restore(snapshot.summary.id, &[(shop.db, "db-2")])?;
    let restore = shop.world.wait_for_restore(id)?;
    ensure!(restore.summary.error_code.as_deref() == Some("VOLUME_NOT_WRITABLE"), "{restore:?}");
    let message = restore.summary.error_msg.unwrap_or_default();
    ensure!(message.contains("vdb") && message.contains("volume type directory"), "{message}");
    before.assert_unchanged(&shop)
}
