//! Every effect of both sagas fails for good, in turn: in the cloud, on the target, on the bus. The saga takes back what
//! it did; full listings of cloud and target are as before; the workload is free; the error says what failed.

use anyhow::{Context as _, Result, ensure};
use integration_tests::ledger::Ledger;
use integration_tests::wait;
use integration_tests::world::Spec;
use model::{RestoreId, SagaId, SnapshotId};

use crate::drill::Drill;
use crate::fixture::{Before, Shop, run_cli};

const SETTLE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(120);

/// One way to fail: the effect, and how many calls are let through first.
#[derive(Debug, Clone, Copy)]
struct Failing {
    effect: &'static str,
    kind: &'static str,
    after: u32,
    times: Option<u32>,
}

impl Failing {
    const fn of(effect: &'static str) -> Self {
        Self { effect, kind: "permanent", after: 0, times: None }
    }
    const fn after(self, after: u32) -> Self {
        Self { after, ..self }
    }
    /// Nothing happens, and trying again may help; so it does after a few times.
    const fn passing(self) -> Self {
        Self { kind: "transient", times: Some(3), ..self }
    }
    /// The effect happens and the answer is lost, again and again.
    const fn lost(self) -> Self {
        Self { kind: "indeterminate", ..self }
    }

    fn inject(&self, shop: &Shop) -> Result<Drill> {
        let times = self.times.map(|times| format!("times = {times}\n")).unwrap_or_default();
        let (effect, kind, after) = (self.effect, self.kind, self.after);
        Drill::begin(shop, &[&format!("effect = \"{effect}\"\nfail = \"{kind}\"\nafter = {after}\n{times}")])
    }
}

fn assert_taken_back(before: &Before, shop: &Shop, failing: Failing) -> Result<()> {
    before
        .assert_unchanged(shop)
        .and_then(|()| shop.assert_workload_is("available"))
        .with_context(|| format!("{failing:?}"))
}

fn check_snapshot_is_taken_back(shop: &Shop, failing: Failing, full: bool) -> Result<()> {
    let before = Before::of(shop)?;
    let drill = failing.inject(shop)?;
    let id: SnapshotId =
        shop.world.start_snapshot(shop.workload, full).with_context(|| format!("{failing:?}"))?;
    let snapshot = shop.world.wait_for_snapshot(id).with_context(|| format!("{failing:?}"))?;
    drop(drill);
    ensure!(
        snapshot.summary.status == "error",
        "{failing:?}: the snapshot ended {}",
        snapshot.summary.status
    );
    assert_error_is_clear(
        failing,
        snapshot.summary.error_code.as_deref(),
        snapshot.summary.error_msg.as_deref(),
    )?;
    assert_taken_back(&before, shop, failing)
}

fn check_restore_is_taken_back(shop: &Shop, snapshot: SnapshotId, failing: Failing) -> Result<()> {
    let before = Before::of(shop)?;
    let drill = failing.inject(shop)?;
    let id: RestoreId = shop
        .world
        .start_selective_restore(snapshot, &[(shop.web, "web-2"), (shop.db, "db-2")])
        .with_context(|| format!("{failing:?}"))?;
    let restore = shop.world.wait_for_restore(id).with_context(|| format!("{failing:?}"))?;
    drop(drill);
    ensure!(restore.summary.status == "error", "{failing:?}: the restore ended {}", restore.summary.status);
    assert_error_is_clear(
        failing,
        restore.summary.error_code.as_deref(),
        restore.summary.error_msg.as_deref(),
    )?;
    assert_taken_back(&before, shop, failing)?;
    let snapshot = shop.world.block_on(shop.world.client.show_snapshot(snapshot))?;
    ensure!(
        snapshot.summary.status == "available",
        "{failing:?}: the snapshot is {}",
        snapshot.summary.status
    );
    Ok(())
}

fn assert_error_is_clear(failing: Failing, code: Option<&str>, message: Option<&str>) -> Result<()> {
    ensure!(code.is_some_and(|code| !code.is_empty()), "{failing:?}: no error code");
    let message = message.unwrap_or_default();
    ensure!(message.len() > 10, "{failing:?}: the error says only {message:?}");
    Ok(())
}

#[test]
fn a_snapshot_is_taken_back_whatever_effect_fails_for_good() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let failures = [
        // The request itself reads both instances before the saga does.
        Failing::of("describe_instance").after(2),
        Failing::of("describe_instance").after(4),
        Failing::of("locate_instance"),
        Failing::of("create_volume_snapshot"),
        Failing::of("create_volume_snapshot").after(1),
        Failing::of("create_volume_snapshot").after(1).lost(),
        Failing::of("source_disk"),
        Failing::of("target_put"),
        Failing::of("target_put").after(2),
        Failing::of("target_get"),
    ];
    for failing in failures {
        check_snapshot_is_taken_back(&shop, failing, true)?;
    }
    // With a committed snapshot on the target, an incremental one that fails must leave every byte of it alone.
    let full = shop.world.take_snapshot(shop.workload, true)?;
    shop.change_web("after-full", model::ByteCount::mib(1))?;
    for failing in [Failing::of("create_volume_snapshot"), Failing::of("target_put").after(1)] {
        check_snapshot_is_taken_back(&shop, failing, false)?;
    }
    let restore = shop.world.start_selective_restore(full.summary.id, &[(shop.web, "w"), (shop.db, "d")])?;
    shop.assert_restored(&shop.world.wait_for_good_restore(restore)?, 0)
}

#[test]
fn a_freeze_or_thaw_that_fails_for_good_costs_the_consistency_not_the_snapshot() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    for effect in ["freeze", "thaw"] {
        let drill = Failing::of(effect).inject(&shop)?;
        let snapshot = shop.world.take_snapshot(shop.workload, true)?;
        drop(drill);
        ensure!(
            snapshot.summary.consistency.as_deref() == Some("crash"),
            "{effect}: {:?}",
            snapshot.summary.consistency
        );
    }
    Ok(())
}

#[test]
fn a_restore_is_taken_back_whatever_effect_fails_for_good() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?.summary.id;
    let failures = [
        Failing::of("list_instances"),
        Failing::of("create_volume"),
        Failing::of("create_volume").after(2),
        Failing::of("create_volume").after(1).lost(),
        Failing::of("destination_disk"),
        Failing::of("create_instance"),
        Failing::of("create_instance").after(1),
        Failing::of("create_instance").after(1).lost(),
        Failing::of("target_get"),
        Failing::of("target_get").after(3),
    ];
    for failing in failures {
        check_restore_is_taken_back(&shop, snapshot, failing)?;
    }
    Ok(())
}

#[test]
fn a_host_without_a_queue_fails_the_snapshot_and_nothing_is_left() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let before = Before::of(&shop)?;
    let host = "host-b".parse()?;
    shop.world.block_on(shop.world.broker.admin().remove_host(&host))?;
    let id = shop.world.start_snapshot(shop.workload, true)?;
    let snapshot = shop.world.wait_for_snapshot(id)?;
    ensure!(snapshot.summary.error_code.as_deref() == Some("HOST_NOT_ENROLLED"), "{:?}", snapshot.summary);
    ensure!(snapshot.summary.error_msg.unwrap_or_default().contains("host-b"));
    assert_taken_back(&before, &shop, Failing::of("bus"))
}

#[test]
fn effects_that_fail_a_few_times_cost_time_only() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let cloud = shop.cloud_ledger()?;
    for effect in
        ["create_volume_snapshot", "source_disk", "target_put", "target_get", "delete_volume_snapshots"]
    {
        let drill = Failing::of(effect).passing().inject(&shop)?;
        shop.world.take_snapshot(shop.workload, true).with_context(|| effect)?;
        drop(drill);
        let left = cloud.difference(&shop.cloud_ledger()?);
        ensure!(left.is_empty(), "{effect} left in the cloud: {left:?}");
    }
    Ok(())
}

/// Behind the pivot nothing is taken back: the snapshot stands, and what cannot be done is an operator's.
fn check_snapshot_stands(failing: Failing) -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let cloud = shop.cloud_ledger()?;
    let drill = failing.inject(&shop)?;
    let snapshot = shop.world.wait_for_snapshot(shop.world.start_snapshot(shop.workload, true)?)?;
    drop(drill);
    shop.assert_taken(&snapshot, 0)?;
    let saga = shop.world.block_on(shop.world.client.show_saga(snapshot.summary.saga_id))?;
    ensure!(saga.summary.phase == "stuck", "the saga is {}", saga.summary.phase);
    let message = saga.summary.error_msg.unwrap_or_default();
    ensure!(message.contains(failing.effect), "the error says only {message:?}");
    shop.assert_workload_is("error")?;
    let restore =
        shop.world.start_selective_restore(snapshot.summary.id, &[(shop.web, "w"), (shop.db, "d")])?;
    shop.assert_restored(&shop.world.wait_for_good_restore(restore)?, 0)?;
    check_operator_ends_it(&shop, snapshot.summary.saga_id, &cloud)
}

/// The fault is gone and an operator says so: the saga ends, and the cloud has nothing more than what was brought back.
#[track_caller]
fn check_operator_ends_it(shop: &Shop, saga: SagaId, cloud: &Ledger) -> Result<()> {
    shop.world.block_on(shop.world.client.settle_saga(saga, "retry", "the drill is over"))?;
    wait::until(SETTLE_DEADLINE, "the saga succeeds", || {
        let shown = shop.world.block_on(shop.world.client.show_saga(saga))?;
        Ok((shown.summary.phase == "succeeded").then_some(()))
    })?;
    shop.assert_workload_is("available")?;
    let brought_back = |line: &String| line.starts_with("+ ") && !line.contains("volume-snapshots/");
    let mut others = cloud.difference(&shop.cloud_ledger()?);
    others.retain(|line| !brought_back(line));
    ensure!(others.is_empty(), "left in the cloud: {others:?}");
    Ok(())
}

#[test]
fn volume_snapshots_that_cannot_be_deleted_behind_the_pivot_are_named_and_left_to_the_sweep() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let cloud = shop.cloud_ledger()?;
    let drill = Failing::of("delete_volume_snapshots").inject(&shop)?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?;
    drop(drill);
    shop.assert_taken(&snapshot, 0)?;
    let warning = snapshot.summary.warning_msg.clone().unwrap_or_default();
    ensure!(
        warning.contains("the volume snapshot of") && warning.contains("left to the sweep"),
        "{warning:?}"
    );
    shop.assert_workload_is("available")?;
    ensure!(!cloud.difference(&shop.cloud_ledger()?).is_empty(), "they are there");
    let swept = run_cli(&shop, &["doctor", "--leftovers", "--remove", "--older-than", "0s"])?;
    let left = cloud.difference(&shop.cloud_ledger()?);
    ensure!(left.is_empty(), "left in the cloud: {left:?}\n{}", String::from_utf8_lossy(&swept.stderr));
    Ok(())
}

/// The first records are five: of the workload, of the snapshot, and of three lineages. The sixth is the first of the final
/// ones; a datamover puts four objects.
#[test]
fn final_records_of_which_only_one_can_be_written_leave_the_snapshot_and_say_so() -> Result<()> {
    check_snapshot_stands(Failing::of("target_put").after(6))
}
