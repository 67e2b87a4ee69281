//! One walk through all functions, on both back ends; in the end every statement must have run on both.

use std::time::Duration;

use catalog::{
    Catalog, DiskProgress, IntakeKeyRow, JobDirection, JobFilter, JobGrant, JobProgress, JobState,
    LineageBaseRow, OutboxDepth, PartStatus, RestoreFilter, SagaCount, SagaEventRow, SagaFilter, ServiceKind,
    ServiceSign, SnapshotFilter, TimerKind, TimerRow, TrustFilter, TrustRow, TrustState, VolumeLeftRow,
    WorkloadFilter, WorkloadInstanceRow, WorkloadRow, statement_names,
};
use model::{
    ByteCount, Consistency, InstanceId, LineageId, RestoreEvent, RestoreState, SnapshotEvent, SnapshotId,
    SnapshotKind, SnapshotState, VolumeId, VolumeSnapshotId, WorkloadType,
};
use runtime::{Clock as _, Entropy, SystemClock};

use crate::fixture::*;
use crate::notifications;

#[tokio::test]
async fn every_statement_runs_on_both_back_ends() {
    for fixture in start_both().await {
        let catalog = &fixture.catalog;
        let workload = walk_workload(catalog).await;
        walk_snapshot(catalog, &workload).await;
        walk_restore(catalog, &workload).await;
        walk_saga(catalog, &workload).await;
        walk_jobs(catalog, &workload).await;
        walk_bus(catalog).await;
        walk_figures(catalog, &workload).await;
        walk_services(catalog).await;
        walk_examination(catalog).await;
        walk_trusts(catalog).await;
        let executed = catalog.executed_statements();
        let missing: Vec<_> = statement_names().difference(&executed).copied().collect();
        assert!(missing.is_empty(), "no test ran these on {:?}: {missing:?}", catalog.backend());
        assert_eq!(executed, statement_names(), "something ran that is not in the registry");
    }
}

async fn walk_workload(catalog: &Catalog) -> WorkloadRow {
    let mut row = make_workload();
    let saga = saga_id();
    let instance = WorkloadInstanceRow {
        instance_id: id(InstanceId::from_uuid),
        workload_id: row.id,
        name: "web-1".to_owned(),
        position: 3,
    };
    let mut tx = catalog.begin().await.unwrap();
    tx.insert_workload(&row).await.unwrap();
    tx.insert_workload_instance(&instance).await.unwrap();
    assert_eq!(tx.list_workload_instances(row.id).await.unwrap(), std::slice::from_ref(&instance));
    tx.delete_workload_instance(row.id, instance.instance_id).await.unwrap();
    assert_eq!(tx.get_workload_instance(instance.instance_id).await.unwrap(), None);
    row.name = "new name".to_owned();
    row.description = "new text".to_owned();
    row.allow_partial = true;
    row.workload_type = WorkloadType::Serial;
    tx.update_workload(&row).await.unwrap();
    tx.lock_workload(row.id, saga).await.unwrap();
    tx.break_workload(row.id, saga, "stuck").await.unwrap();
    tx.repair_workload(row.id).await.unwrap();
    tx.commit().await.unwrap();

    let mut gone = make_workload();
    gone.name = "gone".to_owned();
    let mut tx = catalog.begin().await.unwrap();
    tx.insert_workload(&gone).await.unwrap();
    tx.delete_workload(gone.id).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = catalog.read().await.unwrap();
    assert_eq!(tx.get_workload(row.id).await.unwrap(), Some(row.clone()));
    let filter = WorkloadFilter { project_id: Some("demo".parse().unwrap()), ..WorkloadFilter::default() };
    assert_eq!(tx.list_workloads(&filter).await.unwrap(), [row.clone()], "the deleted one is not listed");
    let filter = WorkloadFilter { project_id: Some("other".parse().unwrap()), ..WorkloadFilter::default() };
    assert_eq!(tx.list_workloads(&filter).await.unwrap(), []);
    assert_eq!(tx.list_owners().await.unwrap(), [row.owner()], "the deleted one was theirs, too");
    assert_eq!(tx.count_workloads_of(&row.owner()).await.unwrap(), 1);
    drop(tx);
    walk_leaving(catalog, &row).await;
    row
}

async fn walk_leaving(catalog: &Catalog, workload: &WorkloadRow) {
    let row = VolumeLeftRow {
        volume_id: id(VolumeId::from_uuid),
        workload_id: workload.id,
        instance_id: id(InstanceId::from_uuid),
        name: "db-data".to_owned(),
        found_at: NOW,
    };
    let mut tx = catalog.begin().await.unwrap();
    for _ in 0..2 {
        tx.insert_volume_left(&row).await.unwrap();
        tx.insert_workload_reset(workload.id).await.unwrap();
    }
    assert!(tx.is_workload_reset(workload.id).await.unwrap());
    assert_eq!(tx.list_volumes_left(Some(workload.id)).await.unwrap(), std::slice::from_ref(&row));
    assert_eq!(tx.list_volumes_left(None).await.unwrap().len(), 1);
    tx.delete_volume_left(row.volume_id).await.unwrap();
    tx.delete_workload_reset(workload.id).await.unwrap();
    assert_eq!(tx.list_volumes_left(None).await.unwrap(), []);
    assert!(!tx.is_workload_reset(workload.id).await.unwrap());
    tx.commit().await.unwrap();
}

async fn walk_snapshot(catalog: &Catalog, workload: &WorkloadRow) {
    let mut row = make_snapshot(workload);
    let instance = make_snapshot_instance(&row);
    let mut tx = catalog.begin().await.unwrap();
    let new = make_lineage(workload, instance.instance_id, "vda");
    let lineage = tx.get_or_create_lineage(&new).await.unwrap();
    let again = make_lineage(workload, instance.instance_id, "vda");
    assert_eq!(tx.get_or_create_lineage(&again).await.unwrap(), lineage);
    assert_eq!(tx.get_lineage(lineage.id).await.unwrap().unwrap(), lineage);
    let mut disk = make_snapshot_disk(&instance, lineage.id);
    tx.insert_snapshot(&row).await.unwrap();
    tx.insert_snapshot_instance(&instance).await.unwrap();
    tx.insert_snapshot_disk(&disk).await.unwrap();

    let epoch = tx.acquire_lineage_lease(lineage.id, row.saga_id).await.unwrap();
    let progress = DiskProgress {
        bytes_total: ByteCount::gib(20),
        bytes_done: ByteCount::gib(5),
        bytes_read: ByteCount::gib(4),
        bytes_moved: ByteCount::gib(3),
    };
    let (snapshot_id, instance_id) = (row.id, instance.instance_id);
    assert!(
        tx.update_snapshot_disk_progress(snapshot_id, instance_id, &disk.disk_id, progress).await.unwrap()
    );
    let listed = &tx.list_snapshot_disks(row.id).await.unwrap()[0];
    assert_eq!((listed.status, listed.bytes_stored), (PartStatus::Running, ByteCount::gib(3)));

    disk.status = PartStatus::Available;
    disk.duration = Duration::from_millis(1234);
    disk.manifest_digest = Some("ab".repeat(32));
    disk.volume_id = Some(id(VolumeId::from_uuid));
    tx.update_snapshot_disk(&disk).await.unwrap();
    assert!(
        !tx.update_snapshot_disk_progress(snapshot_id, instance_id, &disk.disk_id, progress).await.unwrap()
    );
    assert_eq!(tx.list_snapshot_disks(row.id).await.unwrap(), [disk.clone()]);
    let mut changed = instance.clone();
    changed.consistency = Some(Consistency::Filesystem);
    changed.status = PartStatus::Available;
    tx.update_snapshot_instance(&changed).await.unwrap();
    assert_eq!(tx.list_snapshot_instances(row.id).await.unwrap(), [changed]);

    tx.update_snapshot_progress(row.id, "uploading", ByteCount(7), ByteCount(5)).await.unwrap();
    row.progress_message = "done".to_owned();
    row.kind = SnapshotKind::Incremental;
    row.consistency = Some(Consistency::Crash);
    row.finished_at = Some(NOW);
    tx.update_snapshot(&row).await.unwrap();
    for event in [SnapshotEvent::Begin, SnapshotEvent::Upload, SnapshotEvent::Commit] {
        row.status = tx.apply_snapshot_event(row.id, event).await.unwrap();
    }
    tx.set_lineage_latest(lineage.id, row.saga_id, epoch, Some(row.id)).await.unwrap();
    assert_eq!(tx.pin_snapshot(row.id).await.unwrap(), 1);
    assert_eq!(tx.unpin_snapshot(row.id).await.unwrap(), 0);
    tx.commit().await.unwrap();

    let mut tx = catalog.begin().await.unwrap();
    assert_eq!(tx.get_snapshot(row.id).await.unwrap(), Some(row.clone()));
    let filter = SnapshotFilter { status: Some(SnapshotState::Available), ..SnapshotFilter::default() };
    assert_eq!(tx.list_snapshots(&filter).await.unwrap(), [row.clone()]);
    assert_eq!(tx.list_lineage_snapshots(lineage.id).await.unwrap(), [row.id]);
    assert_eq!(tx.list_lineages(workload.id).await.unwrap()[0].latest_snapshot_id, Some(row.id));
    walk_lineage_base(&mut tx, lineage.id, row.id).await;
    notifications::walk(&mut tx, workload.id, disk.volume_id.unwrap()).await;
    assert!(tx.release_lineage_lease(lineage.id, row.saga_id).await.unwrap());
    tx.acquire_lineage_lease(lineage.id, row.saga_id).await.unwrap();
    tx.delete_lineage(lineage.id, row.saga_id).await.unwrap();
    tx.delete_snapshot_parts_of(row.id, instance.instance_id).await.unwrap();
    tx.delete_snapshot_parts(row.id).await.unwrap();
    tx.apply_snapshot_event(row.id, SnapshotEvent::Delete).await.unwrap();
    assert_eq!(tx.list_snapshots(&SnapshotFilter::default()).await.unwrap(), []);
    tx.commit().await.unwrap();
}

async fn walk_lineage_base(tx: &mut catalog::Tx, lineage_id: LineageId, snapshot_id: SnapshotId) {
    let base = LineageBaseRow {
        lineage_id,
        snapshot_id,
        volume_snapshot_id: id(VolumeSnapshotId::from_uuid),
        tag: "saga/step/0".to_owned(),
        is_false: false,
    };
    tx.set_lineage_base(&base).await.unwrap();
    assert_eq!(tx.get_lineage_base(lineage_id).await.unwrap(), Some(base.clone()));
    let kept = tx.list_kept_bases(None).await.unwrap();
    assert_eq!((kept.len(), &kept[0].base), (1, &base));
    assert!(kept[0].holder_saga_id.is_some());
    assert_eq!(tx.list_kept_bases(Some(kept[0].workload_id)).await.unwrap(), kept);
    tx.distrust_lineage_base(lineage_id, id(SnapshotId::from_uuid)).await.unwrap();
    assert!(!tx.get_lineage_base(lineage_id).await.unwrap().unwrap().is_false, "it is another base's");
    tx.distrust_lineage_base(lineage_id, snapshot_id).await.unwrap();
    assert!(tx.get_lineage_base(lineage_id).await.unwrap().unwrap().is_false);
    tx.delete_lineage_base(lineage_id).await.unwrap();
    assert_eq!(tx.get_lineage_base(lineage_id).await.unwrap(), None);
}

async fn walk_restore(catalog: &Catalog, workload: &WorkloadRow) {
    let snapshot = make_snapshot(workload);
    let mut row = make_restore(&snapshot);
    let mut instance = make_restore_instance(&row);
    let mut disk = make_restore_disk(&instance);
    let mut tx = catalog.begin().await.unwrap();
    tx.insert_snapshot(&snapshot).await.unwrap();
    tx.insert_restore(&row).await.unwrap();
    tx.insert_restore_instance(&instance).await.unwrap();
    tx.insert_restore_disk(&disk).await.unwrap();
    tx.update_restore_progress(row.id, "writing").await.unwrap();
    let progress =
        DiskProgress { bytes_done: ByteCount(9), bytes_moved: ByteCount(4), ..DiskProgress::default() };
    assert!(
        tx.update_restore_disk_progress(row.id, instance.instance_id, &disk.disk_id, progress).await.unwrap()
    );
    assert_eq!(tx.list_restore_disks(row.id).await.unwrap()[0].bytes_written, ByteCount(4));

    instance.new_instance_id = Some(id(InstanceId::from_uuid));
    disk.volume_id = Some(id(VolumeId::from_uuid));
    disk.status = PartStatus::Error;
    tx.update_restore_instance(&instance).await.unwrap();
    tx.update_restore_disk(&disk).await.unwrap();
    assert_eq!(tx.list_restore_instances(row.id).await.unwrap(), [instance]);
    assert_eq!(tx.list_restore_disks(row.id).await.unwrap(), [disk]);
    row.error_code = Some("CLOUD_QUOTA".to_owned());
    row.finished_at = Some(NOW);
    tx.update_restore(&row).await.unwrap();
    assert!(!tx.delete_restore(saga_restore()).await.unwrap());
    row.status = tx.apply_restore_event(row.id, RestoreEvent::Fail).await.unwrap();
    assert_eq!(row.status, RestoreState::Error);
    tx.commit().await.unwrap();

    let mut tx = catalog.begin().await.unwrap();
    assert_eq!(tx.get_restore(row.id).await.unwrap(), Some(row.clone()));
    let filter = RestoreFilter { snapshot_id: Some(snapshot.id), ..RestoreFilter::default() };
    assert_eq!(tx.list_restores(&filter).await.unwrap(), [row.clone()]);
    assert!(tx.delete_restore(row.id).await.unwrap());
    tx.commit().await.unwrap();
}

fn saga_restore() -> model::RestoreId {
    id(model::RestoreId::from_uuid)
}

async fn walk_saga(catalog: &Catalog, workload: &WorkloadRow) {
    let mut row = make_saga(workload);
    let mut tx = catalog.begin().await.unwrap();
    tx.insert_saga(&row).await.unwrap();
    assert_eq!(tx.last_saga_event_sequence(row.id).await.unwrap(), 0);
    for sequence in 1..=2 {
        let body = format!("{{\"n\":{sequence}}}");
        let event = SagaEventRow { saga_id: row.id, sequence, kind: "started".to_owned(), body, at: NOW };
        tx.savepoint().await.unwrap();
        tx.insert_saga_event(&event).await.unwrap();
        tx.release_savepoint().await.unwrap();
    }
    assert_eq!(tx.last_saga_event_sequence(row.id).await.unwrap(), 2);
    let sequences: Vec<u64> =
        tx.list_saga_events(row.id).await.unwrap().iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, [1, 2]);
    row.facts = "{\"disks\":3}".to_owned();
    row.version = tx.update_saga(&row, 0).await.unwrap();
    assert_eq!(tx.unfinished_sagas().await.unwrap(), [row.clone()]);
    row.phase = "succeeded".to_owned();
    row.finished_at = Some(NOW);
    let others = catalog::SagaRow { facts: "{}".to_owned(), ..row.clone() };
    row.version = tx.update_saga_but_facts(&others, 1).await.unwrap();
    assert_eq!(tx.unfinished_sagas().await.unwrap(), []);
    tx.commit().await.unwrap();
    let mut tx = catalog.read().await.unwrap();
    assert_eq!(tx.get_saga(row.id).await.unwrap(), Some(row.clone()));
    let filter = SagaFilter { object_id: Some(row.object_id), ..SagaFilter::default() };
    assert_eq!(tx.list_sagas(&filter).await.unwrap(), [row]);
}

async fn walk_jobs(catalog: &Catalog, workload: &WorkloadRow) {
    let saga = make_saga(workload);
    let host = "compute-1".parse().unwrap();
    let mut row = make_job(saga.id, 3);
    let mut cloud = make_job(saga.id, 4);
    cloud.routing_key = "cloud.create_volume".to_owned();
    let mut tx = catalog.begin().await.unwrap();
    tx.upsert_job(&row).await.unwrap();
    tx.upsert_job(&cloud).await.unwrap();
    assert_eq!(tx.get_job(row.id).await.unwrap(), Some(row.clone()));
    assert_eq!(tx.get_job_of_branch(row.branch_key()).await.unwrap(), Some(row.clone()));
    row.attempt = 2;
    tx.upsert_job(&row).await.unwrap();
    assert!(tx.accept_job(row.id, 2, Some(&host), true).await.unwrap());
    assert!(tx.accept_job(cloud.id, 1, None, false).await.unwrap());
    let accepted = tx.accepted_cloud_jobs().await.unwrap();
    assert_eq!(accepted.iter().map(|job| job.id).collect::<Vec<_>>(), [cloud.id]);

    let until = NOW.after(Duration::from_secs(90));
    let grant = JobGrant { key: row.key(), worker: host.clone(), lease_until: until };
    row.epoch = tx.grant_job_lease(&grant).await.unwrap();
    assert_eq!(row.epoch, 1);
    let progress = JobProgress { bytes_done: ByteCount(5), ..JobProgress::default() };
    assert!(tx.update_job_progress(row.key(), progress).await.unwrap());
    let later = until.after(Duration::from_secs(15));
    assert_eq!(tx.extend_job_leases(&host, &[row.key(), cloud.key()], later).await.unwrap(), [row.key()]);
    assert_eq!(tx.expired_job_leases(later).await.unwrap(), []);
    assert_eq!(tx.expired_job_leases(later.after(Duration::from_micros(1))).await.unwrap()[0].id, row.id);
    assert!(tx.finish_job(row.id, 2).await.unwrap());
    assert!(!tx.finish_job(row.id, 2).await.unwrap(), "a result is taken once");
    let jobs = tx.jobs_of_saga(saga.id).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.state).collect::<Vec<_>>(), [JobState::Done, JobState::Accepted]);
    assert_eq!((jobs[0].command_body.clone(), jobs[0].progress), (row.command_body, progress));
    let filter = JobFilter { state: Some(JobState::Done), limit: Some(1), ..JobFilter::default() };
    assert_eq!(tx.list_jobs(&filter).await.unwrap().len(), 1);
    tx.commit().await.unwrap();
}

async fn walk_bus(catalog: &Catalog) {
    let saga = saga_id();
    let mut tx = catalog.begin().await.unwrap();
    let rows = [make_outbox(saga), make_outbox(saga)];
    for row in &rows {
        tx.insert_outbox(row).await.unwrap();
    }
    tx.bump_outbox_attempts(rows[1].id).await.unwrap();
    assert_eq!(tx.outbox_depth().await.unwrap(), OutboxDepth { count: 2, oldest_at: Some(NOW) });
    assert_eq!(tx.oldest_outbox(1).await.unwrap(), [rows[0].clone()]);
    tx.delete_outbox(&[rows[0].id]).await.unwrap();
    assert_eq!(tx.oldest_outbox(10).await.unwrap()[0].attempts, 1);

    let mut timer = TimerRow {
        saga_id: saga,
        step: 1,
        branch: 2,
        direction: JobDirection::Undo,
        attempt: 3,
        kind: TimerKind::Retry,
        due_at: NOW,
    };
    tx.upsert_timer(&timer).await.unwrap();
    timer.due_at = NOW.after(Duration::from_secs(1));
    tx.upsert_timer(&timer).await.unwrap();
    assert_eq!(tx.due_timers(NOW, 10).await.unwrap(), []);
    assert_eq!(tx.due_timers(timer.due_at, 10).await.unwrap(), [timer]);
    assert!(tx.delete_timer(&timer).await.unwrap());
    tx.upsert_timer(&timer).await.unwrap();
    tx.delete_timers_of_branch(timer.branch_key()).await.unwrap();
    tx.upsert_timer(&timer).await.unwrap();
    assert_eq!(tx.list_timers(saga).await.unwrap(), [timer]);
    tx.delete_timers_of_saga(saga).await.unwrap();

    let key = IntakeKeyRow {
        source: "holdfast-intake-ci".to_owned(),
        idempotency_key: "nightly".to_owned(),
        request_digest: "00".to_owned(),
        saga_id: saga,
        object_id: Entropy.uuid(),
        created_at: NOW,
    };
    assert_eq!(tx.claim_intake_key(&key).await.unwrap(), None);
    assert_eq!(tx.get_intake_key(&key.source, &key.idempotency_key).await.unwrap(), Some(key));
    assert_eq!(tx.delete_old_intake_keys(NOW).await.unwrap(), 0);
    assert_eq!(tx.delete_old_intake_keys(NOW.after(Duration::from_secs(1))).await.unwrap(), 1);
    for expected in 1..=3 {
        assert_eq!(tx.next_project_sequence(&"demo".parse().unwrap()).await.unwrap(), expected);
    }
    tx.savepoint().await.unwrap();
    tx.rollback_to_savepoint().await.unwrap();
    let ledger = tx.ledger().await.unwrap();
    assert_eq!((ledger.len(), ledger["outbox"], ledger["timer"]), (19, 1, 0));
    assert_eq!(tx.ledger_of_held().await.unwrap()["locked_workload"], 0);
    tx.commit().await.unwrap();
}

/// Two sagas stuck and one going, and two jobs that a host runs.
async fn walk_figures(catalog: &Catalog, workload: &WorkloadRow) {
    let mut tx = catalog.begin().await.unwrap();
    let ended = tx.count_ended_sagas(NOW).await.unwrap();
    assert!(ended.iter().any(|row| row.phase == "succeeded" && row.count == 1), "{ended:?}");
    assert_eq!(tx.count_ended_sagas(NOW.after(Duration::from_secs(1))).await.unwrap(), []);
    let going = make_saga(workload);
    let mut stuck = [make_saga(workload), make_saga(workload)];
    for row in &mut stuck {
        row.phase = "stuck".to_owned();
        row.error_code = Some("TARGET_FULL".to_owned());
    }
    for row in stuck.iter().chain([&going]) {
        tx.insert_saga(row).await.unwrap();
    }
    let counts = tx.count_unfinished_sagas().await.unwrap();
    let count = |phase: &str, count| SagaCount { kind: going.kind.clone(), phase: phase.to_owned(), count };
    assert_eq!(counts, [count("forward", 1), count("stuck", 2)]);
    assert_eq!(tx.list_stuck_sagas(1).await.unwrap().len(), 1);
    let listed = tx.list_stuck_sagas(10).await.unwrap();
    assert_eq!((listed.len(), listed[0].error_code.as_deref()), (2, Some("TARGET_FULL")));

    for step in 0..3_u16 {
        let mut job = make_job(going.id, step);
        job.worker = (step < 2).then(|| "host-9".parse().unwrap());
        job.state = JobState::Running;
        job.progress.bytes_done = ByteCount::gib(step.into());
        tx.upsert_job(&job).await.unwrap();
    }
    let loads = tx.sum_running_jobs().await.unwrap();
    let load = loads.iter().find(|load| load.worker.as_str() == "host-9").unwrap();
    assert_eq!((load.job_count, load.progress.bytes_done), (2, ByteCount::gib(1)));
    tx.rollback().await;
}

/// An answer that comes twice is one, and the clock of the server is near ours.
async fn walk_examination(catalog: &Catalog) {
    let (question, host) = (Entropy.uuid(), "node-1".parse().unwrap());
    let mut tx = catalog.begin().await.unwrap();
    let theirs = tx.database_time().await.unwrap();
    let off = theirs.since(SystemClock.now()).max(SystemClock.now().since(theirs));
    assert!(off < Duration::from_secs(60), "{theirs} is {off:?} off: in another time zone?");
    for answer in [b"one", b"two"] {
        tx.insert_examination_answer(question, ServiceKind::Dmapi, &host, answer).await.unwrap();
    }
    let rows = tx.list_examination_answers(question).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.answer.as_slice()).collect::<Vec<_>>(), [b"one"]);
    assert_eq!(tx.list_examination_answers(Entropy.uuid()).await.unwrap(), []);
    let later = rows[0].received_at.after(Duration::from_secs(1));
    assert_eq!(tx.forget_examination_answers(later).await.unwrap(), 1);
    tx.commit().await.unwrap();
}

async fn walk_services(catalog: &Catalog) {
    let mut sign = ServiceSign {
        kind: ServiceKind::Datamover,
        host: "host-a".parse().unwrap(),
        boot_id: "first".to_owned(),
        version: Some("1.2.3".to_owned()),
        pools: vec!["fast".parse().unwrap(), "slow".parse().unwrap()],
        capabilities: Some(vec!["examine".to_owned(), "drop_changes".to_owned()]),
    };
    let mut tx = catalog.begin().await.unwrap();
    assert!(!tx.see_service(sign.kind, &sign.host).await.unwrap(), "nobody said who it is");
    tx.upsert_service(&sign).await.unwrap();
    assert!(tx.see_service(sign.kind, &sign.host).await.unwrap());
    sign.boot_id = "second".to_owned();
    sign.pools.pop();
    tx.upsert_service(&sign).await.unwrap();
    let listed = tx.list_services().await.unwrap();
    let [row] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!(row.capabilities, sign.capabilities);
    let shown = (row.boot_id.as_str(), row.version.as_deref(), row.pools.len(), row.started_at, row.seen_at);
    assert_eq!(shown, ("second", Some("1.2.3"), 1, NOW, NOW));
    assert_eq!(tx.forget_services(NOW).await.unwrap(), 0);
    assert_eq!(tx.forget_services(NOW.after(Duration::from_secs(1))).await.unwrap(), 1);
    assert_eq!(tx.list_services().await.unwrap(), []);
    tx.commit().await.unwrap();
}

async fn walk_trusts(catalog: &Catalog) {
    let mut row = TrustRow {
        id: Entropy.uuid(),
        project_id: "acme".parse().unwrap(),
        user_id: "alice".parse().unwrap(),
        project_name: "acme (domain Default)".to_owned(),
        user_name: "alice (domain Default)".to_owned(),
        trust_id: "first".to_owned(),
        roles: vec!["creator".to_owned(), "a \"role\"".to_owned()],
        state: TrustState::Available,
        reason: None,
        created_at: NOW,
        updated_at: NOW,
    };
    let mut tx = catalog.begin().await.unwrap();
    assert!(tx.insert_trust(&row).await.unwrap());
    let rival = TrustRow { id: Entropy.uuid(), trust_id: "rival".to_owned(), ..row.clone() };
    assert!(!tx.insert_trust(&rival).await.unwrap(), "a user has one trust in a project");
    assert!(tx.update_trust_state(&row, TrustState::Error, Some("gone")).await.unwrap());
    (row.state, row.reason) = (TrustState::Error, Some("gone".to_owned()));
    assert_eq!(tx.get_trust(&row.project_id, &row.user_id).await.unwrap(), Some(row.clone()));
    let anew = TrustRow { trust_id: "second".to_owned(), ..row.clone() };
    assert!(tx.swap_trust("first", &anew).await.unwrap());
    assert!(!tx.swap_trust("first", &rival).await.unwrap(), "another one was put in its place meanwhile");
    assert!(!tx.update_trust_state(&row, TrustState::Available, None).await.unwrap());
    let filter = TrustFilter { user_id: Some(row.user_id.clone()), ..TrustFilter::default() };
    assert_eq!(tx.list_trusts(&filter).await.unwrap(), std::slice::from_ref(&anew));
    assert!(!tx.delete_trust(&row).await.unwrap());
    assert!(tx.delete_trust(&anew).await.unwrap());
    assert_eq!(tx.list_trusts(&TrustFilter::default()).await.unwrap(), []);
    tx.commit().await.unwrap();
}
