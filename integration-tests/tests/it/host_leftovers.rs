//! What is left on hosts: told with its owner, removed on request, and without a person once it is old. A host that is away is
//! named, and looked at when it is back.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cloud::{CutRequest, Host as _};
use directory_cloud::DirectoryHost;
use integration_tests::config::Timing;
use integration_tests::wait;
use integration_tests::world::Spec;
use model::{HostName, SnapshotId};
use rest_api::Snapshot;
use runtime::FaultTable;
use serde_json::Value;

use crate::fixture::{Shop, run_cli};

/// A guest that stays frozen is looked at twice, with more than a freeze's bound in between.
const SWEEP_MAX: Duration = Duration::from_secs(180);
const HOST: &str = "host-b";

fn open(spec: Spec) -> Result<(Shop, Snapshot)> {
    let shop = Shop::open(Spec { has_local_disks: true, ..spec })?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?;
    Ok((shop, snapshot))
}

fn cuts(shop: &Shop) -> Result<usize> {
    Ok(std::fs::read_dir(shop.world.places.cloud().join("cuts"))?.count())
}

fn frozen(shop: &Shop) -> Result<bool> {
    Ok(shop.world.places.cloud().join("instances/db-1/frozen").try_exists()?)
}

/// What killed processes would have left on the host of `db-1`: a cut for `snapshot`, a frozen guest, and the journal of a job that
/// its datamover forgot.
fn plant(shop: &Shop, snapshot: SnapshotId, job: &str) -> Result<PathBuf> {
    let host: HostName = HOST.parse()?;
    let host = DirectoryHost::open(&shop.world.places.cloud(), host, FaultTable::none())?;
    let disks = vec![shop.placed[1].disks[1].id.parse()?];
    let cut = CutRequest { instance_id: shop.db, snapshot_id: snapshot, disks, base: None };
    shop.world.block_on(async {
        host.cut(&cut).await?;
        host.freeze(shop.db).await
    })?;
    ensure!(cuts(shop)? == 1 && frozen(shop)?, "it is planted");
    let transfers = shop.world.places.state().join(format!("datamover-{HOST}/transfers"));
    let journal = transfers.join(format!("{job}.journal"));
    std::fs::write(&journal, b"what was durable")?;
    Ok(journal)
}

/// A job of the snapshot's saga that no datamover did.
fn cloud_job(shop: &Shop, snapshot: &Snapshot) -> Result<String> {
    let saga = shop.world.block_on(shop.world.client.show_saga(snapshot.summary.saga_id))?;
    let job = saga.jobs.into_iter().find(|job| job.step == "create_volume_snapshots");
    Ok(job.context("a volume was in it")?.id.to_string())
}

/// Rows of `holdfast doctor --leftovers`, what it said beside, and whether it ended well.
fn leftovers(shop: &Shop, more: &[&str]) -> Result<(Vec<Value>, String, bool)> {
    let arguments = [&["-f", "json", "doctor", "--leftovers", "--older-than", "0s"], more].concat();
    let output = run_cli(shop, &arguments)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let rows = serde_json::from_slice(&output.stdout).with_context(|| said.clone())?;
    Ok((rows, said, output.status.success()))
}

fn kinds(rows: &[Value], outcome: &str) -> Vec<String> {
    let of = rows.iter().filter(|row| row["outcome"] == outcome);
    let mut kinds: Vec<_> = of.filter_map(|row| row["kind"].as_str().map(str::to_owned)).collect();
    kinds.sort();
    kinds
}

#[test]
fn what_is_left_on_a_host_is_told_with_its_owner_and_removed_on_request() -> Result<()> {
    let (shop, snapshot) = open(Spec::default())?;
    ensure!(leftovers(&shop, &[])?.2, "a healthy site has none");
    let journal = plant(&shop, snapshot.summary.id, &cloud_job(&shop, &snapshot)?)?;
    let unknown = journal.with_file_name("018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f.journal");
    std::fs::write(&unknown, b"of another catalog")?;

    let (found, _, is_clean) = leftovers(&shop, &[])?;
    ensure!(!is_clean && kinds(&found, "may be removed") == ["cut", "frozen_guest", "journal"], "{found:#?}");
    ensure!(kinds(&found, "left alone") == ["journal"], "{found:#?}");
    for row in found.iter().filter(|row| row["outcome"] == "may be removed") {
        ensure!(row["host"] == HOST && row["project_id"] == "demo" && row["user_id"] == "alice", "{row:#?}");
        ensure!(row["age_seconds"].is_u64(), "{row:#?}");
    }
    ensure!(cuts(&shop)? == 1 && frozen(&shop)? && journal.try_exists()?, "a look changes nothing");

    let (removed, _, _) = leftovers(&shop, &["--remove"])?;
    ensure!(kinds(&removed, "removed") == ["cut", "frozen_guest", "journal"], "{removed:#?}");
    ensure!(cuts(&shop)? == 0 && !frozen(&shop)? && !journal.try_exists()?, "{removed:#?}");
    ensure!(unknown.try_exists()?, "what no saga here made is not ours to remove");
    ensure!(shop.world.controller.log().contains("a leftover was removed"), "each is in the log");
    shop.world.take_snapshot(shop.workload, false).map(drop)
}

#[test]
fn what_is_old_goes_without_a_person_also_from_a_host_that_came_back() -> Result<()> {
    let timing = Timing { sweep_look_ms: 3_000, sweep_age_min_ms: 1_000, ..Timing::quick() };
    let (mut shop, snapshot) = open(Spec { timing, ..Spec::default() })?;
    let host: HostName = HOST.parse()?;
    shop.world.datamovers.get_mut(&host).context("it is there")?.kill()?;
    let journal = plant(&shop, snapshot.summary.id, &cloud_job(&shop, &snapshot)?)?;
    wait::until(SWEEP_MAX, "the host is told as silent", || {
        let (_, said, is_clean) = leftovers(&shop, &[])?;
        let is_told = said.contains("host host-b could not be looked at") && said.contains("no sign of life");
        Ok((is_told && !is_clean).then_some(()))
    })?;
    ensure!(cuts(&shop)? == 1 && journal.try_exists()?, "nobody can remove it");
    shop.world.datamovers.get_mut(&host).context("it is there")?.start_again()?;
    wait::until(SWEEP_MAX, "all of it is gone", || {
        Ok((cuts(&shop)? == 0 && !journal.try_exists()?).then_some(()))
    })?;
    ensure!(frozen(&shop)?, "but for what a person may have meant");
    ensure!(shop.world.controller.log().contains("leftovers are looked for from time to time"), "by itself");
    Ok(())
}
