//! The engine over a real database.

use std::collections::{BTreeMap, BTreeSet};

use catalog::JobState;
use controller::engine::{Incoming, Outcome, Verdict, Worker};
use controller::sagas::answer::Answer;
use model::{Consistency, ErrorClass, Failure, SnapshotState, WorkloadState};
use prost::Message as _;
use proto::cmd::v1 as cmd;
use proto::rep::v1 as rep;
use saga::OperatorVerb;

use crate::harness::{Harness, decide, host, play_until, user, workload_id};

fn permanent(code: &str) -> Failure {
    Failure::permanent(code, "it cannot be")
}

#[tokio::test]
async fn a_snapshot_comes_to_its_end_and_holds_nothing() {
    let mut harness = Harness::start().await;
    let (saga_id, snapshot_id) = harness.start_snapshot().await;
    harness.play(|_| None).await;
    let snapshot = harness.snapshot(snapshot_id).await;
    assert_eq!(snapshot.status, SnapshotState::Available);
    assert_eq!(snapshot.consistency, Some(Consistency::Filesystem));
    assert_eq!((snapshot.size_bytes.0, snapshot.bytes_read.0), (32 << 20, 16 << 20));
    assert_eq!(harness.saga(saga_id).await.phase, "succeeded");
    harness.assert_nothing_held().await;
    assert!(!harness.world.things().iter().any(|thing| thing.starts_with("volume snapshot")));
}

#[tokio::test]
async fn a_second_snapshot_builds_on_the_first() {
    let mut harness = Harness::start().await;
    let (_, first) = harness.start_snapshot().await;
    harness.play(|_| None).await;
    let (_, second) = harness.start_snapshot().await;
    let mut parents = BTreeSet::new();
    harness
        .play(|sent| {
            if let controller::sagas::remote::Command::TransferDisk(it) = &sent.command {
                parents.insert(it.parent_snapshot_id.clone());
            }
            None
        })
        .await;
    assert_eq!(parents, BTreeSet::from([first.to_string()]));
    assert_eq!(harness.snapshot(second).await.parent_snapshot_id, Some(first));
}

#[tokio::test]
async fn a_restore_comes_to_its_end_and_unpins_its_snapshot() {
    let mut harness = Harness::start().await;
    let (_, snapshot_id) = harness.start_snapshot().await;
    harness.play(|_| None).await;
    let (saga_id, restore_id) = harness.start_restore(snapshot_id).await;
    assert_eq!(harness.snapshot(snapshot_id).await.status, SnapshotState::Restoring);
    harness.play(|_| None).await;
    assert_eq!(harness.saga(saga_id).await.phase, "succeeded");
    assert_eq!(harness.snapshot(snapshot_id).await.status, SnapshotState::Available);
    let mut tx = harness.catalog.read().await.unwrap();
    let instances = tx.list_restore_instances(restore_id).await.unwrap();
    assert!(instances.iter().all(|row| row.new_instance_id.is_some()) && instances.len() == 2);
    drop(tx);
    harness.assert_nothing_held().await;
}

#[tokio::test]
async fn every_command_that_fails_for_good_before_the_pivot_takes_all_back() {
    let verbs =
        ["describe_instance", "write_records", "create_volume_snapshot", "transfer_disk", "verify_manifest"];
    for verb in verbs {
        let mut harness = Harness::start().await;
        let (saga_id, snapshot_id) = harness.start_snapshot().await;
        harness.play(|sent| (sent.verb() == verb).then(|| permanent("DRILL"))).await;
        let saga = harness.saga(saga_id).await;
        assert_eq!(saga.phase, "compensated", "{verb}");
        let snapshot = harness.snapshot(snapshot_id).await;
        assert_eq!(snapshot.status, SnapshotState::Error, "{verb}");
        assert_eq!(snapshot.error_code.as_deref(), Some("DRILL"));
        let message = snapshot.error_message.unwrap();
        assert!(message.contains(" failed for ") && message.contains("it cannot be"), "{message}");
        assert_eq!(harness.world.things(), Vec::<String>::new(), "{verb}");
        harness.assert_nothing_held().await;
        let ledger = harness.catalog.read().await.unwrap().ledger().await.unwrap();
        assert_eq!((ledger["lineage"], ledger["timer"]), (0, 0), "{verb}");
    }
}

#[tokio::test]
async fn a_guest_that_will_not_freeze_gives_a_crash_consistent_snapshot() {
    let mut harness = Harness::start().await;
    harness.world.has_agent = false;
    let (_, snapshot_id) = harness.start_snapshot().await;
    harness.play(|sent| (sent.verb() == "freeze_guest").then(|| permanent("GUEST_REFUSED"))).await;
    let snapshot = harness.snapshot(snapshot_id).await;
    assert_eq!((snapshot.status, snapshot.consistency), (SnapshotState::Available, Some(Consistency::Crash)));
}

#[tokio::test]
async fn a_host_that_is_not_enrolled_fails_the_freeze() {
    let mut harness = Harness::start().await;
    let (_, snapshot_id) = harness.start_snapshot().await;
    harness.play(|sent| (sent.verb() == "freeze_guest").then(|| permanent("HOST_NOT_ENROLLED"))).await;
    let snapshot = harness.snapshot(snapshot_id).await;
    assert_eq!(snapshot.error_code.as_deref(), Some("HOST_NOT_ENROLLED"));
    assert!(snapshot.error_message.unwrap().starts_with("freeze_guests failed for instance web-"));
}

#[tokio::test]
async fn job_ids_stay_over_attempts_and_a_datamover_away_for_minutes_is_survived() {
    let mut harness = Harness::start().await;
    let (_, snapshot_id) = harness.start_snapshot().await;
    let mut attempts: BTreeMap<_, u32> = BTreeMap::new();
    harness
        .play(|sent| {
            if sent.verb() != "transfer_disk" {
                return None;
            }
            let attempt = attempts.entry(sent.job_id).or_default();
            *attempt += 1;
            assert_eq!(sent.attempt, *attempt);
            (*attempt < 12).then(|| Failure::transient("DATAMOVER_NOT_RUNNING", "nobody is there"))
        })
        .await;
    assert_eq!(attempts.values().copied().collect::<Vec<_>>(), [12, 12, 12, 12]);
    assert_eq!(harness.snapshot(snapshot_id).await.status, SnapshotState::Available);
}

#[tokio::test]
async fn a_manifest_that_reads_back_otherwise_is_never_committed() {
    let mut harness = Harness::start().await;
    let (_, snapshot_id) = harness.start_snapshot().await;
    let sent = play_until(&mut harness, "verify_manifest").await;
    let other = rep::ManifestVerified { manifest_digest: vec![7; 32], ..Default::default() };
    harness.end(&sent[0], Outcome::Succeeded(Answer::ManifestVerified(other))).await;
    for sent in &sent[1..] {
        harness.succeed(sent).await;
    }
    harness.play(|_| None).await;
    let snapshot = harness.snapshot(snapshot_id).await;
    assert_eq!(snapshot.status, SnapshotState::Error);
    assert_eq!(snapshot.error_code.as_deref(), Some("MANIFEST_MISMATCH"));
    assert_eq!(harness.world.things(), Vec::<String>::new());
}

#[tokio::test]
async fn a_saga_that_lost_a_lineage_lease_never_commits() {
    let mut harness = Harness::start().await;
    let (saga_id, snapshot_id) = harness.start_snapshot().await;
    let sent = play_until(&mut harness, "verify_manifest").await;
    let mut tx = harness.catalog.begin().await.unwrap();
    let lineage = tx.list_lineages(workload_id()).await.unwrap().remove(0);
    tx.release_lineage_lease(lineage.id, saga_id).await.unwrap();
    let other = harness.engine.new_saga_id();
    tx.acquire_lineage_lease(lineage.id, other).await.unwrap();
    tx.commit().await.unwrap();
    for sent in &sent {
        harness.succeed(sent).await;
    }
    harness.play(|_| None).await;
    let snapshot = harness.snapshot(snapshot_id).await;
    assert_eq!(snapshot.error_code.as_deref(), Some("LINEAGE_LEASE_LOST"));
    let mut tx = harness.catalog.read().await.unwrap();
    let lineages = tx.list_lineages(workload_id()).await.unwrap();
    assert_eq!(lineages.iter().map(|row| row.holder_saga_id).collect::<Vec<_>>(), [Some(other)]);
}

#[tokio::test]
async fn a_cancel_stops_what_runs_and_takes_all_back() {
    let mut harness = Harness::start().await;
    let (saga_id, snapshot_id) = harness.start_snapshot().await;
    let sent = play_until(&mut harness, "transfer_disk").await;
    for sent in &sent {
        harness.accept(sent).await;
        harness.world.carry_out(&sent.command);
    }
    harness.drain_outbox().await;
    harness.engine.request_cancel(saga_id, &user()).await.unwrap();
    harness.engine.request_cancel(saga_id, &user()).await.unwrap();
    let rows = harness.catalog.read().await.unwrap().oldest_outbox(500).await.unwrap();
    let count = |verb: &str| rows.iter().filter(|row| row.routing_key.ends_with(verb)).count();
    assert_eq!((count("ctl.abort_job"), count("dmapi.purge_transfer")), (4, 4));
    for row in rows.iter().filter(|row| row.routing_key == "dmapi.purge_transfer") {
        let command = cmd::PurgeTransfer::decode(row.body.as_slice()).unwrap();
        let at = proto::convert::placement(command.placement.as_ref()).unwrap();
        assert_eq!(at, proto::convert::PlacedAt::Host(host("host-a")), "where it ran");
        assert!(sent.iter().any(|sent| sent.job_id.to_string() == command.transfer_job_id));
    }
    let late = harness.succeed(&sent[0]).await;
    assert_eq!(late, Verdict::Stale);
    harness.play(|_| None).await;
    let snapshot = harness.snapshot(snapshot_id).await;
    assert_eq!(snapshot.status, SnapshotState::Cancelled);
    assert_eq!(snapshot.error_code.as_deref(), Some("CANCELLED"));
    harness.assert_nothing_held().await;
    let leftovers = harness.world.things().into_iter().filter(|thing| !thing.starts_with("transfer")).count();
    assert_eq!(leftovers, 0, "the late transfer of this world knows no tombstone, all else is gone");
}

#[tokio::test]
async fn a_cancel_after_the_pivot_is_too_late() {
    let mut harness = Harness::start().await;
    let (saga_id, _) = harness.start_snapshot().await;
    play_until(&mut harness, "delete_volume_snapshots").await;
    let error = harness.engine.request_cancel(saga_id, &user()).await.unwrap_err();
    assert_eq!(error.failure().code, "CANCEL_TOO_LATE");
}

#[tokio::test]
async fn a_compensation_that_fails_for_good_is_stuck_until_an_operator_settles_it() {
    let mut harness = Harness::start().await;
    let (saga_id, snapshot_id) = harness.start_snapshot().await;
    harness
        .play(|sent| matches!(sent.verb(), "transfer_disk" | "purge_transfer").then(|| permanent("DRILL")))
        .await;
    let saga = harness.saga(saga_id).await;
    assert_eq!((saga.phase.as_str(), saga.finished_at), ("stuck", None));
    assert!(saga.error_message.unwrap().contains("then it got stuck: purge_transfers failed for disk vd"));
    let workload = harness.catalog.read().await.unwrap().get_workload(workload_id()).await.unwrap().unwrap();
    assert_eq!(workload.status, WorkloadState::Error);
    harness.engine.operate(saga_id, decide(OperatorVerb::Retry)).await.unwrap();
    harness.play(|_| None).await;
    assert_eq!(harness.saga(saga_id).await.phase, "compensated");
    assert_eq!(harness.snapshot(snapshot_id).await.status, SnapshotState::Error);
    harness.assert_nothing_held().await;
    let error = harness.engine.operate(saga_id, decide(OperatorVerb::Retry)).await.unwrap_err();
    assert_eq!(error.failure().code, "SAGA_NOT_STUCK");
}

#[tokio::test]
async fn an_abandoned_saga_frees_its_workload_and_ends_its_snapshot() {
    let mut harness = Harness::start().await;
    let (saga_id, snapshot_id) = harness.start_snapshot().await;
    harness
        .play(|sent| matches!(sent.verb(), "transfer_disk" | "purge_transfer").then(|| permanent("DRILL")))
        .await;
    harness.engine.operate(saga_id, decide(OperatorVerb::Abandon)).await.unwrap();
    assert_eq!(harness.saga(saga_id).await.phase, "abandoned");
    assert_eq!(harness.snapshot(snapshot_id).await.status, SnapshotState::Error);
    let held = harness.catalog.read().await.unwrap().ledger_of_held().await.unwrap();
    assert_eq!((held["locked_workload"], held["held_lineage"]), (0, 0));
}

#[tokio::test]
async fn two_handlers_of_one_saga_never_lose_an_event() {
    let mut harness = Harness::start().await;
    let (saga_id, snapshot_id) = harness.start_snapshot().await;
    let sent = play_until(&mut harness, "transfer_disk").await;
    let mut tasks = Vec::new();
    for sent in &sent {
        harness.accept(sent).await;
        let outcome = Outcome::Succeeded(harness.world.carry_out(&sent.command));
        for _ in 0..2 {
            let worker = Worker::Mover(host("host-a"));
            let result = controller::engine::JobResult {
                worker,
                job_id: sent.job_id,
                attempt: sent.attempt,
                outcome: outcome.clone(),
                changes_false: false,
            };
            let engine = harness.engine.clone();
            tasks.push(tokio::spawn(async move { engine.job_ended(&result).await.unwrap() }));
        }
    }
    let mut taken = 0;
    for task in tasks {
        taken += u32::from(task.await.unwrap() == Verdict::Taken);
    }
    assert_eq!(taken, 4);
    harness.play(|_| None).await;
    assert_eq!(harness.snapshot(snapshot_id).await.status, SnapshotState::Available);
    let events = harness.catalog.read().await.unwrap().list_saga_events(saga_id).await.unwrap();
    let dense = events.iter().zip(1..).all(|(event, sequence)| event.sequence == sequence);
    assert!(dense, "the log has no gap");
}

#[tokio::test]
async fn the_outbox_holds_exactly_what_follows_from_the_start() {
    let harness = Harness::start().await;
    let (saga_id, _) = harness.start_snapshot().await;
    let rows = harness.drain_outbox().await;
    assert_eq!(rows.len(), 2, "one description per instance");
    for row in &rows {
        assert_eq!(
            (row.exchange.as_str(), row.routing_key.as_str()),
            ("holdfast.cmd", "cloud.describe_instance")
        );
        assert_eq!(row.type_name, "holdfast.cmd.v1.DescribeInstance");
        assert_eq!(row.saga_id, Some(saga_id));
        let header = cmd::DescribeInstance::decode(row.body.as_slice()).unwrap().header.unwrap();
        assert_eq!(row.headers["holdfast-job"], header.job_id);
        assert_eq!((row.headers["holdfast-attempt"].as_str(), header.attempt), ("1", 1));
    }
    let jobs = harness.catalog.read().await.unwrap().jobs_of_saga(saga_id).await.unwrap();
    assert!(jobs.iter().all(|job| job.state == JobState::Queued && !job.needs_lease) && jobs.len() == 2);
    let again = harness.engine.handle(saga_id, Incoming::Started).await.unwrap();
    assert!(again.is_err(), "a saga starts once");
    assert!(harness.drain_outbox().await.is_empty());
}

#[tokio::test]
async fn an_undeliverable_command_leaves_the_outbox_and_fails_its_step() {
    let harness = Harness::start().await;
    let (saga_id, snapshot_id) = harness.start_snapshot().await;
    let mut rows = harness.catalog.read().await.unwrap().oldest_outbox(500).await.unwrap();
    rows.retain(|row| row.exchange == bus_config::exchange::CMD);
    let failure = permanent("MESSAGE_TOO_LARGE");
    assert_eq!(harness.engine.undeliverable(&rows[0], &failure).await.unwrap(), Verdict::Taken);
    assert_eq!(harness.engine.undeliverable(&rows[0], &failure).await.unwrap(), Verdict::Stale);
    assert_eq!(harness.saga(saga_id).await.phase, "compensated");
    assert_eq!(harness.snapshot(snapshot_id).await.error_code.as_deref(), Some("MESSAGE_TOO_LARGE"));
    harness.assert_nothing_held().await;
}

#[tokio::test]
async fn a_failure_of_an_unknown_class_is_looked_at_again() {
    let mut harness = Harness::start().await;
    let (_, snapshot_id) = harness.start_snapshot().await;
    let mut struck = false;
    harness
        .play(|sent| {
            let strike = sent.verb() == "create_volume_snapshot" && !std::mem::replace(&mut struck, true);
            strike.then(|| Failure::new(ErrorClass::Indeterminate, "ANSWER_LOST", "who knows"))
        })
        .await;
    assert_eq!(harness.snapshot(snapshot_id).await.status, SnapshotState::Available);
}
