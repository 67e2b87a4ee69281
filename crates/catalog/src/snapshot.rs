//! Snapshots: our points in time of workloads.

use model::{
    ByteCount, Consistency, ProjectId, SagaId, SnapshotEvent, SnapshotId, SnapshotKind, SnapshotState,
    Timestamp, UserId, WorkloadId,
};

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};
use crate::workload::limit;

/// One row of `snapshot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    pub id: SnapshotId,
    pub workload_id: WorkloadId,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub name: String,
    pub description: String,
    pub kind: SnapshotKind,
    pub status: SnapshotState,
    pub saga_id: SagaId,
    pub parent_snapshot_id: Option<SnapshotId>,
    pub consistency: Option<Consistency>,
    /// How many jobs read it: it cannot be deleted meanwhile.
    pub pins: u32,
    pub size_bytes: ByteCount,
    pub bytes_read: ByteCount,
    pub bytes_stored: ByteCount,
    pub progress_message: String,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    /// What a user should know of it although it is available.
    pub warning_message: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// What `list_snapshots` gives; `None` is any.
#[derive(Debug, Clone, Default)]
pub struct SnapshotFilter {
    pub project_id: Option<ProjectId>,
    pub workload_id: Option<WorkloadId>,
    /// `None`: all but the deleted.
    pub status: Option<SnapshotState>,
    pub limit: Option<u32>,
}

statements! {
    INSERT_SNAPSHOT = "INSERT INTO snapshot (id, workload_id, project_id, user_id, name, description, kind, status, saga_id, parent_snapshot_id, consistency, pins, size_bytes, bytes_read, bytes_stored, progress_message, error_code, error_message, warning_message, created_at, updated_at, finished_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    GET_SNAPSHOT = "SELECT id, workload_id, project_id, user_id, name, description, kind, status, saga_id, parent_snapshot_id, consistency, pins, size_bytes, bytes_read, bytes_stored, progress_message, error_code, error_message, warning_message, created_at, updated_at, finished_at FROM snapshot WHERE id = ?";
    LIST_SNAPSHOTS = "SELECT id, workload_id, project_id, user_id, name, description, kind, status, saga_id, parent_snapshot_id, consistency, pins, size_bytes, bytes_read, bytes_stored, progress_message, error_code, error_message, warning_message, created_at, updated_at, finished_at FROM snapshot WHERE (? IS NULL OR project_id = ?) AND (? IS NULL OR workload_id = ?) AND ((? IS NULL AND status <> 'deleted') OR status = ?) ORDER BY created_at DESC, id DESC LIMIT ?";
    UPDATE_SNAPSHOT = "UPDATE snapshot SET name = ?, description = ?, kind = ?, parent_snapshot_id = ?, consistency = ?, size_bytes = ?, bytes_read = ?, bytes_stored = ?, progress_message = ?, error_code = ?, error_message = ?, warning_message = ?, updated_at = ?, finished_at = ? WHERE id = ?";
    UPDATE_SNAPSHOT_STATUS = "UPDATE snapshot SET status = ?, updated_at = ? WHERE id = ? AND status = ? AND pins = ?";
    UPDATE_SNAPSHOT_PINS = "UPDATE snapshot SET pins = ?, updated_at = ? WHERE id = ? AND status = ? AND pins = ?";
    UPDATE_SNAPSHOT_PROGRESS = "UPDATE snapshot SET progress_message = ?, bytes_read = ?, bytes_stored = ?, updated_at = ? WHERE id = ?";
}

impl Tx {
    pub async fn insert_snapshot(&mut self, row: &SnapshotRow) -> Result<()> {
        let values = values![
            row.id,
            row.workload_id,
            &row.project_id,
            &row.user_id,
            &row.name,
            &row.description,
            row.kind,
            row.status,
            row.saga_id,
            row.parent_snapshot_id,
            row.consistency,
            row.pins,
            row.size_bytes,
            row.bytes_read,
            row.bytes_stored,
            &row.progress_message,
            row.error_code.as_deref(),
            row.error_message.as_deref(),
            row.warning_message.as_deref(),
            row.created_at,
            row.updated_at,
            row.finished_at,
        ];
        self.execute(&INSERT_SNAPSHOT, values).await.map(drop)
    }

    pub async fn get_snapshot(&mut self, id: SnapshotId) -> Result<Option<SnapshotRow>> {
        self.fetch_optional(&GET_SNAPSHOT, values![id]).await?.map(|row| SnapshotRow::read(&row)).transpose()
    }

    /// Shape: newest first.
    pub async fn list_snapshots(&mut self, filter: &SnapshotFilter) -> Result<Vec<SnapshotRow>> {
        let (project, workload, status) = (filter.project_id.as_ref(), filter.workload_id, filter.status);
        let values = values![project, project, workload, workload, status, status, limit(filter.limit)];
        self.fetch_all(&LIST_SNAPSHOTS, values).await?.iter().map(SnapshotRow::read).collect()
    }

    /// Writes what a saga learned about its snapshot: all but the identity, `status`, `pins` and `created_at`.
    /// `updated_at` becomes now.
    pub async fn update_snapshot(&mut self, row: &SnapshotRow) -> Result<()> {
        let now = self.now();
        let values = values![
            &row.name,
            &row.description,
            row.kind,
            row.parent_snapshot_id,
            row.consistency,
            row.size_bytes,
            row.bytes_read,
            row.bytes_stored,
            &row.progress_message,
            row.error_code.as_deref(),
            row.error_message.as_deref(),
            row.warning_message.as_deref(),
            now,
            row.finished_at,
            row.id,
        ];
        self.swap(&UPDATE_SNAPSHOT, values).await.and_then(|found| require_snapshot(found, row.id))
    }

    /// Writes how far it is.
    pub async fn update_snapshot_progress(
        &mut self,
        id: SnapshotId,
        message: &str,
        bytes_read: ByteCount,
        bytes_stored: ByteCount,
    ) -> Result<()> {
        let values = values![message, bytes_read, bytes_stored, self.now(), id];
        self.swap(&UPDATE_SNAPSHOT_PROGRESS, values).await.and_then(|found| require_snapshot(found, id))
    }

    /// Takes the snapshot through its state machine; gives the state after.
    ///
    /// Errors: `IllegalTransition`, `Pinned` for a delete while something reads it, `Conflict` when somebody was faster.
    pub async fn apply_snapshot_event(
        &mut self,
        id: SnapshotId,
        event: SnapshotEvent,
    ) -> Result<SnapshotState> {
        let row = self.require_snapshot(id).await?;
        let status = row.status.next(event)?;
        if event == SnapshotEvent::Delete && row.pins > 0 {
            return Err(Error::Pinned { id, pins: row.pins });
        }
        let values = values![status, self.now(), id, row.status, row.pins];
        self.swap(&UPDATE_SNAPSHOT_STATUS, values).await.and_then(|won| require_won(won, id))?;
        Ok(status)
    }

    /// Counts one more reader; gives how many there are now. The status stays: see [`SnapshotEvent::Pin`] for restores.
    ///
    /// Errors: `IllegalTransition` unless it is available (or being restored).
    pub async fn pin_snapshot(&mut self, id: SnapshotId) -> Result<u32> {
        let row = self.require_snapshot(id).await?;
        row.status.next(SnapshotEvent::Pin)?;
        self.swap_pins(&row, row.pins.saturating_add(1)).await
    }

    /// Counts one reader less; gives how many remain.
    pub async fn unpin_snapshot(&mut self, id: SnapshotId) -> Result<u32> {
        let row = self.require_snapshot(id).await?;
        self.swap_pins(&row, row.pins.saturating_sub(1)).await
    }

    async fn swap_pins(&mut self, row: &SnapshotRow, pins: u32) -> Result<u32> {
        let values = values![pins, self.now(), row.id, row.status, row.pins];
        self.swap(&UPDATE_SNAPSHOT_PINS, values).await.and_then(|won| require_won(won, row.id))?;
        Ok(pins)
    }

    async fn require_snapshot(&mut self, id: SnapshotId) -> Result<SnapshotRow> {
        self.get_snapshot(id).await?.ok_or_else(|| Error::NotFound { noun: "snapshot", id: id.to_string() })
    }
}

impl SnapshotRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.parse("id")?,
            workload_id: row.parse("workload_id")?,
            project_id: row.parse("project_id")?,
            user_id: row.parse("user_id")?,
            name: row.text("name")?,
            description: row.text("description")?,
            kind: row.parse("kind")?,
            status: row.parse("status")?,
            saga_id: row.parse("saga_id")?,
            parent_snapshot_id: row.parse_opt("parent_snapshot_id")?,
            consistency: row.parse_opt("consistency")?,
            pins: row.number("pins")?,
            size_bytes: row.bytes("size_bytes")?,
            bytes_read: row.bytes("bytes_read")?,
            bytes_stored: row.bytes("bytes_stored")?,
            progress_message: row.text("progress_message")?,
            error_code: row.text_opt("error_code")?,
            error_message: row.text_opt("error_message")?,
            warning_message: row.text_opt("warning_message")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            finished_at: row.time_opt("finished_at")?,
        })
    }
}

fn require_snapshot(found: bool, id: SnapshotId) -> Result<()> {
    if found { Ok(()) } else { Err(Error::NotFound { noun: "snapshot", id: id.to_string() }) }
}

fn require_won(won: bool, id: SnapshotId) -> Result<()> {
    if won { Ok(()) } else { Err(Error::Conflict { what: format!("snapshot {id}"), retryable: true }) }
}
