//! What hosts tell of earlier work, judged by a real catalog: what is over is removed, what is in use stays.

use catalog::JobFilter;
use controller::engine::{HostLeftover, LeftoverOrder, LeftoverReport, LeftoverSweep};
use controller::sagas::remote::Command;
use model::{Failure, InstanceId, SagaId, SnapshotEvent, SnapshotId, SnapshotState};
use proto::rep::v1 as rep;

use crate::harness::{Harness, workload_id};
use crate::world::make_uuid;

const FOREIGN: &str = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f";

fn thing(kind: &str, snapshot: impl ToString) -> rep::HostLeftover {
    rep::HostLeftover {
        kind: kind.to_owned(),
        instance_id: InstanceId::from_uuid(make_uuid(10)).to_string(),
        snapshot_id: snapshot.to_string(),
        ..Default::default()
    }
}

/// A record of changes from which the next snapshot goes on after `since`.
fn base(snapshot: SnapshotId, since: SnapshotId) -> rep::HostLeftover {
    rep::HostLeftover { base_of_snapshot_id: since.to_string(), ..thing("bitmap", snapshot) }
}

/// Asked for by a person.
fn order(age_min_seconds: u64) -> LeftoverOrder {
    LeftoverOrder {
        project_id: "acme".parse().unwrap(),
        owners: Vec::new(),
        age_min_seconds,
        is_removed: true,
        is_by_itself: false,
        hosts: vec!["node-1".parse().unwrap()],
        silent_hosts: Vec::new(),
    }
}

async fn start_sweep(harness: &Harness, order: &LeftoverOrder) -> SagaId {
    let saga_id = harness.engine.new_saga_id();
    let mut tx = harness.catalog.begin().await.unwrap();
    harness.engine.start::<LeftoverSweep>(&mut tx, saga_id, order).await.unwrap();
    tx.commit().await.unwrap();
    saga_id
}

async fn sweep_with(
    harness: &mut Harness,
    age_min_seconds: u64,
    judge: impl Fn(&Command) -> Option<Failure>,
) -> LeftoverReport {
    sweep_by(harness, &order(age_min_seconds), judge).await
}

async fn sweep_by(
    harness: &mut Harness,
    order: &LeftoverOrder,
    judge: impl Fn(&Command) -> Option<Failure>,
) -> LeftoverReport {
    let saga_id = start_sweep(harness, order).await;
    harness.play(|sent| judge(&sent.command)).await;
    let saga = harness.saga(saga_id).await;
    assert_eq!(saga.phase, "succeeded", "{saga:?}");
    serde_json::from_str(&saga.facts).unwrap()
}

async fn sweep(harness: &mut Harness) -> LeftoverReport {
    sweep_with(harness, 0, |_| None).await
}

/// Kinds of what was found, and whether each is gone.
fn outcomes(report: &LeftoverReport) -> Vec<(&'static str, bool)> {
    let tell =
        |(place, it): (usize, &HostLeftover)| (it.thing.kind.as_str(), report.hosts.removed.contains(&place));
    report.hosts.leftovers.iter().enumerate().map(tell).collect()
}

async fn taken_snapshot(harness: &mut Harness) -> SnapshotId {
    let (_, id) = harness.start_snapshot().await;
    harness.play(|_| None).await;
    assert_eq!(harness.snapshot(id).await.status, SnapshotState::Available);
    id
}

#[tokio::test]
async fn what_a_snapshot_left_on_a_host_goes_when_it_is_over_and_what_another_made_is_left_alone() {
    let mut harness = Harness::start().await;
    let id = taken_snapshot(&mut harness).await;
    harness.world.on_hosts =
        ["cut", "checkpoint", "bitmap", "scratch"].map(|kind| thing(kind, id)).into_iter().collect();
    harness.world.on_hosts.extend([thing("cut", FOREIGN), thing("of a later version", id)]);
    let young = sweep_with(&mut harness, 1_000_000, |_| None).await;
    let expected = [("cut", true), ("cut", false)];
    assert_eq!(outcomes(&young), expected, "nobody needs the one, and the foreign one has no age");
    let report = sweep(&mut harness).await;
    let expected = [("cut", true), ("checkpoint", true), ("bitmap", true), ("scratch", true), ("cut", false)];
    assert_eq!(outcomes(&report), expected);
    let [first, .., foreign] = report.hosts.leftovers.as_slice() else { panic!("{report:?}") };
    assert_eq!(first.owner.as_ref().unwrap().user_id.as_str(), "alice");
    assert!(
        first.age_seconds.is_some() && first.why.contains("(snapshot_create) ended succeeded"),
        "{first:?}"
    );
    assert!(!foreign.may_be_removed && foreign.why.contains("no saga of this catalog"), "{foreign:?}");
}

#[tokio::test]
async fn a_record_of_changes_stays_while_the_next_snapshot_goes_on_from_it() {
    let mut harness = Harness::start().await;
    let (first, second) = (taken_snapshot(&mut harness).await, taken_snapshot(&mut harness).await);
    harness.world.on_hosts = vec![base(first, second), thing("bitmap", second)];
    assert_eq!(outcomes(&sweep(&mut harness).await), [("bitmap", true)], "the second alone");
    let mut tx = harness.catalog.begin().await.unwrap();
    tx.apply_snapshot_event(second, SnapshotEvent::Delete).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(outcomes(&sweep(&mut harness).await), [("bitmap", true); 2]);
}

#[tokio::test]
async fn nothing_is_removed_of_an_instance_whose_workload_is_at_work() {
    let mut harness = Harness::start().await;
    let id = taken_snapshot(&mut harness).await;
    let frozen = rep::HostLeftover { snapshot_id: String::new(), ..thing("frozen_guest", id) };
    let stranger = rep::HostLeftover { instance_id: FOREIGN.to_owned(), ..frozen.clone() };
    harness.world.on_hosts = vec![thing("cut", id), frozen, stranger];
    let (saga_id, _) = harness.start_snapshot().await;
    let sweep_id = start_sweep(&harness, &order(0)).await;
    // The snapshot waits for its first answer all the while.
    loop {
        let sent = harness.sent().await;
        let mine: Vec<_> = sent.iter().filter(|sent| sent.verb() == "list_leftovers").collect();
        for sent in &mine {
            harness.succeed(sent).await;
        }
        if !mine.is_empty() {
            break;
        }
    }
    let report: LeftoverReport = serde_json::from_str(&harness.saga(sweep_id).await.facts).unwrap();
    assert_eq!(outcomes(&report), [("frozen_guest", false)], "the stranger's alone: {report:?}");
    assert_eq!(harness.saga(saga_id).await.finished_at, None);

    let mut tx = harness.catalog.begin().await.unwrap();
    tx.unlock_workload(workload_id(), saga_id).await.unwrap();
    tx.commit().await.unwrap();
    let by_itself = LeftoverOrder { is_by_itself: true, ..order(0) };
    let report = sweep_by(&mut harness, &by_itself, |_| None).await;
    let of_guests = outcomes(&report).into_iter().filter(|(kind, _)| *kind == "frozen_guest");
    assert!(
        of_guests.clone().count() == 2 && of_guests.into_iter().all(|(_, is_gone)| !is_gone),
        "{report:?}"
    );
    let report = sweep_with(&mut harness, 1_000_000, |_| None).await;
    let expected = [("cut", true), ("frozen_guest", true), ("frozen_guest", false)];
    assert_eq!(outcomes(&report), expected, "neither a cut nor a frozen guest need be old");
}

#[tokio::test]
async fn a_journal_is_of_the_saga_of_its_job_and_a_host_that_refuses_hides_nothing_else() {
    let mut harness = Harness::start().await;
    let (saga_id, id) = harness.start_snapshot().await;
    harness.play(|_| None).await;
    let filter = JobFilter { saga_id: Some(saga_id), ..JobFilter::default() };
    let jobs = harness.catalog.read().await.unwrap().list_jobs(&filter).await.unwrap();
    let journal = |job_id: String| rep::HostLeftover {
        kind: "journal".to_owned(),
        job_id,
        age_seconds: Some(5),
        size_bytes: Some(7),
        ..Default::default()
    };
    harness.world.on_hosts =
        vec![journal(jobs[0].id.to_string()), journal(FOREIGN.to_owned()), thing("bitmap", id)];
    let refuse = |command: &Command| {
        matches!(command, Command::RemoveLeftover(it) if it.kind == "bitmap")
            .then(|| Failure::permanent("BITMAP_KEPT", "not now"))
    };
    let report = sweep_with(&mut harness, 0, refuse).await;
    assert_eq!(outcomes(&report), [("journal", true), ("journal", false), ("bitmap", false)]);
    assert!(report.hosts.kept[&2].contains("BITMAP_KEPT"), "{report:?}");
    assert_eq!(report.hosts.leftovers[0].thing.size_bytes, Some(7));

    let silent = |command: &Command| {
        matches!(command, Command::ListLeftovers(_))
            .then(|| Failure::permanent("DATAMOVER_NOT_RUNNING", "away"))
    };
    let report = sweep_with(&mut harness, 0, silent).await;
    assert!(report.hosts.leftovers.is_empty() && report.hosts.unseen[&0].contains("away"), "{report:?}");
}
