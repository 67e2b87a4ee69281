//! Restores: bringings back of a snapshot.

use model::{
    ByteCount, ProjectId, RestoreEvent, RestoreId, RestoreState, SagaId, SnapshotId, Timestamp, UserId,
    WorkloadId,
};

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};
use crate::words::RestoreKind;
use crate::workload::limit;

/// One row of `restore`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreRow {
    pub id: RestoreId,
    pub snapshot_id: SnapshotId,
    pub workload_id: WorkloadId,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub name: String,
    pub description: String,
    pub kind: RestoreKind,
    pub status: RestoreState,
    pub saga_id: SagaId,
    /// What the user asked for.
    pub options_json: String,
    pub size_bytes: ByteCount,
    pub progress_message: String,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// What `list_restores` gives; `None` is any.
#[derive(Debug, Clone, Default)]
pub struct RestoreFilter {
    pub project_id: Option<ProjectId>,
    pub workload_id: Option<WorkloadId>,
    pub snapshot_id: Option<SnapshotId>,
    pub status: Option<RestoreState>,
    pub limit: Option<u32>,
}

statements! {
    INSERT_RESTORE = "INSERT INTO restore (id, snapshot_id, workload_id, project_id, user_id, name, description, kind, status, saga_id, options_json, size_bytes, progress_message, error_code, error_message, created_at, updated_at, finished_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    GET_RESTORE = "SELECT id, snapshot_id, workload_id, project_id, user_id, name, description, kind, status, saga_id, options_json, size_bytes, progress_message, error_code, error_message, created_at, updated_at, finished_at FROM restore WHERE id = ?";
    LIST_RESTORES = "SELECT id, snapshot_id, workload_id, project_id, user_id, name, description, kind, status, saga_id, options_json, size_bytes, progress_message, error_code, error_message, created_at, updated_at, finished_at FROM restore WHERE (? IS NULL OR project_id = ?) AND (? IS NULL OR workload_id = ?) AND (? IS NULL OR snapshot_id = ?) AND (? IS NULL OR status = ?) ORDER BY created_at DESC, id DESC LIMIT ?";
    UPDATE_RESTORE = "UPDATE restore SET name = ?, description = ?, size_bytes = ?, progress_message = ?, error_code = ?, error_message = ?, updated_at = ?, finished_at = ? WHERE id = ?";
    UPDATE_RESTORE_STATUS = "UPDATE restore SET status = ?, updated_at = ? WHERE id = ? AND status = ?";
    UPDATE_RESTORE_PROGRESS = "UPDATE restore SET progress_message = ?, updated_at = ? WHERE id = ?";
    DELETE_RESTORE = "DELETE FROM restore WHERE id = ? AND status <> 'restoring'";
}

impl Tx {
    pub async fn insert_restore(&mut self, row: &RestoreRow) -> Result<()> {
        let values = values![
            row.id,
            row.snapshot_id,
            row.workload_id,
            &row.project_id,
            &row.user_id,
            &row.name,
            &row.description,
            row.kind,
            row.status,
            row.saga_id,
            &row.options_json,
            row.size_bytes,
            &row.progress_message,
            row.error_code.as_deref(),
            row.error_message.as_deref(),
            row.created_at,
            row.updated_at,
            row.finished_at,
        ];
        self.execute(&INSERT_RESTORE, values).await.map(drop)
    }

    pub async fn get_restore(&mut self, id: RestoreId) -> Result<Option<RestoreRow>> {
        self.fetch_optional(&GET_RESTORE, values![id]).await?.map(|row| RestoreRow::read(&row)).transpose()
    }

    /// Shape: newest first.
    pub async fn list_restores(&mut self, filter: &RestoreFilter) -> Result<Vec<RestoreRow>> {
        let (project, workload) = (filter.project_id.as_ref(), filter.workload_id);
        let (snapshot, status) = (filter.snapshot_id, filter.status);
        let values = values![
            project,
            project,
            workload,
            workload,
            snapshot,
            snapshot,
            status,
            status,
            limit(filter.limit),
        ];
        self.fetch_all(&LIST_RESTORES, values).await?.iter().map(RestoreRow::read).collect()
    }

    /// Writes what a saga learned about its restore: `name`, `description`, `size_bytes`, the messages and
    /// `finished_at`. `updated_at` becomes now.
    pub async fn update_restore(&mut self, row: &RestoreRow) -> Result<()> {
        let now = self.now();
        let values = values![
            &row.name,
            &row.description,
            row.size_bytes,
            &row.progress_message,
            row.error_code.as_deref(),
            row.error_message.as_deref(),
            now,
            row.finished_at,
            row.id,
        ];
        self.swap(&UPDATE_RESTORE, values).await.and_then(|found| require_restore(found, row.id))
    }

    /// Writes how far it is.
    pub async fn update_restore_progress(&mut self, id: RestoreId, message: &str) -> Result<()> {
        let values = values![message, self.now(), id];
        self.swap(&UPDATE_RESTORE_PROGRESS, values).await.and_then(|found| require_restore(found, id))
    }

    /// Takes the restore through its state machine; gives the state after.
    ///
    /// Errors: `IllegalTransition`, `Conflict` when somebody else was faster.
    pub async fn apply_restore_event(&mut self, id: RestoreId, event: RestoreEvent) -> Result<RestoreState> {
        let row = self.get_restore(id).await?;
        let row = row.ok_or_else(|| Error::NotFound { noun: "restore", id: id.to_string() })?;
        let status = row.status.next(event)?;
        match self.swap(&UPDATE_RESTORE_STATUS, values![status, self.now(), id, row.status]).await? {
            true => Ok(status),
            false => Err(Error::Conflict { what: format!("restore {id}"), retryable: true }),
        }
    }

    /// Forgets a restore that has ended, with its parts; what it made in the cloud stays. Whether there was one.
    pub async fn delete_restore(&mut self, id: RestoreId) -> Result<bool> {
        self.delete_restore_parts(id).await?;
        self.swap(&DELETE_RESTORE, values![id]).await
    }
}

impl RestoreRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.parse("id")?,
            snapshot_id: row.parse("snapshot_id")?,
            workload_id: row.parse("workload_id")?,
            project_id: row.parse("project_id")?,
            user_id: row.parse("user_id")?,
            name: row.text("name")?,
            description: row.text("description")?,
            kind: row.parse("kind")?,
            status: row.parse("status")?,
            saga_id: row.parse("saga_id")?,
            options_json: row.text("options_json")?,
            size_bytes: row.bytes("size_bytes")?,
            progress_message: row.text("progress_message")?,
            error_code: row.text_opt("error_code")?,
            error_message: row.text_opt("error_message")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            finished_at: row.time_opt("finished_at")?,
        })
    }
}

fn require_restore(found: bool, id: RestoreId) -> Result<()> {
    if found { Ok(()) } else { Err(Error::NotFound { noun: "restore", id: id.to_string() }) }
}
