//! Snapshots, and the sagas that make them.

use controller::app::{self, Caller, IntakeKey, snapshots};
use model::{SnapshotKind, WorkloadId};
use rest_api::NewSnapshot;

use super::check_refused;
use super::fixture::Service;

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_started_with_its_saga_and_the_workload_locked() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 2).await.summary.id;
    let names = NewSnapshot { name: Some("nightly".to_owned()), description: Some("of the web".to_owned()) };
    let snapshot = service.client.create_snapshot(workload, true, names).await.unwrap();
    assert_eq!(snapshot.summary.snapshot_type, "full");
    assert!(matches!(snapshot.summary.status.as_str(), "creating" | "executing"), "{snapshot:?}");
    assert_eq!(snapshot.summary.warning_msg, None);
    assert_eq!(snapshot.instances.len(), 2, "the instances to come are shown");
    assert_eq!(service.client.show_workload(workload).await.unwrap().summary.status, "locked");

    let saga = service.client.show_saga(snapshot.summary.saga_id).await.unwrap();
    assert_eq!(saga.summary.object_id, snapshot.summary.id.to_string());
    assert_eq!(saga.summary.phase, "forward");
    assert!(saga.steps.iter().any(|step| step.kind == "pivot"), "{:?}", saga.steps);
    assert!(saga.summary.step.is_some() && !saga.events.is_empty() && !saga.jobs.is_empty());
    assert_eq!(service.client.list_sagas(None, false).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_workload_names_the_snapshot_that_holds_it() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    let running = service.client.create_snapshot(workload, true, NewSnapshot::default()).await.unwrap();
    let outcome = service.client.create_snapshot(workload, true, NewSnapshot::default()).await;
    check_refused(outcome, 409, "WORKLOAD_LOCKED", &running.summary.id.to_string());
    assert_eq!(service.client.list_snapshots(None).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_without_a_parent_becomes_full_and_says_so() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    let snapshot = service.client.create_snapshot(workload, false, NewSnapshot::default()).await.unwrap();
    assert_eq!(snapshot.summary.snapshot_type, "full");
    assert!(snapshot.summary.warning_msg.unwrap().contains("full"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_snapshot_shows_sizes_and_disks() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 2).await.summary.id;
    let snapshot = service.make_snapshot(workload, "nightly").await;
    assert_eq!((snapshot.summary.status.as_str(), snapshot.summary.progress_percent), ("available", 100));
    assert_eq!(snapshot.summary.size, 2 << 20);
    assert!(snapshot.summary.finished_at.is_some());
    let disk = &snapshot.instances[0].vdisks[0];
    assert_eq!((disk.bytes_done, disk.bytes_stored, disk.label.as_str()), (1 << 20, 4096, "vda"));
    assert_eq!(disk.volume_size, 1);
    assert_eq!(snapshot.instances[0].flavor["vcpus"], 1);
    let listed = service.client.list_snapshots(Some(workload)).await.unwrap();
    assert_eq!(listed[0].progress_percent, 100);
    assert_eq!(service.client.show_workload(workload).await.unwrap().storage_usage.full.snap_count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_gone_stops_a_snapshot_at_once() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 2).await.summary.id;
    service.delete_instance("web-2");
    let outcome = service.client.create_snapshot(workload, true, NewSnapshot::default()).await;
    check_refused(outcome, 400, "INSTANCE_NOT_FOUND", &service.instances[1].to_string());
    assert_eq!(service.client.show_workload(workload).await.unwrap().summary.status, "available");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_snapshot_can_be_cancelled_twice_and_a_finished_one_not() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    let running = service.client.create_snapshot(workload, true, NewSnapshot::default()).await.unwrap();
    for _ in 0..2 {
        service.client.cancel_snapshot(running.summary.id).await.unwrap();
    }
    let saga = service.client.show_saga(running.summary.saga_id).await.unwrap();
    assert!(matches!(saga.summary.phase.as_str(), "backward" | "compensated"), "{:?}", saga.summary);
    let other = service.client.create_workload(service.make_new("other", 1..2)).await.unwrap().summary.id;
    let finished = service.make_snapshot(other, "done").await.summary.id;
    check_refused(
        service.client.cancel_snapshot(finished).await,
        409,
        "CANCEL_TOO_LATE",
        "is available already",
    );
    let unknown = model::SnapshotId::from_uuid(runtime::Entropy.uuid());
    check_refused(
        service.client.cancel_snapshot(unknown).await,
        404,
        "SNAPSHOT_NOT_FOUND",
        &unknown.to_string(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_snapshot_and_another_request_is_refused() {
    let service = Service::start().await;
    let workload_id: WorkloadId = service.make_workload("web", 1).await.summary.id;
    let caller = Caller::intake("billing".parse().unwrap(), "acme".parse().unwrap());
    let request = snapshots::Request { workload_id, kind: SnapshotKind::Full, name: None, description: None };
    let mut key = IntakeKey {
        source: "holdfast-intake-billing".to_owned(),
        idempotency_key: "k1".to_owned(),
        request_digest: "d1".to_owned(),
    };
    let first = snapshots::create(&service.state, &caller, &request, Some(&key)).await.unwrap();
    let second = snapshots::create(&service.state, &caller, &request, Some(&key)).await.unwrap();
    assert_eq!((first.duplicate, second.duplicate), (false, true));
    assert_eq!((first.id, first.saga_id), (second.id, second.saga_id));
    service.commit(first.id).await;
    key.request_digest = "d2".to_owned();
    let error: app::Error =
        snapshots::create(&service.state, &caller, &request, Some(&key)).await.unwrap_err();
    assert_eq!(error.failure().code, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_snapshot_is_taken() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await.summary.id;
    let tries = (0..8).map(|_| service.client.create_snapshot(workload, true, NewSnapshot::default()));
    let outcomes = futures::future::join_all(tries).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for outcome in outcomes.into_iter().filter(Result::is_err) {
        check_refused(outcome, 409, "WORKLOAD_LOCKED", "web");
    }
}
