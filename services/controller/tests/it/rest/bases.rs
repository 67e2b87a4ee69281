//! What is kept for the next increment: what is said of it, and how often the cloud is asked to let go of it.

use std::time::Duration;

use catalog::{LineageBaseRow, NewLineage, SagaFilter, TrustRow, TrustState, VolumeLeftRow};
use controller::app::{bases, leftovers};
use controller::engine::{BaseRelease, LeftoverOrder};
use model::{ByteCount, LineageId, SnapshotId, Timestamp, VolumeId, VolumeSnapshotId, WorkloadId};
use rest_api::Workload;
use runtime::Entropy;
use saga::Saga as _;

use super::fixture::{ADMIN, Service};

/// The base of a disk of the workload's first instance.
async fn plant_base(service: &Service, workload: &Workload, disk: &str) -> LineageId {
    let mut tx = service.state.catalog.begin().await.unwrap();
    let new = NewLineage {
        id: LineageId::from_uuid(Entropy.uuid()),
        workload_id: workload.summary.id,
        instance_id: service.instances[0],
        disk_id: disk.parse().unwrap(),
        target_id: service.state.targets[0].id,
        chunk_size_bytes: ByteCount::mib(1),
    };
    let lineage_id = tx.get_or_create_lineage(&new).await.unwrap().id;
    let base = LineageBaseRow {
        lineage_id,
        snapshot_id: SnapshotId::from_uuid(Entropy.uuid()),
        volume_snapshot_id: VolumeSnapshotId::from_uuid(Entropy.uuid()),
        tag: "saga/step/0".to_owned(),
        is_false: false,
    };
    tx.set_lineage_base(&base).await.unwrap();
    tx.commit().await.unwrap();
    lineage_id
}

async fn releases(service: &Service, workload: WorkloadId) -> Vec<catalog::SagaRow> {
    let filter = SagaFilter { workload_id: Some(workload), ..SagaFilter::default() };
    let mut rows = service.state.catalog.read().await.unwrap().list_sagas(&filter).await.unwrap();
    rows.retain(|row| row.kind == BaseRelease::KIND);
    rows
}

/// Ends the release as one whose volume snapshot the cloud did not let go of.
async fn refuse(service: &Service, workload: WorkloadId, ended_at: Timestamp) {
    let row = releases(service, workload).await.remove(0);
    let facts = r#"{"leased":[0],"refused":{"0":"volumes were made of it [VOLUME_SNAPSHOT_IN_USE]"}}"#;
    let mut tx = service.state.catalog.begin().await.unwrap();
    for lineage in tx.list_lineages(workload).await.unwrap() {
        tx.release_lineage_lease(lineage.id, row.id).await.unwrap();
    }
    let (phase, facts, finished_at) = ("succeeded".to_owned(), facts.to_owned(), Some(ended_at));
    let ended = catalog::SagaRow { phase, facts, finished_at, ..row.clone() };
    tx.update_saga(&ended, row.version).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_the_cloud_does_not_let_go_of_is_tried_again_after_hours_or_when_something_is_heard() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await;
    let id = workload.summary.id;
    // A volume that the cloud does not know: it is gone, and nothing will build on its base.
    plant_base(&service, &workload, &Entropy.uuid().to_string()).await;
    assert_eq!(bases::release_needless(&service.state, None).await.unwrap(), 1);
    let now = service.state.clock.now();
    refuse(&service, id, now).await;
    for _ in 0..3 {
        assert_eq!(bases::release_needless(&service.state, None).await.unwrap(), 0);
    }
    assert_eq!(releases(&service, id).await.len(), 1);
    assert_eq!(bases::release_needless(&service.state, Some(id)).await.unwrap(), 1, "somebody heard of it");
    refuse(&service, id, now.before(Duration::from_secs(5 * 3600))).await;
    let mut first = releases(&service, id).await.remove(1);
    let version = first.version;
    first.finished_at = Some(now.before(Duration::from_secs(6 * 3600)));
    let mut tx = service.state.catalog.begin().await.unwrap();
    tx.update_saga(&first, version).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(bases::release_needless(&service.state, None).await.unwrap(), 1, "hours later");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_to_a_deletion_in_the_database_alone_says_what_stays() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await;
    let volume = Entropy.uuid().to_string();
    plant_base(&service, &workload, &volume).await;
    let local = NewLineage {
        id: LineageId::from_uuid(Entropy.uuid()),
        workload_id: workload.summary.id,
        instance_id: service.instances[0],
        disk_id: "vdb".parse().unwrap(),
        target_id: service.state.targets[0].id,
        chunk_size_bytes: ByteCount::mib(1),
    };
    let mut tx = service.state.catalog.begin().await.unwrap();
    tx.get_or_create_lineage(&local).await.unwrap();
    tx.commit().await.unwrap();
    let answer = service.client.delete_workload(workload.summary.id, true).await.unwrap();
    let [base, record] = answer.stays.as_slice() else { panic!("{answer:?}") };
    assert!(base.contains(&format!("of volume {volume}")), "{base}");
    assert!(record.contains("local disks") && record.contains(&service.instances[0].to_string()), "{record}");
    let other = service.client.create_workload(service.make_new("db", 1..2)).await.unwrap();
    let answer = service.client.delete_workload(other.summary.id, false).await.unwrap();
    assert_eq!(answer.stays, Vec::<String>::new(), "it removes all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_looks_at_each_project_once_with_a_trust_that_is_well() {
    let service = Service::start().await;
    service.make_workload("web", 1).await;
    let other = service.client_of("acme", ADMIN);
    other.create_workload(service.make_new("db", 1..2)).await.unwrap();
    let owners = service.state.catalog.read().await.unwrap().list_owners().await.unwrap();
    assert_eq!(owners.len(), 2, "{owners:?}");
    for well in [0, 1] {
        let mut tx = service.state.catalog.begin().await.unwrap();
        for (place, owner) in owners.iter().enumerate() {
            if let Some(row) = tx.get_trust(&owner.project_id, &owner.user_id).await.unwrap() {
                tx.delete_trust(&row).await.unwrap();
            }
            let state = if place == well { TrustState::Available } else { TrustState::Error };
            tx.insert_trust(&TrustRow {
                id: Entropy.uuid(),
                project_id: owner.project_id.clone(),
                user_id: owner.user_id.clone(),
                project_name: "acme".to_owned(),
                user_name: owner.user_id.to_string(),
                trust_id: format!("trust-{place}"),
                roles: vec!["creator".to_owned()],
                state,
                reason: None,
                created_at: tx.now(),
                updated_at: tx.now(),
            })
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
        let started =
            other.start_sweep(rest_api::NewSweep { remove: false, older_than_seconds: 0 }).await.unwrap();
        let sweep = leftovers::show(&service.state, started).await.unwrap();
        let LeftoverOrder { owners: looked, .. } = sweep.order;
        assert_eq!(looked, [owners[well].clone()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_stayed_behind_is_not_named_for_ever_by_a_workload_that_is_deleted() {
    let service = Service::start().await;
    let workload = service.make_workload("web", 1).await;
    service.client.delete_workload(workload.summary.id, true).await.unwrap();
    let mut tx = service.state.catalog.begin().await.unwrap();
    // A release of its bases that ended after the deletion.
    tx.insert_volume_left(&VolumeLeftRow {
        volume_id: VolumeId::from_uuid(Entropy.uuid()),
        workload_id: workload.summary.id,
        instance_id: service.instances[0],
        name: "db-data".to_owned(),
        found_at: tx.now(),
    })
    .await
    .unwrap();
    tx.commit().await.unwrap();
    // The cloud cannot be asked: nobody's trust is left.
    std::fs::remove_dir_all(service.dir.path().join("cloud")).unwrap();
    bases::release_needless(&service.state, None).await.unwrap();
    let left = service.state.catalog.read().await.unwrap().list_volumes_left(None).await.unwrap();
    assert_eq!(left, []);
}
