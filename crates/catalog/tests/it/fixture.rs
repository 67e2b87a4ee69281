//! Catalogs on both back ends, and rows with sensible values.

use std::sync::Arc;
use std::time::Duration;

use catalog::{
    Catalog, JobDirection, JobProgress, JobRow, JobState, NewLineage, OutboxRow, PartStatus, RestoreDiskRow,
    RestoreInstanceRow, RestoreKind, RestoreRow, SagaRow, SnapshotDiskRow, SnapshotInstanceRow, SnapshotRow,
    WorkloadRow,
};
use model::{
    ByteCount, DiskFormat, DiskId, InstanceId, JobId, KeepBase, LineageId, MessageId, RestoreId,
    RestoreState, SagaId, SnapshotId, SnapshotKind, SnapshotState, TargetId, Timestamp, WorkloadId,
    WorkloadState, WorkloadType,
};
use runtime::{Clock, Entropy, ManualClock};
use sandbox::MariaDb;
use uuid::Uuid;

/// The instant at which the tests' clock stands.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

/// A catalog with what it needs to live.
pub(crate) struct Fixture {
    pub(crate) catalog: Catalog,
    pub(crate) url: String,
    pub(crate) _dir: tempfile::TempDir,
    _server: Option<Arc<MariaDb>>,
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    ManualClock::starting_at(NOW)
}

pub(crate) async fn start_sqlite() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("catalog.sqlite").display());
    let catalog = Catalog::open(&url, clock()).await.unwrap();
    Fixture { catalog, url, _dir: dir, _server: None }
}

pub(crate) async fn start_mariadb() -> Fixture {
    let server = MariaDb::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    let catalog = Catalog::open(&url, clock()).await.unwrap();
    catalog.migrate().await.unwrap();
    Fixture { catalog, url, _dir: tempfile::tempdir().unwrap(), _server: Some(server) }
}

/// Both back ends, so that a test says once what is true of both.
pub(crate) async fn start_both() -> [Fixture; 2] {
    [start_sqlite().await, start_mariadb().await]
}

pub(crate) fn id<T>(wrap: fn(Uuid) -> T) -> T {
    wrap(Entropy.uuid())
}

pub(crate) fn saga_id() -> SagaId {
    id(SagaId::from_uuid)
}

pub(crate) fn make_workload() -> WorkloadRow {
    WorkloadRow {
        id: id(WorkloadId::from_uuid),
        project_id: "demo".parse().unwrap(),
        user_id: "anna".parse().unwrap(),
        name: "Müllers Rechner 🖥".to_owned(),
        description: String::new(),
        status: WorkloadState::Available,
        saga_id: None,
        target_id: id(TargetId::from_uuid),
        created_at: NOW,
        updated_at: NOW,
        error_message: None,
        keep_base: KeepBase::Never,
        allow_partial: false,
        workload_type: WorkloadType::Parallel,
    }
}

pub(crate) fn make_snapshot(workload: &WorkloadRow) -> SnapshotRow {
    SnapshotRow {
        id: id(SnapshotId::from_uuid),
        workload_id: workload.id,
        project_id: workload.project_id.clone(),
        user_id: workload.user_id.clone(),
        name: "before the upgrade".to_owned(),
        description: "it's \"quoted\"; DROP TABLE".to_owned(),
        kind: SnapshotKind::Full,
        status: SnapshotState::Creating,
        saga_id: saga_id(),
        parent_snapshot_id: None,
        consistency: None,
        pins: 0,
        size_bytes: ByteCount::gib(20),
        bytes_read: ByteCount(0),
        bytes_stored: ByteCount(0),
        progress_message: String::new(),
        error_code: None,
        error_message: None,
        warning_message: None,
        created_at: NOW,
        updated_at: NOW,
        finished_at: None,
    }
}

pub(crate) fn make_snapshot_instance(snapshot: &SnapshotRow) -> SnapshotInstanceRow {
    SnapshotInstanceRow {
        snapshot_id: snapshot.id,
        instance_id: id(InstanceId::from_uuid),
        name: "web-1".to_owned(),
        status: PartStatus::Pending,
        consistency: None,
        description_json: "{}".to_owned(),
        error_code: None,
        error_message: None,
    }
}

pub(crate) fn make_snapshot_disk(instance: &SnapshotInstanceRow, lineage_id: LineageId) -> SnapshotDiskRow {
    SnapshotDiskRow {
        snapshot_id: instance.snapshot_id,
        instance_id: instance.instance_id,
        disk_id: "vda".parse().unwrap(),
        lineage_id,
        volume_id: None,
        device: "/dev/vda".to_owned(),
        size_bytes: ByteCount::gib(20),
        format: DiskFormat::Qcow2,
        status: PartStatus::Pending,
        bytes_total: ByteCount(0),
        bytes_done: ByteCount(0),
        bytes_read: ByteCount(0),
        bytes_stored: ByteCount(0),
        duration: Duration::ZERO,
        manifest_digest: None,
        parent_snapshot_id: None,
    }
}

pub(crate) fn make_lineage(workload: &WorkloadRow, instance_id: InstanceId, disk: &str) -> NewLineage {
    NewLineage {
        id: id(LineageId::from_uuid),
        workload_id: workload.id,
        instance_id,
        disk_id: disk.parse::<DiskId>().unwrap(),
        target_id: workload.target_id,
        chunk_size_bytes: ByteCount::mib(1),
    }
}

pub(crate) fn make_restore(snapshot: &SnapshotRow) -> RestoreRow {
    RestoreRow {
        id: id(RestoreId::from_uuid),
        snapshot_id: snapshot.id,
        workload_id: snapshot.workload_id,
        project_id: snapshot.project_id.clone(),
        user_id: snapshot.user_id.clone(),
        name: "back".to_owned(),
        description: String::new(),
        kind: RestoreKind::OneClick,
        status: RestoreState::Restoring,
        saga_id: saga_id(),
        options_json: "{}".to_owned(),
        size_bytes: ByteCount(0),
        progress_message: String::new(),
        error_code: None,
        error_message: None,
        created_at: NOW,
        updated_at: NOW,
        finished_at: None,
    }
}

pub(crate) fn make_restore_instance(restore: &RestoreRow) -> RestoreInstanceRow {
    RestoreInstanceRow {
        restore_id: restore.id,
        instance_id: id(InstanceId::from_uuid),
        new_name: "web-1-back".to_owned(),
        new_instance_id: None,
        status: PartStatus::Pending,
    }
}

pub(crate) fn make_restore_disk(instance: &RestoreInstanceRow) -> RestoreDiskRow {
    RestoreDiskRow {
        restore_id: instance.restore_id,
        instance_id: instance.instance_id,
        disk_id: "vda".parse().unwrap(),
        volume_id: None,
        size_bytes: ByteCount::gib(20),
        status: PartStatus::Pending,
        bytes_total: ByteCount(0),
        bytes_done: ByteCount(0),
        bytes_read: ByteCount(0),
        bytes_written: ByteCount(0),
        duration: Duration::ZERO,
    }
}

pub(crate) fn make_saga(workload: &WorkloadRow) -> SagaRow {
    SagaRow {
        id: saga_id(),
        kind: "snapshot_create".to_owned(),
        definition_version: 1,
        object_id: Entropy.uuid(),
        workload_id: workload.id,
        project_id: workload.project_id.clone(),
        params: "{\"a\":1}".to_owned(),
        facts: "{}".to_owned(),
        state: "{}".to_owned(),
        phase: "forward".to_owned(),
        version: 0,
        error_code: None,
        error_message: None,
        created_at: NOW,
        updated_at: NOW,
        finished_at: None,
    }
}

pub(crate) fn make_job(saga_id: SagaId, step: u16) -> JobRow {
    JobRow {
        id: id(JobId::from_uuid),
        saga_id,
        step,
        branch: 0,
        direction: JobDirection::Action,
        attempt: 1,
        epoch: 0,
        state: JobState::Queued,
        worker: None,
        needs_lease: false,
        routing_key: "dmapi.transfer_disk".to_owned(),
        command_type: "holdfast.cmd.v1.TransferDisk".to_owned(),
        // Not UTF-8, and with a zero: it must come back as it went.
        command_body: vec![0, 255, 128, 39, 92, 10],
        lease_until: None,
        deadline_at: NOW.after(Duration::from_secs(3600)),
        progress: JobProgress::default(),
        updated_at: NOW,
    }
}

pub(crate) fn make_outbox(saga_id: SagaId) -> OutboxRow {
    OutboxRow {
        id: Entropy.uuid(),
        saga_id: Some(saga_id),
        message_id: id(MessageId::from_uuid),
        exchange: "holdfast.cmd".to_owned(),
        routing_key: "dmapi.transfer_disk".to_owned(),
        type_name: "holdfast.cmd.v1.TransferDisk".to_owned(),
        headers: [("holdfast-attempt".to_owned(), "1".to_owned())].into(),
        body: vec![1, 0, 2, 255],
        created_at: NOW,
        attempts: 0,
    }
}
