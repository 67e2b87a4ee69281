//! What workers may say, and when it counts.

use std::collections::BTreeSet;
use std::time::Duration;

use controller::engine::{Accepted, Beat, Outcome, Verdict, Worker};
use controller::sagas::answer::Answer;
use model::SnapshotState;
use prost::Message as _;
use proto::cmd::v1 as cmd;
use proto::rep::v1 as rep;
use runtime::Clock as _;

use crate::harness::{Harness, LEASE_TTL, Sent, host, play_until};

#[tokio::test]
async fn a_late_a_doubled_and_a_foreign_result_change_nothing() {
    let mut harness = Harness::start().await;
    let (saga_id, _) = harness.start_snapshot().await;
    let sent = play_until(&mut harness, "transfer_disk").await;
    let answer = harness.world.carry_out(&sent[0].command);
    let outcome = || Outcome::Succeeded(answer.clone());
    harness.accept(&sent[0]).await;
    let version = harness.saga(saga_id).await.version;
    let foreign = harness.end_as(&sent[0], Worker::Mover(host("host-b")), outcome()).await;
    assert_eq!(foreign, Verdict::Stale);
    assert_eq!(harness.end_as(&sent[0], Worker::Cloud, outcome()).await, Verdict::Stale);
    assert_eq!(harness.end_as(&sent[0], Worker::Dmapi, outcome()).await, Verdict::Stale);
    assert_eq!(harness.saga(saga_id).await.version, version);
    let own = Worker::Mover(host("host-a"));
    assert_eq!(harness.end_as(&sent[0], own.clone(), outcome()).await, Verdict::Taken);
    assert_eq!(harness.end_as(&sent[0], own.clone(), outcome()).await, Verdict::Stale);
    let older = Sent { attempt: 99, ..sent[1].clone() };
    assert_eq!(harness.end_as(&older, own, outcome()).await, Verdict::Stale);
    let acks = harness.drain_outbox().await;
    let acked = |row: &&catalog::OutboxRow| row.routing_key == "mover.host.host-a.ctl.result_ack";
    assert_eq!(
        acks.iter().filter(acked).count(),
        3,
        "each result of the host is acknowledged, also a stale one"
    );
}

#[tokio::test]
async fn an_answer_that_is_none_to_its_command_fails_the_step() {
    let mut harness = Harness::start().await;
    let (_, snapshot_id) = harness.start_snapshot().await;
    let sent = play_until(&mut harness, "transfer_disk").await;
    let answer =
        Answer::DiskTransferred(rep::DiskTransferred { manifest_digest: vec![1], ..Default::default() });
    harness.end(&sent[0], Outcome::Succeeded(answer)).await;
    harness.play(|_| None).await;
    assert_eq!(harness.snapshot(snapshot_id).await.error_code.as_deref(), Some("ANSWER_INVALID"));
}

#[tokio::test]
async fn a_lease_goes_to_the_first_host_and_not_to_another() {
    let mut harness = Harness::start().await;
    harness.start_snapshot().await;
    let sent = play_until(&mut harness, "transfer_disk").await;
    assert_eq!(harness.accept_at(&sent[0], "host-a").await, Verdict::Taken);
    assert_eq!(harness.accept_at(&sent[0], "host-b").await, Verdict::Stale);
    assert_eq!(harness.accept_at(&sent[0], "host-a").await, Verdict::Taken);
    let keys: Vec<_> =
        harness.drain_outbox().await.into_iter().map(|row| (row.routing_key, row.body)).collect();
    let verbs: Vec<&str> = keys.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        verbs,
        [
            "mover.host.host-a.ctl.lease_grant",
            "mover.host.host-b.ctl.lease_refuse",
            "mover.host.host-a.ctl.lease_grant",
        ]
    );
    let epoch = |body: &[u8]| cmd::LeaseGrant::decode(body).unwrap().epoch;
    assert_eq!((epoch(&keys[0].1), epoch(&keys[2].1)), (1, 2), "the epoch grows with every grant");
}

#[tokio::test]
async fn an_unknown_job_is_refused() {
    let harness = Harness::start().await;
    let job_id = model::JobId::from_uuid(crate::world::make_uuid(99));
    let accepted = Accepted { host: host("host-a"), job_id, attempt: 1, needs_lease: true };
    assert_eq!(harness.engine.job_accepted(&accepted).await.unwrap(), Verdict::Stale);
    let outbox = harness.drain_outbox().await;
    assert_eq!(outbox[0].routing_key, "mover.host.host-a.ctl.lease_refuse");
}

#[tokio::test]
async fn a_silent_host_loses_its_lease_and_a_beating_one_does_not() {
    let mut harness = Harness::start().await;
    let (_, snapshot_id) = harness.start_snapshot().await;
    let sent = play_until(&mut harness, "transfer_disk").await;
    for sent in &sent {
        harness.accept(sent).await;
    }
    harness.clock.advance(LEASE_TTL / 2);
    let mut tx = harness.catalog.read().await.unwrap();
    let job = tx.get_job(sent[0].job_id).await.unwrap().unwrap();
    drop(tx);
    let beat = Beat { key: job.key(), progress: catalog::JobProgress::default() };
    assert_eq!(harness.engine.beat(&host("host-a"), &[beat]).await.unwrap(), [job.key()]);
    assert_eq!(harness.engine.beat(&host("host-b"), &[beat]).await.unwrap(), [], "a beat for another's job");
    harness.clock.advance(LEASE_TTL / 2 + Duration::from_secs(1));
    let expired =
        harness.catalog.read().await.unwrap().expired_job_leases(harness.clock.now()).await.unwrap();
    assert_eq!(expired.len(), 3, "all but the one that beats");
    for job in &expired {
        assert_eq!(harness.engine.lease_expired(job).await.unwrap(), Verdict::Taken);
        assert_eq!(harness.engine.lease_expired(job).await.unwrap(), Verdict::Stale);
    }
    harness.succeed(&sent[0]).await;
    let mut second_attempts = 0;
    harness
        .play(|sent| {
            second_attempts += u32::from(sent.verb() == "transfer_disk" && sent.attempt == 2);
            None
        })
        .await;
    assert_eq!(second_attempts, 3);
    assert_eq!(harness.snapshot(snapshot_id).await.status, SnapshotState::Available);
}

#[tokio::test]
async fn a_command_that_nobody_accepts_is_sent_again_after_its_deadline() {
    let mut harness = Harness::start().await;
    harness.start_snapshot().await;
    let first = play_until(&mut harness, "transfer_disk").await;
    assert!(harness.let_retries_come().await, "the dispatch deadline");
    assert!(harness.let_retries_come().await, "the pause");
    let second = harness.sent().await;
    let ids = |sent: &[Sent]| sent.iter().map(|sent| (sent.job_id, sent.attempt)).collect::<BTreeSet<_>>();
    assert_eq!(ids(&second), ids(&first).into_iter().map(|(id, _)| (id, 2)).collect());
    assert_eq!(harness.accept(&first[0]).await, Verdict::Stale, "the first attempt is too late now");
}
