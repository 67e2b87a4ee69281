//! Stopping sagas and settling stuck ones, as users and operators do: by the command line, while real processes work.

use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use integration_tests::config::Timing;
use integration_tests::wait;
use integration_tests::world::Spec;
use model::{SagaId, SnapshotId};
use rustix::process::Signal;

use crate::drill::Drill;
use crate::fixture::{Before, Shop, Sizes, assert_refused, run_cli};

/// A transfer of this shop takes half a minute: one that ends within `STOP_DEADLINE` of its cancel was stopped.
const SLOW: Sizes = Sizes { web_mib: 40, db_mib: 8 };
const SLOW_RATE_MIB_PER_S: u64 = 2;
const STOP_DEADLINE: Duration = Duration::from_secs(12);
/// For a state to come about on a busy machine.
const STATE_DEADLINE: Duration = Duration::from_secs(120);

fn open_slow_shop(timing: Timing) -> Result<Shop> {
    let spec = Spec { rate_limit_mib_per_s: Some(SLOW_RATE_MIB_PER_S), timing, ..Spec::default() };
    Shop::open_with(spec, SLOW)
}

fn run_cli_well(shop: &Shop, args: &[&str]) -> Result<Output> {
    let output = run_cli(shop, args)?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

fn saga_of(shop: &Shop, snapshot: SnapshotId) -> Result<SagaId> {
    Ok(shop.world.block_on(shop.world.client.show_snapshot(snapshot))?.summary.saga_id)
}

#[test]
fn a_cancel_in_mid_transfer_ends_snapshot_and_restore_within_seconds_and_leaves_nothing() -> Result<()> {
    let shop = open_slow_shop(Timing::quick())?;
    let before = Before::of(&shop)?;
    let snapshot = shop.world.start_snapshot(shop.workload, true)?;
    shop.world.wait_for_transfer_in_progress(snapshot)?;
    let saga = saga_of(&shop, snapshot)?.to_string();
    let cancelled_at = Instant::now();
    run_cli_well(&shop, &["saga", "cancel", &saga])?;
    let ended = shop.world.wait_for_snapshot(snapshot)?;
    let took = cancelled_at.elapsed();
    ensure!(ended.summary.status == "cancelled", "{:?}", ended.summary);
    ensure!(took < STOP_DEADLINE, "the cancel of a snapshot took {took:?}");
    before.assert_unchanged(&shop)?;
    shop.assert_workload_is("available")?;
    assert_refused(&run_cli(&shop, &["saga", "retry", &saga, "--reason", "x"])?, 4, &["SAGA_NOT_STUCK"]);

    let snapshot = shop.world.take_snapshot(shop.workload, true)?.summary.id;
    let before = Before::of(&shop)?;
    let restore = shop.world.start_selective_restore(snapshot, &[(shop.web, "web-2"), (shop.db, "db-2")])?;
    shop.world.wait_for_write_in_progress(restore)?;
    let cancelled_at = Instant::now();
    run_cli_well(&shop, &["restore", "cancel", &restore.to_string()])?;
    let ended = shop.world.wait_for_restore(restore)?;
    let took = cancelled_at.elapsed();
    ensure!(ended.summary.status == "cancelled", "{:?}", ended.summary);
    ensure!(took < STOP_DEADLINE, "the cancel of a restore took {took:?}");
    before.assert_unchanged(&shop)?;
    let snapshot = shop.world.block_on(shop.world.client.show_snapshot(snapshot))?;
    ensure!(snapshot.summary.status == "available", "its snapshot is {}", snapshot.summary.status);
    Ok(())
}

#[test]
fn a_cancel_behind_the_pivot_is_refused_as_too_late_and_changes_nothing() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let drill = Drill::begin(&shop, &["effect = \"delete_volume_snapshots\"\nfail = \"transient\""])?;
    let snapshot = shop.world.start_snapshot(shop.workload, true)?;
    let saga = saga_of(&shop, snapshot)?;
    wait::until(STATE_DEADLINE, "the saga is behind its pivot", || {
        let step = shop.world.block_on(shop.world.client.show_saga(saga))?.summary.step;
        Ok((step.as_deref() == Some("delete_volume_snapshots")).then_some(()))
    })?;
    let (snapshot_id, saga_id) = (snapshot.to_string(), saga.to_string());
    for noun_and_id in [["snapshot", &snapshot_id], ["saga", &saga_id]] {
        let output = run_cli(&shop, &[noun_and_id[0], "cancel", noun_and_id[1]])?;
        assert_refused(&output, 4, &["CANCEL_TOO_LATE"]);
    }
    drop(drill);
    let ended = shop.world.wait_for_snapshot(snapshot)?;
    ensure!(ended.summary.status == "available", "{:?}", ended.summary);
    shop.assert_workload_is("available")
}

#[test]
fn a_snapshot_past_its_deadline_is_stopped_and_taken_back() -> Result<()> {
    let shop = open_slow_shop(Timing { saga_deadline_max_ms: 9_000, ..Timing::quick() })?;
    let before = Before::of(&shop)?;
    let snapshot = shop.world.start_snapshot(shop.workload, true)?;
    let ended = shop.world.wait_for_snapshot(snapshot)?;
    ensure!(ended.summary.status == "error", "{:?}", ended.summary);
    ensure!(ended.summary.error_code.as_deref() == Some("SAGA_DEADLINE_PASSED"), "{:?}", ended.summary);
    before.assert_unchanged(&shop)?;
    shop.assert_workload_is("available")
}

/// Steps without an answer in time are tried again: the cloud that hangs for a while, and the datamover that is paused.
#[test]
fn steps_past_their_deadline_are_tried_again_and_a_datamover_refuses_what_reached_it_too_late() -> Result<()>
{
    let timing = Timing { step_deadline_max_ms: 4_000, ..Timing::quick() };
    let shop = Shop::open(Spec { timing, ..Spec::default() })?;
    let hang = "effect = \"create_volume_snapshot\"\nfail = \"delay\"\ndelay_ms = 9000\ntimes = 1";
    let drill = Drill::begin(&shop, &[hang])?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?;
    drop(drill);
    assert_timed_out(&shop, snapshot.summary.saga_id)?;
    shop.assert_no_effect_twice()?;

    let host = "host-a".parse()?;
    let paused = &shop.world.datamovers[&host];
    paused.signal(Signal::STOP)?;
    let snapshot = shop.world.start_snapshot(shop.workload, true)?;
    let saga = saga_of(&shop, snapshot)?;
    let timed_out = wait::until(STATE_DEADLINE, "a step is past its deadline", || {
        Ok(assert_timed_out(&shop, saga).is_ok().then_some(()))
    });
    paused.signal(Signal::CONT)?;
    timed_out?;
    let ended = shop.world.wait_for_snapshot(snapshot)?;
    ensure!(ended.summary.status == "available", "{:?}\n{}", ended.summary, shop.world.logs());
    wait::until(STATE_DEADLINE, "the paused datamover refuses the late command", || {
        Ok(paused.log().contains("past its deadline and is refused").then_some(()))
    })
}

fn assert_timed_out(shop: &Shop, saga: SagaId) -> Result<()> {
    let saga = shop.world.block_on(shop.world.client.show_saga(saga))?;
    let is_timeout = |event: &rest_api::SagaEvent| event.body["failure"]["code"] == "JOB_TIMEOUT";
    ensure!(saga.events.iter().any(is_timeout), "nothing timed out: {:?}", saga.summary);
    Ok(())
}

const NO_VERIFY: &str = "effect = \"target_get\"\nfail = \"permanent\"";
const NO_DELETE: &str = "effect = \"target_delete\"\nfail = \"permanent\"";

/// A snapshot that cannot be verified, and whose transfers cannot be purged.
fn get_stuck(shop: &Shop) -> Result<(SnapshotId, String)> {
    let drill = Drill::begin(shop, &[NO_VERIFY, NO_DELETE])?;
    let snapshot = shop.world.start_snapshot(shop.workload, true)?;
    let saga = saga_of(shop, snapshot)?;
    wait::until(STATE_DEADLINE, "the saga is stuck", || {
        let saga = shop.world.block_on(shop.world.client.show_saga(saga))?;
        let at_rest = saga.jobs.iter().all(|job| job.state == "done");
        Ok((saga.summary.phase == "stuck" && at_rest).then_some(()))
    })
    .with_context(|| shop.world.logs())?;
    drop(drill);
    shop.assert_workload_is("error")?;
    Ok((snapshot, saga.to_string()))
}

fn show(shop: &Shop, saga: &str) -> Result<rest_api::Saga> {
    Ok(shop.world.block_on(shop.world.client.show_saga(saga.parse()?))?)
}

fn wait_for_phase(shop: &Shop, saga: &str, phase: &str) -> Result<()> {
    let waited = wait::until(STATE_DEADLINE, &format!("saga {saga} is {phase}"), || {
        Ok((show(shop, saga)?.summary.phase == phase).then_some(()))
    });
    waited.with_context(|| shop.world.logs())
}

/// Settles by the command line, and looks at the record.
fn settle(shop: &Shop, saga: &str, verb: &str, phase: &str) -> Result<Output> {
    let reason = format!("{verb}: the target was looked at");
    assert_refused(&run_cli(shop, &["saga", verb, saga, "--reason", " "])?, 2, &["REASON_INVALID"]);
    let output = run_cli_well(shop, &["saga", verb, saga, "--reason", &reason])?;
    wait_for_phase(shop, saga, phase)?;
    let decisions = show(shop, saga)?.decisions;
    let [decision] = decisions.as_slice() else { bail!("{decisions:?}") };
    ensure!(
        (decision.verb.as_str(), decision.by.as_str(), decision.reason.as_deref())
            == (verb, "alice", Some(reason.as_str())),
        "{decision:?}"
    );
    let for_people = run_cli_well(shop, &["saga", "show", saga])?;
    let text = String::from_utf8_lossy(&for_people.stdout).into_owned();
    ensure!(text.contains("alice") && text.contains("looked at"), "{text}");
    shop.assert_workload_is("available")?;
    Ok(output)
}

#[test]
fn a_stuck_saga_is_retried_skipped_or_abandoned_by_an_operator_on_the_record() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let before = Before::of(&shop)?;
    let (snapshot, saga) = get_stuck(&shop)?;
    let picture = run_cli_well(&shop, &["saga", "show", &saga, "--graph", "dot"])?;
    let picture = String::from_utf8_lossy(&picture.stdout).into_owned();
    ensure!(picture.contains("purge_transfers\\n3 stuck"), "{picture}");
    let listed = run_cli_well(&shop, &["saga", "list", "--phase", "stuck", "-f", "value", "-c", "id"])?;
    ensure!(String::from_utf8_lossy(&listed.stdout).trim() == saga, "{listed:?}");
    settle(&shop, &saga, "retry", "compensated")?;
    before.assert_unchanged(&shop)?;
    let ended = shop.world.wait_for_snapshot(snapshot)?;
    ensure!(ended.summary.status == "error", "{:?}", ended.summary);
    assert_refused(&run_cli(&shop, &["saga", "retry", &saga, "--reason", "x"])?, 4, &["SAGA_NOT_STUCK"]);

    let (_, saga) = get_stuck(&shop)?;
    settle(&shop, &saga, "skip", "compensated")?;
    ensure!(before.cloud.difference(&shop.cloud_ledger()?).is_empty(), "skipped: the cloud is not as before");

    let (snapshot, saga) = get_stuck(&shop)?;
    let output = settle(&shop, &saga, "abandon", "abandoned")?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in ["Left behind", "purge_transfers did not run", "delete_volume_snapshots did not run", "web-1"]
    {
        ensure!(told.contains(part), "{part} is not in {told}");
    }
    ensure!(!before.cloud.difference(&shop.cloud_ledger()?).is_empty(), "the volume snapshots are left");
    let ended = shop.world.wait_for_snapshot(snapshot)?;
    ensure!(ended.summary.status == "error", "{:?}", ended.summary);
    run_cli_well(&shop, &["saga", "abandon", &saga, "--reason", "again"])?;
    ensure!(show(&shop, &saga)?.decisions.len() == 1, "twice is as once");
    shop.world.take_snapshot(shop.workload, true)?;
    Ok(())
}
