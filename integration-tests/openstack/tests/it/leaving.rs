//! What is taken away again on a real OpenStack: bases, records of changes, trusts, and what dead sagas left.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::wait;
use model::{SagaId, WorkloadId};
use openstack_tests::account::Account;
use openstack_tests::hypervisor::{bitmaps, checkpoints};
use openstack_tests::lab::Lab;
use openstack_tests::phase::Phase;
use openstack_tests::project::Project;
use openstack_tests::site::Site;
use serde_json::Value;

/// Looks come every three seconds; deleting a volume snapshot takes some more.
const SWEEP_MAX: Duration = Duration::from_secs(120);

fn volume_snapshots(project: &Project) -> Result<Vec<String>> {
    let all = project.json(&["volume", "snapshot", "list"])?;
    let ids = all.as_array().into_iter().flatten().filter_map(|row| row["ID"].as_str().map(str::to_owned));
    Ok(ids.collect())
}

/// What the command line of Holdfast says.
fn holdfast(site: &Site, arguments: &[&str]) -> Result<Output> {
    Ok(site.world.cli(arguments).output()?)
}

fn holdfast_ok(site: &Site, arguments: &[&str]) -> Result<()> {
    let output = holdfast(site, arguments)?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn trusts_of_user(site: &Site, project: &Project) -> Result<usize> {
    site.world.block_on(async {
        let Account { session, owner } = Account::of(project).await?;
        Ok(session.keystone().trusts_of_trustor(owner.user_id.as_str()).await?.len())
    })
}

/// The rows of `holdfast doctor --leftovers`, and whether it ended well.
fn leftovers(site: &Site, more: &[&str]) -> Result<(Vec<Value>, bool)> {
    let arguments = [&["doctor", "--leftovers", "--older-than", "0s", "-f", "json"], more].concat();
    let output = holdfast(site, &arguments)?;
    let rows = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((rows, output.status.success()))
}

/// What is planted on volume `data` as if `saga`, which is over, had left it is found and removed; nothing else is.
fn check_leftovers(site: &mut Site, project: &Project, data: &str, saga: SagaId) -> Result<()> {
    let bases = volume_snapshots(project)?;
    let phase = Phase::begin("leaving: planted leftovers are found and removed, a base is spared");
    let mark = |index: u32| format!("holdfast:tag={saga}/create_volume_snapshots/{index}");
    let planted =
        project.create_one(&["volume", "create", "--size", "1", "--property", &mark(7), "planted"])?;
    project.wait_for_status(&["volume"], &planted, "available")?;
    let foreign = "holdfast:tag=018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f/create_volume_snapshots/0";
    let plant = |name: &str, mark: &str| {
        let what = ["volume", "snapshot", "create", "--force", "--volume", data, "--property", mark, name];
        project.create_one(&what)
    };
    let unknown = plant("unknown", foreign)?;
    let late = plant("late", &mark(8))?;
    for id in [&unknown, &late] {
        project.wait_for_status(&["volume", "snapshot"], id, "available")?;
    }
    project.give_role("admin")?;
    site.renew_token(project)?;
    let (found, is_clean) = leftovers(site, &[])?;
    let ids = |rows: &[Value], outcome: &str| -> Vec<String> {
        let of = rows.iter().filter(|row| row["outcome"] == outcome);
        let mut ids: Vec<String> = of.filter_map(|row| row["id"].as_str().map(str::to_owned)).collect();
        ids.sort();
        ids
    };
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all
    };
    ensure!(
        !is_clean && ids(&found, "may be removed") == sorted(vec![planted.clone(), late.clone()]),
        "{found:?}"
    );
    ensure!(ids(&found, "left alone") == [unknown.clone()], "{found:?}");
    let (removed, _) = leftovers(site, &["--remove"])?;
    ensure!(ids(&removed, "removed") == sorted(vec![planted.clone(), late]), "{removed:?}");
    ensure!(sorted(volume_snapshots(project)?) == sorted([bases.clone(), vec![unknown.clone()]].concat()));
    ensure!(project.run(&["volume", "show", &planted]).is_err(), "the planted volume is gone");
    project.run(&["volume", "snapshot", "delete", &unknown])?;
    drop(phase);
    Ok(())
}

#[test]
fn a_user_deletes_server_and_volumes_after_the_sweep_and_leftovers_are_found() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let phase = Phase::begin("leaving: a server whose volume goes with it, a data volume, one snapshot");
    let server = project.create_server_with_its_volume("web")?;
    let boot = project.volume_of(&server)?;
    project.run(&["volume", "set", "--name", "web-boot", &boot])?;
    let data = project.create_one(&["volume", "create", "--size", "1", "web-data"])?;
    project.wait_for_status(&["volume"], &data, "available")?;
    project.run(&["server", "add", "volume", &server, &data])?;
    project.wait_for_status(&["volume"], &data, "in-use")?;
    let mut site = Site::open(&lab, &project)?;
    let workload = site.world.create_workload("web", &[server.parse()?])?;
    let snapshot = site.world.take_snapshot(workload, true)?;
    let bases = volume_snapshots(&project)?;
    ensure!(bases.len() == 2, "a base on each volume: {bases:?}");
    drop(phase);

    check_leftovers(&mut site, &project, &data, snapshot.summary.saga_id)?;

    let phase = Phase::begin("leaving: while bases are held, volumes cannot be deleted");
    site.world.controller.kill()?;
    project.run(&["server", "remove", "volume", &server, &data])?;
    project.wait_for_status(&["volume"], &data, "available")?;
    ensure!(project.run(&["volume", "delete", &data]).is_err(), "the base is in the way");
    project.run(&["server", "delete", "--wait", &server])?;
    project.wait_for_status(&["volume"], &boot, "available")?;
    drop(phase);

    let phase =
        Phase::begin("leaving: the sweep removes them, names what was left behind, and all can be deleted");
    site.world.start_controller()?;
    wait::until(SWEEP_MAX, "the controller listens", || Ok(site.world.find_controller()?.then_some(())))?;
    site.world.wait_until_ready()?;
    wait::until(SWEEP_MAX, "no base is left", || Ok(volume_snapshots(&project)?.is_empty().then_some(())))?;
    let left = wait::until(SWEEP_MAX, "the volume is shown", || {
        let shown = site.world.block_on(site.world.client.show_workload(workload))?;
        Ok((!shown.volumes_left.is_empty()).then_some(shown.volumes_left))
    })?;
    let named: Vec<_> = left.iter().map(|volume| (volume.id.to_string(), volume.name.as_str())).collect();
    ensure!(named == [(boot.clone(), "web-boot")], "only the one that was to go: {named:?}");
    for volume in [&boot, &data] {
        project.run(&["volume", "delete", volume])?;
    }
    wait::until(SWEEP_MAX, "the note is gone with the volume", || {
        let shown = site.world.block_on(site.world.client.show_workload(workload))?;
        Ok(shown.volumes_left.is_empty().then_some(()))
    })?;
    drop(phase);
    site.close()?;
    project.close()
}

fn delete_workload(site: &Site, workload: WorkloadId) -> Result<()> {
    holdfast_ok(site, &["workload", "delete", &workload.to_string(), "--wait"])
}

#[test]
fn a_workload_is_reset_on_a_local_disk_and_deleted_with_its_trust() -> Result<()> {
    let lab = Lab::from_env()?;
    let project = Project::create(&lab)?;
    let phase = Phase::begin("leaving: the last workload goes, and with it the trust");
    let server = project.create_local_server("db")?;
    let site = Site::open(&lab, &project)?;
    let workload = site.world.create_workload("db", &[server.parse()?])?;
    ensure!(trusts_of_user(&site, &project)? == 1, "a trust was made for it");
    delete_workload(&site, workload)?;
    ensure!(trusts_of_user(&site, &project)? == 0, "the trust went with it");
    let shown = holdfast(&site, &["workload", "show", &workload.to_string()])?;
    ensure!(shown.status.code() == Some(3), "it is not found any more");
    drop(phase);

    let phase = Phase::begin("leaving: a reset removes the bitmap, and the next snapshot is full");
    let workload = site.world.create_workload("db again", &[server.parse()?])?;
    site.world.take_snapshot(workload, true)?;
    ensure!(bitmaps(&server)?.len() == 1, "{:?}", bitmaps(&server)?);
    let refused = holdfast(&site, &["workload", "delete", &workload.to_string()])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("WORKLOAD_HAS_SNAPSHOTS"), "{said}");
    holdfast_ok(&site, &["workload", "reset", &workload.to_string(), "--wait"])?;
    ensure!(bitmaps(&server)?.is_empty() && checkpoints(&server)?.is_empty(), "{:?}", bitmaps(&server)?);
    let next = site.world.take_snapshot(workload, false)?;
    ensure!(next.summary.snapshot_type == "full", "{:?}", next.summary.snapshot_type);
    let after = site.world.take_snapshot(workload, false)?;
    ensure!(after.summary.snapshot_type == "incremental", "{:?}", after.summary.snapshot_type);
    drop(phase);
    site.close()?;
    project.close()
}
