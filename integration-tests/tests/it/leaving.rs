//! What is taken away again: bases that nothing builds on, what dead sagas left, all that is kept for a workload; and calls to
//! the cloud that do not end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cloud::{Cloud as _, Tag};
use directory_cloud::DirectoryCloud;
use integration_tests::config::Timing;
use integration_tests::wait;
use integration_tests::world::Spec;
use model::{Owner, VolumeId};
use runtime::FaultTable;
use serde_json::Value;

use crate::drill::Drill;
use crate::fixture::{Shop, assert_refused, run_cli};

const STATE_DEADLINE: Duration = Duration::from_secs(120);

fn volume_snapshots(shop: &Shop) -> Result<usize> {
    let folder = shop.world.places.cloud().join("volume-snapshots");
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(entries.count()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn run_cli_well(shop: &Shop, args: &[&str]) -> Result<()> {
    let output = run_cli(shop, args)?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The outcomes of `holdfast doctor --leftovers`, and whether it ended well.
fn leftovers(shop: &Shop, more: &[&str]) -> Result<(Vec<String>, bool)> {
    let output =
        run_cli(shop, &[&["-f", "json", "doctor", "--leftovers", "--older-than", "0s"], more].concat())?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).with_context(said)?;
    let outcomes = rows.iter().filter_map(|row| row["outcome"].as_str().map(str::to_owned));
    Ok((outcomes.collect(), output.status.success()))
}

#[test]
fn needless_bases_and_leftovers_go_and_a_reset_takes_the_rest() -> Result<()> {
    let timing = Timing { base_look_ms: 1_000, ..Timing::quick() };
    let shop = Shop::open(Spec { keeps_changes: true, timing, ..Spec::default() })?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?;
    ensure!(volume_snapshots(&shop)? == 2, "a base of each raw disk");
    ensure!(leftovers(&shop, &[])? == (Vec::new(), true), "bases are none");

    let cloud = DirectoryCloud::open(&shop.world.places.cloud(), FaultTable::none())?;
    let owner = Owner { project_id: shop.world.spec.project.clone(), user_id: "alice".parse()? };
    let volume: VolumeId = shop.placed[1].disks[1].id.parse()?;
    for saga in [snapshot.summary.saga_id.to_string(), "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f".to_owned()] {
        let tag = Tag::from_text(&format!("{saga}/create_volume_snapshots/9"));
        shop.world.block_on(cloud.create_volume_snapshot(&owner, volume, &tag))?;
    }
    let (mut found, is_clean) = leftovers(&shop, &[])?;
    found.sort();
    ensure!(!is_clean && found == ["left alone", "may be removed"], "{found:?}");
    let (mut removed, _) = leftovers(&shop, &["--remove"])?;
    removed.sort();
    ensure!(removed == ["left alone", "removed"] && volume_snapshots(&shop)? == 3, "{removed:?}");

    std::fs::remove_dir_all(shop.world.places.cloud().join("instances/web-1"))?;
    wait::until(STATE_DEADLINE, "the base of web-1 is gone", || {
        Ok((volume_snapshots(&shop)? == 2).then_some(()))
    })?;
    let id = shop.workload.to_string();
    run_cli_well(&shop, &["workload", "reset", &id, "--wait"])?;
    ensure!(volume_snapshots(&shop)? == 1, "only what is not ours");
    assert_refused(&run_cli(&shop, &["workload", "delete", &id])?, 4, &["WORKLOAD_HAS_SNAPSHOTS"]);
    shop.assert_workload_is("available")
}

#[test]
fn a_workload_without_snapshots_is_deleted_and_its_instances_are_free() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    run_cli_well(&shop, &["workload", "delete", &shop.workload.to_string(), "--wait"])?;
    assert_refused(
        &run_cli(&shop, &["workload", "show", &shop.workload.to_string()])?,
        3,
        &["WORKLOAD_NOT_FOUND"],
    );
    shop.world.create_workload("again", &[shop.web, shop.db]).map(drop)
}

#[test]
fn a_call_to_the_cloud_that_does_not_end_holds_its_next_attempt_no_longer_than_its_deadline() -> Result<()> {
    let timing = Timing { step_deadline_max_ms: 5_000, ..Timing::quick() };
    let shop = Shop::open_for_web_only(Spec { timing, ..Spec::default() })?;
    let _drill = Drill::begin(
        &shop,
        &["effect = \"create_volume_snapshot\"\nfail = \"delay\"\ndelay_ms = 600000\ntimes = 1\n"],
    )?;
    let start = Instant::now();
    shop.world.take_snapshot(shop.workload, true)?;
    ensure!(start.elapsed() < Duration::from_secs(120), "it took {:?}", start.elapsed());
    Ok(())
}
