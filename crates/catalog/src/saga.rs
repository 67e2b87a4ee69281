//! Sagas and their event log. The row's version is the fence: whoever writes compares it, so any controller may try.

use model::{ProjectId, SagaId, Timestamp, WorkloadId};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};
use crate::workload::limit;

/// One row of `saga`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SagaRow {
    pub id: SagaId,
    pub kind: String,
    pub definition_version: u32,
    /// The snapshot, restore or workload it works for.
    pub object_id: Uuid,
    pub workload_id: WorkloadId,
    pub project_id: ProjectId,
    /// JSON, as are `facts` and `state`.
    pub params: String,
    pub facts: String,
    pub state: String,
    pub phase: String,
    /// How often the row was written.
    pub version: u64,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Empty while it runs or is stuck.
    pub finished_at: Option<Timestamp>,
}

/// One row of `saga_event`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SagaEventRow {
    pub saga_id: SagaId,
    /// From 1, without gaps.
    pub sequence: u64,
    pub kind: String,
    /// JSON.
    pub body: String,
    pub at: Timestamp,
}

/// What `list_sagas` gives; `None` is any.
#[derive(Debug, Clone, Default)]
pub struct SagaFilter {
    pub project_id: Option<ProjectId>,
    pub workload_id: Option<WorkloadId>,
    pub object_id: Option<Uuid>,
    pub phase: Option<String>,
    pub limit: Option<u32>,
}

statements! {
    INSERT_SAGA = "INSERT INTO saga (id, kind, definition_version, object_id, workload_id, project_id, params, facts, state, phase, version, error_code, error_message, created_at, updated_at, finished_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    GET_SAGA = "SELECT id, kind, definition_version, object_id, workload_id, project_id, params, facts, state, phase, version, error_code, error_message, created_at, updated_at, finished_at FROM saga WHERE id = ?";
    LIST_SAGAS = "SELECT id, kind, definition_version, object_id, workload_id, project_id, params, facts, state, phase, version, error_code, error_message, created_at, updated_at, finished_at FROM saga WHERE (? IS NULL OR project_id = ?) AND (? IS NULL OR workload_id = ?) AND (? IS NULL OR object_id = ?) AND (? IS NULL OR phase = ?) ORDER BY created_at DESC, id DESC LIMIT ?";
    LIST_UNFINISHED_SAGAS = "SELECT id, kind, definition_version, object_id, workload_id, project_id, params, facts, state, phase, version, error_code, error_message, created_at, updated_at, finished_at FROM saga WHERE finished_at IS NULL ORDER BY created_at, id";
    UPDATE_SAGA = "UPDATE saga SET facts = COALESCE(?, facts), state = ?, phase = ?, version = ?, error_code = ?, error_message = ?, updated_at = ?, finished_at = ? WHERE id = ? AND version = ?";
    INSERT_SAGA_EVENT = "INSERT INTO saga_event (saga_id, sequence, kind, body, at) VALUES (?, ?, ?, ?, ?)";
    LIST_SAGA_EVENTS = "SELECT saga_id, sequence, kind, body, at FROM saga_event WHERE saga_id = ? ORDER BY sequence";
    GET_LAST_SAGA_EVENT = "SELECT MAX(sequence) AS sequence FROM saga_event WHERE saga_id = ?";
}

impl Tx {
    pub async fn insert_saga(&mut self, row: &SagaRow) -> Result<()> {
        let values = values![
            row.id,
            &row.kind,
            row.definition_version,
            row.object_id,
            row.workload_id,
            &row.project_id,
            &row.params,
            &row.facts,
            &row.state,
            &row.phase,
            row.version,
            row.error_code.as_deref(),
            row.error_message.as_deref(),
            row.created_at,
            row.updated_at,
            row.finished_at,
        ];
        self.execute(&INSERT_SAGA, values).await.map(drop)
    }

    pub async fn get_saga(&mut self, id: SagaId) -> Result<Option<SagaRow>> {
        self.fetch_optional(&GET_SAGA, values![id]).await?.map(|row| SagaRow::read(&row)).transpose()
    }

    /// Shape: newest first.
    pub async fn list_sagas(&mut self, filter: &SagaFilter) -> Result<Vec<SagaRow>> {
        let (project, workload) = (filter.project_id.as_ref(), filter.workload_id);
        let (object, phase) = (filter.object_id, filter.phase.as_deref());
        let values =
            values![project, project, workload, workload, object, object, phase, phase, limit(filter.limit),];
        self.fetch_all(&LIST_SAGAS, values).await?.iter().map(SagaRow::read).collect()
    }

    /// Those that run or are stuck. Shape: oldest first.
    pub async fn unfinished_sagas(&mut self) -> Result<Vec<SagaRow>> {
        self.fetch_all(&LIST_UNFINISHED_SAGAS, values![]).await?.iter().map(SagaRow::read).collect()
    }

    /// Writes `facts`, `state`, `phase`, the error and `finished_at` if the version is still `expected_version`; gives
    /// the new version. `updated_at` becomes now.
    ///
    /// Errors: `Conflict` when the row has another version: load it and decide again.
    pub async fn update_saga(&mut self, row: &SagaRow, expected_version: u64) -> Result<u64> {
        self.write_saga(row, Some(&row.facts), expected_version).await
    }

    /// The same, where `facts` are as they were: they may be long.
    ///
    /// Errors: as `update_saga`.
    pub async fn update_saga_but_facts(&mut self, row: &SagaRow, expected_version: u64) -> Result<u64> {
        self.write_saga(row, None, expected_version).await
    }

    async fn write_saga(&mut self, row: &SagaRow, facts: Option<&str>, expected_version: u64) -> Result<u64> {
        let version = expected_version + 1;
        let now = self.now();
        let values = values![
            facts,
            &row.state,
            &row.phase,
            version,
            row.error_code.as_deref(),
            row.error_message.as_deref(),
            now,
            row.finished_at,
            row.id,
            expected_version,
        ];
        match self.swap(&UPDATE_SAGA, values).await? {
            true => Ok(version),
            false => Err(Error::Conflict { what: format!("saga {}", row.id), retryable: false }),
        }
    }

    /// Errors: `Duplicate` when the saga has an event of that sequence.
    pub async fn insert_saga_event(&mut self, row: &SagaEventRow) -> Result<()> {
        let values = values![row.saga_id, row.sequence, &row.kind, &row.body, row.at];
        self.execute(&INSERT_SAGA_EVENT, values).await.map(drop)
    }

    /// Shape: in the order of their sequence.
    pub async fn list_saga_events(&mut self, id: SagaId) -> Result<Vec<SagaEventRow>> {
        let rows = self.fetch_all(&LIST_SAGA_EVENTS, values![id]).await?;
        rows.iter().map(SagaEventRow::read).collect()
    }

    /// The sequence of the saga's last event; 0 when it has none.
    pub async fn last_saga_event_sequence(&mut self, id: SagaId) -> Result<u64> {
        let row = self.fetch_optional(&GET_LAST_SAGA_EVENT, values![id]).await?;
        let sequence = row.map(|row| row.int_opt("sequence")).transpose()?.flatten();
        Ok(sequence.and_then(|sequence| u64::try_from(sequence).ok()).unwrap_or(0))
    }
}

impl SagaRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.parse("id")?,
            kind: row.text("kind")?,
            definition_version: row.number("definition_version")?,
            object_id: row.parse("object_id")?,
            workload_id: row.parse("workload_id")?,
            project_id: row.parse("project_id")?,
            params: row.text("params")?,
            facts: row.text("facts")?,
            state: row.text("state")?,
            phase: row.text("phase")?,
            version: row.number("version")?,
            error_code: row.text_opt("error_code")?,
            error_message: row.text_opt("error_message")?,
            created_at: row.time("created_at")?,
            updated_at: row.time("updated_at")?,
            finished_at: row.time_opt("finished_at")?,
        })
    }
}

impl SagaEventRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            saga_id: row.parse("saga_id")?,
            sequence: row.number("sequence")?,
            kind: row.text("kind")?,
            body: row.text("body")?,
            at: row.time("at")?,
        })
    }
}
