//! Facts: one for each change of a status, in the transaction that makes it, numbered without a gap.

use controller::engine::Incoming;
use model::Failure;
use saga::OperatorVerb;

use crate::harness::{Harness, decide, play_until, user};

/// Every fact so far as `kind.fact`, with its code if it has one. Their numbers have no gap.
#[track_caller]
fn told(harness: &Harness) -> Vec<String> {
    let facts = harness.facts();
    let numbers: Vec<u64> = facts.iter().map(|(_, fact)| fact.sequence).collect();
    assert_eq!(numbers, (1..=facts.len() as u64).collect::<Vec<_>>());
    let line = |(key, fact): &(String, proto::evt::v1::Fact)| {
        assert_eq!(*key, format!("evt.acme.{}.{}", fact.kind, fact.fact));
        assert_eq!(fact.code.is_empty(), fact.message.is_empty(), "{fact:?}");
        let published = bus_config::fact::all().into_iter().find(|(kind, _)| *kind == fact.kind).unwrap().1;
        assert!(published.contains(&fact.fact.as_str()), "{key} is not in the published list");
        format!("{}.{} {}", fact.kind, fact.fact, fact.code).trim_end().to_owned()
    };
    facts.iter().map(line).collect()
}

fn strike(code: &'static str) -> impl Fn() -> Failure {
    move || Failure::permanent(code, "it cannot be")
}

#[tokio::test]
async fn every_change_of_a_snapshot_and_its_restore_is_told_once_and_in_order() {
    let mut harness = Harness::start().await;
    let (saga_id, snapshot_id) = harness.start_snapshot().await;
    harness.play(|_| None).await;
    let snapshot = [
        "saga.forward",
        "snapshot.executing",
        "snapshot.uploading",
        "snapshot.available",
        "workload.available",
        "saga.succeeded",
    ];
    assert_eq!(told(&harness), snapshot);
    let (_, first) = &harness.facts()[0];
    let (_, committed) = &harness.facts()[3];
    assert_eq!(
        (first.object_id.clone(), committed.object_id.clone()),
        (saga_id.to_string(), snapshot_id.to_string())
    );
    harness.start_restore(snapshot_id).await;
    harness.play(|_| None).await;
    let restore =
        ["saga.forward", "snapshot.restoring", "restore.available", "snapshot.available", "saga.succeeded"];
    assert_eq!(told(&harness)[snapshot.len()..], restore);
}

#[tokio::test]
async fn a_failure_is_told_with_its_code_and_a_stuck_saga_with_its_workload() {
    let mut harness = Harness::start().await;
    let (saga_id, _) = harness.start_snapshot().await;
    let failure = strike("DRILL");
    harness.play(|sent| matches!(sent.verb(), "transfer_disk" | "purge_transfer").then(&failure)).await;
    let until_stuck = told(&harness);
    assert_eq!(
        until_stuck,
        [
            "saga.forward",
            "snapshot.executing",
            "snapshot.uploading",
            "saga.backward DRILL",
            "saga.stuck DRILL",
            "workload.error DRILL",
        ]
    );
    harness.engine.operate(saga_id, decide(OperatorVerb::Retry)).await.unwrap();
    harness.play(|_| None).await;
    assert_eq!(
        told(&harness)[until_stuck.len()..],
        ["saga.backward DRILL", "snapshot.error DRILL", "workload.available", "saga.compensated DRILL"]
    );
}

#[tokio::test]
async fn a_cancelled_snapshot_says_so_and_a_failed_restore_does_not_speak_ill_of_its_snapshot() {
    let mut harness = Harness::start().await;
    let (saga_id, _) = harness.start_snapshot().await;
    play_until(&mut harness, "transfer_disk").await;
    harness.engine.request_cancel(saga_id, &user()).await.unwrap();
    harness.engine.request_cancel(saga_id, &user()).await.unwrap();
    harness.play(|_| None).await;
    let cancelled = told(&harness);
    assert_eq!(
        cancelled[3..],
        [
            "saga.backward CANCELLED",
            "snapshot.cancelled CANCELLED",
            "workload.available",
            "saga.compensated CANCELLED"
        ]
    );
    let (_, snapshot_id) = harness.start_snapshot().await;
    harness.play(|_| None).await;
    let before = told(&harness).len();
    harness.start_restore(snapshot_id).await;
    let failure = strike("DRILL");
    harness.play(|sent| (sent.verb() == "write_disk").then(&failure)).await;
    assert_eq!(
        told(&harness)[before..],
        [
            "saga.forward",
            "snapshot.restoring",
            "saga.backward DRILL",
            "restore.error DRILL",
            "snapshot.available",
            "saga.compensated DRILL",
        ]
    );
}

#[tokio::test]
async fn an_event_that_comes_again_tells_nothing_again() {
    let mut harness = Harness::start().await;
    let (saga_id, _) = harness.start_snapshot().await;
    let sent = play_until(&mut harness, "transfer_disk").await;
    let before = told(&harness);
    assert!(harness.engine.handle(saga_id, Incoming::Started).await.unwrap().is_err());
    harness.succeed(&sent[0]).await;
    harness.succeed(&sent[0]).await;
    harness.drain_outbox().await;
    assert_eq!(told(&harness), before);
}
