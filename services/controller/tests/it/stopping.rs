//! Cancels and deadlines at every state that a snapshot or a restore can be in; and what operators decide.

use std::collections::BTreeSet;
use std::time::Duration;

use catalog::{LineageBaseRow, NewLineage, SagaEventRow, TimerKind};
use controller::engine::{Incoming, Verdict};
use controller::sagas::restore_new::RestoreNew;
use controller::sagas::snapshot_create::SnapshotCreate;
use model::{
    ByteCount, Failure, InstanceId, LineageId, RestoreState, SagaId, SnapshotId, SnapshotState,
    VolumeSnapshotId, WorkloadState, WorkloadType,
};
use saga::{Ignored, OperatorVerb, Saga as _, SagaState, StepKind};
use serde_json::Value;

use crate::harness::{Harness, Sent, decide, play_until, user, workload_id};
use crate::world::{World, make_uuid};

/// Longer than any saga has rounds of commands.
const ROUNDS_MAX: usize = 64;

/// How far the commands of a round are when something comes in between.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Progress {
    /// On their way.
    Sent,
    /// With their workers.
    Accepted,
    /// The first is done.
    OneDone,
    /// The first failed and waits for its next attempt.
    OneWaits,
}

const PROGRESS: [Progress; 4] = [Progress::Sent, Progress::Accepted, Progress::OneDone, Progress::OneWaits];

/// A saga at some state, in a world with what was there before it.
struct Stage {
    harness: Harness,
    saga_id: SagaId,
    before: Vec<String>,
    is_snapshot: bool,
}

impl Stage {
    async fn open(kind: &str) -> Self {
        let mut harness = Harness::start().await;
        let is_snapshot = kind == SnapshotCreate::KIND;
        let saga_id = if is_snapshot {
            harness.start_snapshot().await.0
        } else {
            let (_, snapshot_id) = harness.start_snapshot().await;
            harness.play(|_| None).await;
            harness.start_restore(snapshot_id).await.0
        };
        let before = harness.world.things();
        Self { harness, saga_id, before, is_snapshot }
    }

    /// The same, in a world in which each step has something to do: a snapshot finds the bases of an earlier one, instances are
    /// cut twice, and some are left out.
    async fn open_with_all_steps(kind: &str) -> Self {
        if kind != SnapshotCreate::KIND {
            return Self::open(kind).await;
        }
        let mut harness =
            Harness::start_with(4, WorkloadType::Parallel, true, World::with_local_disks()).await;
        harness.world.keeps_changes = true;
        harness.start_snapshot().await;
        harness.play(|_| None).await;
        let before = harness.world.things();
        plant_base_of_instance_that_left(&harness).await;
        harness.world = harness.world.with_every_fate();
        let (saga_id, _) = harness.start_snapshot().await;
        Self { harness, saga_id, before, is_snapshot: true }
    }

    /// Plays whole rounds; gives the commands of the next one, or nothing when the saga ended.
    async fn play_rounds(&mut self, count: usize) -> Vec<Sent> {
        for _ in 0..count {
            for sent in self.harness.sent().await {
                self.harness.succeed(&sent).await;
            }
        }
        self.harness.sent().await
    }

    async fn bring_to(&mut self, sent: &[Sent], progress: Progress) {
        match progress {
            Progress::Sent => {}
            Progress::Accepted => {
                for sent in sent {
                    self.harness.accept(sent).await;
                }
            }
            Progress::OneDone => {
                self.harness.succeed(&sent[0]).await;
            }
            Progress::OneWaits => {
                self.harness.fail(&sent[0], Failure::transient("DRILL", "not now")).await;
            }
        }
    }

    /// The step at work and its kind.
    async fn step(&self) -> (&'static str, StepKind) {
        let row = self.harness.saga(self.saga_id).await;
        let shape = self.harness.engine.shape(&row.kind, row.definition_version).unwrap();
        let state: SagaState = serde_json::from_str(&row.state).unwrap();
        let step = &shape.steps[usize::from(state.current_step().unwrap())];
        (step.name, step.kind)
    }

    async fn status(&self) -> String {
        let row = self.harness.saga(self.saga_id).await;
        if self.is_snapshot {
            let id = model::SnapshotId::from_uuid(row.object_id);
            self.harness.snapshot(id).await.status.to_string()
        } else {
            let id = model::RestoreId::from_uuid(row.object_id);
            let mut tx = self.harness.catalog.read().await.unwrap();
            tx.get_restore(id).await.unwrap().unwrap().status.to_string()
        }
    }

    /// All is as before the saga, and nobody holds or awaits anything.
    async fn assert_taken_back(&self, status: &str, code: &str, case: &str) {
        let row = self.harness.saga(self.saga_id).await;
        assert_eq!((row.phase.as_str(), row.error_code.as_deref()), ("compensated", Some(code)), "{case}");
        assert_eq!(self.status().await, status, "{case}");
        assert_eq!(self.harness.world.things(), self.before, "{case}");
        self.harness.assert_nothing_held().await;
        let ledger = self.harness.catalog.read().await.unwrap().ledger().await.unwrap();
        assert_eq!(ledger["timer"], 0, "{case}");
    }

    async fn events(&self) -> Vec<SagaEventRow> {
        self.harness.catalog.read().await.unwrap().list_saga_events(self.saga_id).await.unwrap()
    }

    async fn entries(&self, kind: &str) -> Vec<Value> {
        let events = self.events().await;
        let of_kind = events.iter().filter(|event| event.kind == kind);
        of_kind.map(|event| serde_json::from_str(&event.body).unwrap()).collect()
    }
}

/// Stops a saga of `kind` at every state in which it rests, and in every progress of its commands.
async fn check_stops(kind: &str, stop: &Incoming, status: &str, code: &str) {
    let mut stopped_at = BTreeSet::new();
    let mut refused_at = BTreeSet::new();
    'rounds: for round in 0..ROUNDS_MAX {
        for progress in PROGRESS {
            let mut stage = Stage::open_with_all_steps(kind).await;
            let sent = stage.play_rounds(round).await;
            if sent.is_empty() {
                break 'rounds;
            }
            stage.bring_to(&sent, progress).await;
            if stage.harness.saga(stage.saga_id).await.finished_at.is_some() {
                continue;
            }
            let (step, step_kind) = stage.step().await;
            let case = format!("{kind} at {step}, {progress:?}");
            let answer = stage.harness.engine.handle(stage.saga_id, stop.clone()).await.unwrap();
            if step_kind == StepKind::Compensable {
                assert!(answer.is_ok(), "{case}: {answer:?}");
                let again = stage.harness.engine.handle(stage.saga_id, stop.clone()).await.unwrap();
                assert!(matches!(again, Err(Ignored::TurnedBack | Ignored::Ended)), "{case}: {again:?}");
                stage.harness.play(|_| None).await;
                stage.assert_taken_back(status, code, &case).await;
                stopped_at.insert(step);
            } else {
                assert_eq!(answer, Err(Ignored::TooLate), "{case}");
                for sent in &sent {
                    stage.harness.succeed(sent).await;
                }
                stage.harness.play(|_| None).await;
                let row = stage.harness.saga(stage.saga_id).await;
                assert_eq!((row.phase.as_str(), row.error_code), ("succeeded", None), "{case}");
                refused_at.insert(step);
            }
        }
    }
    let harness = Harness::start().await;
    let shape = harness.engine.shapes().find(|shape| shape.kind == kind).unwrap();
    // What the catalog does is done within one event: no saga rests there.
    let rests = |wanted: fn(StepKind) -> bool| -> BTreeSet<&str> {
        let by_catalog = ["begin", "acquire_lineage_leases", "check_instances", "record_snapshot", "release"];
        let others = [
            "acquire_lineage_leases_again",
            "check_instances_again",
            "find_orphaned_bases",
            "pin_snapshot",
            "record_restore",
        ];
        let by_catalog = [&by_catalog[..], &others[..]].concat();
        let steps = shape.steps.iter().filter(|step| wanted(step.kind) && !by_catalog.contains(&step.name));
        steps.map(|step| step.name).collect()
    };
    assert_eq!(stopped_at, rests(|kind| kind == StepKind::Compensable), "{kind}");
    assert_eq!(refused_at, rests(|kind| kind == StepKind::Forward), "{kind}");
}

/// Nothing will build on it: the next snapshot takes it away.
async fn plant_base_of_instance_that_left(harness: &Harness) {
    let mut tx = harness.catalog.begin().await.unwrap();
    let target_id = tx.get_workload(workload_id()).await.unwrap().unwrap().target_id;
    let lineage = NewLineage {
        id: LineageId::from_uuid(make_uuid(0x9900)),
        workload_id: workload_id(),
        instance_id: InstanceId::from_uuid(make_uuid(0x9901)),
        disk_id: make_uuid(0x9902).to_string().parse().unwrap(),
        target_id,
        chunk_size_bytes: ByteCount::mib(1),
    };
    let lineage_id = tx.get_or_create_lineage(&lineage).await.unwrap().id;
    let base = LineageBaseRow {
        lineage_id,
        snapshot_id: SnapshotId::from_uuid(make_uuid(0x9903)),
        volume_snapshot_id: VolumeSnapshotId::from_uuid(make_uuid(0x9904)),
        tag: "saga/step/0".to_owned(),
        is_false: false,
    };
    tx.set_lineage_base(&base).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_is_cancelled_at_every_state_before_its_pivot_and_at_none_behind() {
    let cancel = Incoming::CancelRequested { by: user() };
    let status = SnapshotState::Cancelled.as_str();
    check_stops(SnapshotCreate::KIND, &cancel, status, "CANCELLED").await;
}

#[tokio::test]
async fn a_restore_is_cancelled_at_every_state_before_its_pivot() {
    let cancel = Incoming::CancelRequested { by: user() };
    let status = RestoreState::Cancelled.as_str();
    check_stops(RestoreNew::KIND, &cancel, status, "CANCELLED").await;
}

#[tokio::test]
async fn a_snapshot_past_its_deadline_turns_back_at_every_state_before_its_pivot_and_at_none_behind() {
    let status = SnapshotState::Error.as_str();
    check_stops(SnapshotCreate::KIND, &Incoming::DeadlinePassed, status, "SAGA_DEADLINE_PASSED").await;
}

#[tokio::test]
async fn a_restore_past_its_deadline_turns_back_at_every_state_before_its_pivot() {
    let status = RestoreState::Error.as_str();
    check_stops(RestoreNew::KIND, &Incoming::DeadlinePassed, status, "SAGA_DEADLINE_PASSED").await;
}

/// Fires the timers of a saga that are of `kind` and due.
async fn fire(stage: &Stage, kind: TimerKind) -> Vec<Verdict> {
    let now = runtime::Clock::now(stage.harness.clock.as_ref());
    let due = stage.harness.catalog.read().await.unwrap().due_timers(now, 500).await.unwrap();
    let mut verdicts = Vec::new();
    for timer in due.into_iter().filter(|timer| timer.kind == kind && timer.saga_id == stage.saga_id) {
        verdicts.push(stage.harness.engine.timer_due(timer).await.unwrap());
    }
    verdicts
}

#[tokio::test]
async fn the_deadline_of_a_saga_comes_when_its_definition_says_and_says_how_long_it_took() {
    let mut stage = Stage::open(SnapshotCreate::KIND).await;
    play_until(&mut stage.harness, "transfer_disk").await;
    stage.harness.clock.advance(SnapshotCreate::DEADLINE - Duration::from_secs(1));
    assert_eq!(fire(&stage, TimerKind::SagaDeadline).await, []);
    stage.harness.clock.advance(Duration::from_secs(1));
    assert_eq!(fire(&stage, TimerKind::SagaDeadline).await, [Verdict::Taken]);
    stage.harness.play(|_| None).await;
    stage.assert_taken_back("error", "SAGA_DEADLINE_PASSED", "by its timer").await;
    let message = stage.harness.saga(stage.saga_id).await.error_message.unwrap();
    assert_eq!(message, "it was not done after 72 h");
}

#[tokio::test]
async fn a_saga_past_its_deadline_behind_its_pivot_is_reported_once_and_goes_on() {
    let mut stage = Stage::open(SnapshotCreate::KIND).await;
    let sent = play_until(&mut stage.harness, "delete_volume_snapshots").await;
    stage.harness.clock.advance(SnapshotCreate::DEADLINE);
    assert_eq!(fire(&stage, TimerKind::SagaDeadline).await, [Verdict::Stale]);
    assert_eq!(fire(&stage, TimerKind::SagaDeadline).await, []);
    assert_eq!(stage.entries("deadline_passed").await.len(), 1, "it is on the record");
    for sent in &sent {
        stage.harness.succeed(sent).await;
    }
    stage.harness.play(|_| None).await;
    assert_eq!(stage.harness.saga(stage.saga_id).await.phase, "succeeded");
    let events = stage.events().await;
    assert!(events.iter().zip(1..).all(|(event, sequence)| event.sequence == sequence), "the log has no gap");
}

#[tokio::test]
async fn a_step_past_its_deadline_is_tried_again_and_its_late_answer_counts_no_more() {
    let mut stage = Stage::open(SnapshotCreate::KIND).await;
    let first = play_until(&mut stage.harness, "create_volume_snapshot").await;
    stage.harness.clock.advance(Duration::from_secs(601));
    assert_eq!(fire(&stage, TimerKind::Deadline).await, vec![Verdict::Taken; first.len()]);
    let failed = stage.entries("action_failed").await;
    assert!(failed.iter().all(|entry| entry["failure"]["code"] == "JOB_TIMEOUT"), "{failed:?}");
    assert_eq!(stage.harness.succeed(&first[0]).await, Verdict::Stale);
    assert!(stage.harness.let_retries_come().await);
    let second = stage.harness.sent().await;
    assert!(second.iter().all(|sent| sent.verb() == "create_volume_snapshot" && sent.attempt == 2));
    for sent in &second {
        stage.harness.succeed(sent).await;
    }
    stage.harness.play(|_| None).await;
    assert_eq!(stage.harness.saga(stage.saga_id).await.phase, "succeeded");
}

#[tokio::test]
async fn a_step_that_never_answers_in_time_spends_its_attempts_and_turns_the_saga_back() {
    let mut stage = Stage::open(SnapshotCreate::KIND).await;
    play_until(&mut stage.harness, "create_volume_snapshot").await;
    for _ in 0..100 {
        stage.harness.clock.advance(Duration::from_secs(601));
        fire(&stage, TimerKind::Deadline).await;
        if stage.harness.saga(stage.saga_id).await.phase != "forward" {
            break;
        }
        fire(&stage, TimerKind::Retry).await;
        // Nobody answers: the commands are lost.
        if stage.harness.saga(stage.saga_id).await.phase == "forward" {
            stage.harness.drain_outbox().await;
        }
    }
    stage.harness.play(|_| None).await;
    stage.assert_taken_back("error", "JOB_TIMEOUT", "no answer ever").await;
}

/// A saga whose transfers and their purges fail for good.
async fn open_stuck() -> Stage {
    let mut stage = Stage::open(SnapshotCreate::KIND).await;
    let is_struck = |sent: &Sent| matches!(sent.verb(), "verify_manifest" | "purge_transfer");
    stage.harness.play(|sent| is_struck(sent).then(|| Failure::permanent("DRILL", "it cannot be"))).await;
    assert_eq!(stage.harness.saga(stage.saga_id).await.phase, "stuck");
    stage
}

#[tokio::test]
async fn every_decision_is_kept_with_who_why_and_what_is_left_behind() {
    for verb in OperatorVerb::ALL {
        let mut stage = open_stuck().await;
        stage.harness.engine.operate(stage.saga_id, decide(verb)).await.unwrap();
        stage.harness.play(|_| None).await;
        let entries = stage.entries("operator").await;
        let [entry] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!(
            (&entry["verb"], &entry["by"], &entry["reason"]),
            (&verb.as_str().into(), &"root".into(), &"it was looked at".into())
        );
        let left = entry["left_behind"].as_array().cloned().unwrap_or_default();
        let phase = stage.harness.saga(stage.saga_id).await.phase;
        match verb {
            OperatorVerb::Retry => {
                stage.assert_taken_back("error", "DRILL", "retried").await;
                assert!(left.is_empty());
            }
            OperatorVerb::Skip => {
                assert_eq!((phase.as_str(), left.len()), ("compensated", 0));
                let things = stage.harness.world.things();
                assert!(things.iter().all(|thing| thing.starts_with("transfer ")), "{things:?}");
                stage.harness.assert_nothing_held().await;
            }
            OperatorVerb::Abandon => {
                assert_eq!(phase, "abandoned");
                let texts: Vec<&str> = left.iter().map(|line| line.as_str().unwrap()).collect();
                let count = |name: &str| texts.iter().filter(|text| text.contains(name)).count();
                assert_eq!(count("purge_transfers did not run"), 4, "{texts:?}");
                assert_eq!(count("delete_volume_snapshots did not run"), 4);
                assert_eq!(count("remove_records did not run"), 1);
                assert_eq!(count("thaw"), 0, "the guests are thawed");
                assert_eq!(texts.len(), 9, "{texts:?}");
                let workload = stage.harness.catalog.read().await.unwrap().get_workload(workload_id()).await;
                assert_eq!(workload.unwrap().unwrap().status, WorkloadState::Available);
            }
        }
    }
}

#[tokio::test]
async fn only_a_stuck_saga_takes_a_decision_and_abandoning_twice_is_as_once() {
    let mut stage = Stage::open(SnapshotCreate::KIND).await;
    play_until(&mut stage.harness, "transfer_disk").await;
    for verb in OperatorVerb::ALL {
        let error = stage.harness.engine.operate(stage.saga_id, decide(verb)).await.unwrap_err();
        assert_eq!(error.failure().code, "SAGA_NOT_STUCK");
        assert!(error.to_string().contains("is forward"), "{error}");
    }
    let stage = open_stuck().await;
    let abandon = decide(OperatorVerb::Abandon);
    stage.harness.engine.operate(stage.saga_id, abandon.clone()).await.unwrap();
    stage.harness.engine.operate(stage.saga_id, abandon).await.unwrap();
    assert_eq!(stage.entries("operator").await.len(), 1);
    let error = stage.harness.engine.operate(stage.saga_id, decide(OperatorVerb::Skip)).await.unwrap_err();
    assert!(error.to_string().contains("is abandoned"), "{error}");
}

#[tokio::test]
async fn a_stuck_saga_is_tried_again_ever_more_slowly_until_it_ends() {
    let mut stage = open_stuck().await;
    let first_message = stage.harness.saga(stage.saga_id).await.error_message;
    // `play` let a minute pass already: the first rest is counted from the fall.
    for minutes in [5, 10, 20] {
        stage.harness.clock.advance(Duration::from_secs((minutes - 2) * 60));
        assert_eq!(fire(&stage, TimerKind::StuckRetry).await, [], "before {minutes} minutes");
        stage.harness.clock.advance(Duration::from_secs(2 * 60));
        assert_eq!(fire(&stage, TimerKind::StuckRetry).await, [Verdict::Taken], "after {minutes} minutes");
        for sent in stage.harness.sent().await {
            assert_eq!(sent.verb(), "purge_transfer");
            stage.harness.fail(&sent, Failure::permanent("DRILL", "it cannot be")).await;
        }
        let row = stage.harness.saga(stage.saga_id).await;
        assert_eq!((row.phase.as_str(), row.error_message.clone()), ("stuck", first_message.clone()));
    }
    stage.harness.clock.advance(Duration::from_secs(40 * 60));
    assert_eq!(fire(&stage, TimerKind::StuckRetry).await, [Verdict::Taken]);
    stage.harness.play(|_| None).await;
    stage.assert_taken_back("error", "DRILL", "tried again").await;
}
