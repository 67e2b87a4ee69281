//! What is taken away: workloads reset and deleted, bases that nothing builds on any more.

use controller::engine::{
    BaseRelease, BaseReleaseOrder, ClearingOrder, LeftoverOrder, LeftoverReport, LeftoverSweep, NeedlessBase,
    Outcome, WorkloadDelete,
};
use controller::sagas::answer::Answer;
use controller::sagas::remote::Command;
use model::{Failure, SnapshotEvent, SnapshotState, WorkloadState};
use proto::rep::v1::{Tagged, TaggedListed};

use crate::harness::{Harness, play_until, workload_id};

fn volume_snapshots(harness: &Harness) -> Vec<String> {
    let things = harness.world.things().into_iter();
    things.filter(|thing| thing.starts_with("volume snapshot")).collect()
}

/// A harness with one snapshot, whose boot disks have kept bases and whose third disks are local.
async fn start_with_bases() -> Harness {
    let mut harness = Harness::start().await;
    harness.world.keeps_changes = true;
    harness.world.disk_count = 3;
    let (_, id) = harness.start_snapshot().await;
    harness.play(|_| None).await;
    assert_eq!(harness.snapshot(id).await.status, SnapshotState::Available);
    assert_eq!(volume_snapshots(&harness).len(), 2);
    harness
}

async fn kept_count(harness: &Harness) -> usize {
    harness.catalog.read().await.unwrap().list_kept_bases(None).await.unwrap().len()
}

async fn status(harness: &Harness) -> WorkloadState {
    harness.catalog.read().await.unwrap().get_workload(workload_id()).await.unwrap().unwrap().status
}

#[tokio::test]
async fn a_reset_removes_bases_and_records_of_changes_until_the_next_snapshot() {
    let mut harness = start_with_bases().await;
    let saga = harness.start_clearing(false).await;
    harness.play(|_| None).await;
    assert_eq!(harness.saga(saga).await.phase, "succeeded");
    assert_eq!((volume_snapshots(&harness).len(), kept_count(&harness).await), (0, 0));
    assert_eq!(
        harness.world.drops.values().collect::<Vec<_>>(),
        [&1, &1],
        "each instance with a local disk, once"
    );
    assert_eq!(status(&harness).await, WorkloadState::Available);
    harness.assert_nothing_held().await;
    assert!(harness.catalog.read().await.unwrap().is_workload_reset(workload_id()).await.unwrap());
    harness.start_snapshot().await;
    harness.play(|_| None).await;
    assert!(!harness.catalog.read().await.unwrap().is_workload_reset(workload_id()).await.unwrap());
}

#[tokio::test]
async fn a_reset_goes_on_without_an_instance_that_is_gone_and_fails_where_the_cloud_refuses() {
    let mut harness = start_with_bases().await;
    let saga = harness.start_clearing(false).await;
    let gone =
        |verb: &str| (verb == "drop_changes").then(|| Failure::permanent("INSTANCE_DELETED", "it is gone"));
    harness
        .play(|sent| match sent.verb() {
            "delete_volume_snapshots" => Some(Failure::permanent("TRUST_REVOKED", "it was revoked")),
            verb => gone(verb),
        })
        .await;
    let row = harness.saga(saga).await;
    assert_eq!((row.phase.as_str(), row.error_code.as_deref()), ("compensated", Some("TRUST_REVOKED")));
    assert_eq!((status(&harness).await, kept_count(&harness).await), (WorkloadState::Available, 2));
    harness.start_clearing(false).await;
    harness.play(|sent| gone(sent.verb())).await;
    assert_eq!(volume_snapshots(&harness), Vec::<String>::new());
    harness.assert_nothing_held().await;
}

#[tokio::test]
async fn a_workload_with_a_snapshot_is_not_deleted_and_one_without_goes_with_its_trust() {
    let mut harness = start_with_bases().await;
    let saga = harness.start_clearing(true).await;
    harness.play(|_| None).await;
    let row = harness.saga(saga).await;
    assert_eq!(row.error_code.as_deref(), Some("WORKLOAD_HAS_SNAPSHOTS"));
    assert_eq!(status(&harness).await, WorkloadState::Available);
    let mut tx = harness.catalog.begin().await.unwrap();
    for row in tx.list_snapshots(&catalog::SnapshotFilter::default()).await.unwrap() {
        tx.apply_snapshot_event(row.id, SnapshotEvent::Delete).await.unwrap();
    }
    tx.commit().await.unwrap();
    let saga = harness.start_clearing(true).await;
    let mut revoked = Vec::new();
    harness
        .play(|sent| {
            if let Command::RevokeTrust(it) = &sent.command {
                revoked.push((it.project_id.clone(), it.user_id.clone()));
            }
            None
        })
        .await;
    assert_eq!(harness.saga(saga).await.phase, "succeeded");
    assert_eq!(revoked, [("acme".to_owned(), "alice".to_owned())]);
    assert_eq!(status(&harness).await, WorkloadState::Deleted);
    assert_eq!((volume_snapshots(&harness).len(), kept_count(&harness).await), (0, 0));
    harness.assert_nothing_held().await;
    let told: Vec<_> = harness.facts().into_iter().map(|(key, _)| key).collect();
    assert!(told.contains(&"evt.acme.workload.deleted".to_owned()), "{told:?}");
}

/// Forgets the workload's snapshots, and deletes it in the database alone; gives the saga and whether the trust was taken back.
async fn delete_in_database(harness: &mut Harness) -> (model::SagaId, bool) {
    let saga_id = harness.engine.new_saga_id();
    let order = ClearingOrder {
        project_id: "acme".parse().unwrap(),
        workload_id: workload_id(),
        database_only: true,
    };
    let mut tx = harness.catalog.begin().await.unwrap();
    for row in tx.list_snapshots(&catalog::SnapshotFilter::default()).await.unwrap() {
        tx.apply_snapshot_event(row.id, SnapshotEvent::Delete).await.unwrap();
    }
    tx.lock_workload(workload_id(), saga_id).await.unwrap();
    harness.engine.start::<WorkloadDelete>(&mut tx, saga_id, &order).await.unwrap();
    tx.commit().await.unwrap();
    let mut is_revoked = false;
    harness
        .play(|sent| {
            is_revoked |= sent.verb() == "revoke_trust";
            None
        })
        .await;
    assert_eq!(harness.saga(saga_id).await.phase, "succeeded");
    (saga_id, is_revoked)
}

/// Sweeps; whoever looks sees all volume snapshots that are there. Gives the report.
async fn sweep(harness: &mut Harness, is_removed: bool) -> LeftoverReport {
    let order = LeftoverOrder {
        project_id: "acme".parse().unwrap(),
        owners: vec![model::Owner { project_id: "acme".parse().unwrap(), user_id: "alice".parse().unwrap() }],
        age_min_seconds: 0,
        is_removed,
        is_by_itself: false,
        hosts: Vec::new(),
        silent_hosts: Vec::new(),
    };
    let saga_id = harness.engine.new_saga_id();
    let mut tx = harness.catalog.begin().await.unwrap();
    harness.engine.start::<LeftoverSweep>(&mut tx, saga_id, &order).await.unwrap();
    tx.commit().await.unwrap();
    let asked = play_until(harness, "list_tagged").await;
    let tagged = volume_snapshots(harness).into_iter().map(|thing| {
        let tag = thing.trim_start_matches("volume snapshot ").to_owned();
        Tagged { kind: "volume_snapshot".to_owned(), id: tag.clone(), name: thing, tag }
    });
    let answer = Answer::TaggedListed(TaggedListed { tagged: tagged.collect() });
    harness.end(&asked[0], Outcome::Succeeded(answer)).await;
    harness.play(|_| None).await;
    serde_json::from_str(&harness.saga(saga_id).await.facts).unwrap()
}

#[tokio::test]
async fn what_a_deletion_in_the_database_alone_leaves_can_be_swept_on_the_trust_that_stays() {
    let mut harness = start_with_bases().await;
    let (_, is_revoked) = delete_in_database(&mut harness).await;
    assert!(!is_revoked, "with the trust nobody would see what stays");
    assert_eq!((volume_snapshots(&harness).len(), kept_count(&harness).await), (2, 0));
    let report = sweep(&mut harness, true).await;
    assert_eq!((report.leftovers.len(), report.removed.len()), (2, 2), "{report:?}");
    assert_eq!(volume_snapshots(&harness).len(), 0);
}

#[tokio::test]
async fn where_nothing_stays_the_trust_goes_with_the_workload_in_the_database_too() {
    let mut harness = Harness::start().await;
    let (_, is_revoked) = delete_in_database(&mut harness).await;
    assert!(is_revoked);
}

#[tokio::test]
async fn a_base_that_the_cloud_does_not_let_go_of_keeps_no_other_and_is_listed() {
    let mut harness = start_with_bases().await;
    let order = order_release(&harness, false).await;
    let saga = start_release(&harness, &order).await;
    let stubborn = order.bases[0].tag.clone();
    harness
        .play(|sent| match &sent.command {
            Command::DeleteVolumeSnapshots(it) if it.tag == stubborn => {
                Some(Failure::permanent("VOLUME_SNAPSHOT_IN_USE", "volumes were made of it"))
            }
            _ => None,
        })
        .await;
    assert_eq!(harness.saga(saga).await.phase, "succeeded");
    assert_eq!((volume_snapshots(&harness).len(), kept_count(&harness).await), (1, 1));
    harness.assert_nothing_held().await;
    let report = sweep(&mut harness, true).await;
    let [leftover] = report.leftovers.as_slice() else { panic!("{report:?}") };
    assert_eq!((&leftover.thing.tag, leftover.may_be_removed), (&stubborn, false));
    assert!(leftover.why.contains("VOLUME_SNAPSHOT_IN_USE"), "{}", leftover.why);
    // Whoever hears of it later finds it as any other.
    start_release(&harness, &order_release(&harness, false).await).await;
    harness.play(|_| None).await;
    assert_eq!((volume_snapshots(&harness).len(), kept_count(&harness).await), (0, 0));
}

#[tokio::test]
async fn bases_of_disks_that_left_the_instance_go_with_the_next_snapshot() {
    let mut harness = start_with_bases().await;
    harness.world.disk_shift = 1; // every volume is another one
    harness.start_snapshot().await;
    harness.play(|_| None).await;
    let kept = harness.catalog.read().await.unwrap().list_kept_bases(None).await.unwrap();
    let tags: Vec<_> = kept.iter().map(|row| format!("volume snapshot {}", row.base.tag)).collect();
    let mut left = volume_snapshots(&harness);
    left.retain(|thing| !tags.contains(thing));
    assert_eq!(left, Vec::<String>::new(), "only what the catalog knows stays");
    harness.assert_nothing_held().await;
}

async fn order_release(harness: &Harness, is_left_behind: bool) -> BaseReleaseOrder {
    let kept = harness.catalog.read().await.unwrap().list_kept_bases(None).await.unwrap();
    let bases = kept.iter().map(|row| NeedlessBase {
        lineage_id: row.base.lineage_id,
        tag: row.base.tag.clone(),
        volume_id: row.disk_id.as_str().parse().unwrap(),
        volume_name: "db-data".to_owned(),
        instance_id: row.instance_id,
        why: "the volume is not attached any more".to_owned(),
        is_left_behind,
    });
    BaseReleaseOrder {
        project_id: "acme".parse().unwrap(),
        user_id: "alice".parse().unwrap(),
        workload_id: workload_id(),
        bases: bases.collect(),
    }
}

async fn start_release(harness: &Harness, order: &BaseReleaseOrder) -> model::SagaId {
    let saga_id = harness.engine.new_saga_id();
    let mut tx = harness.catalog.begin().await.unwrap();
    harness.engine.start::<BaseRelease>(&mut tx, saga_id, order).await.unwrap();
    tx.commit().await.unwrap();
    saga_id
}

#[tokio::test]
async fn a_needless_base_goes_and_its_volume_is_told_of_by_name() {
    let mut harness = start_with_bases().await;
    let order = order_release(&harness, true).await;
    start_release(&harness, &order).await;
    // A second controller saw the same.
    let late = start_release(&harness, &order).await;
    harness.play(|_| None).await;
    assert_eq!((volume_snapshots(&harness).len(), kept_count(&harness).await), (0, 0));
    assert_eq!(harness.saga(late).await.phase, "succeeded", "it found nothing to do");
    let facts = harness.facts();
    let told: Vec<_> = facts.iter().filter(|(key, _)| key == "evt.acme.volume.left_behind").collect();
    assert_eq!(told.len(), 2, "each once");
    assert!(
        told.iter()
            .all(|(_, fact)| fact.message.contains("volume db-data (") && fact.code == "VOLUME_LEFT_BEHIND")
    );
    let left = harness.catalog.read().await.unwrap().list_volumes_left(Some(workload_id())).await.unwrap();
    assert_eq!((left.len(), left[0].name.as_str()), (2, "db-data"));
    harness.assert_nothing_held().await;
}

#[tokio::test]
async fn a_base_that_a_snapshot_works_with_is_left_to_it() {
    let mut harness = start_with_bases().await;
    let order = order_release(&harness, false).await;
    let (_, id) = harness.start_snapshot().await;
    let cuts = play_until(&mut harness, "create_volume_snapshot").await;
    let saga = start_release(&harness, &order).await;
    assert_eq!(harness.saga(saga).await.phase, "succeeded");
    for cut in &cuts {
        harness.succeed(cut).await;
    }
    harness.play(|_| None).await;
    assert_eq!(harness.snapshot(id).await.status, SnapshotState::Available);
    assert_eq!((volume_snapshots(&harness).len(), kept_count(&harness).await), (2, 2));
}
