//! Counts for those who watch over the whole. Each reads little, however old the catalog is: what ended long ago is not
//! counted.

use model::{HostName, ProjectId, SagaId, Timestamp};

use crate::error::Result;
use crate::job::JobProgress;
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};

/// How many sagas of a kind are in a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SagaCount {
    pub kind: String,
    pub phase: String,
    pub count: u64,
}

/// A saga that waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckSaga {
    pub id: SagaId,
    pub kind: String,
    pub project_id: ProjectId,
    pub error_code: Option<String>,
    pub updated_at: Timestamp,
}

/// The jobs that a worker runs under a lease, and how far they are together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerLoad {
    pub worker: HostName,
    pub job_count: u64,
    pub progress: JobProgress,
}

statements! {
    COUNT_UNFINISHED_SAGAS = "SELECT kind, phase, COUNT(*) AS count FROM saga WHERE finished_at IS NULL GROUP BY kind, phase ORDER BY kind, phase";
    COUNT_ENDED_SAGAS = "SELECT kind, phase, COUNT(*) AS count FROM saga WHERE finished_at >= ? GROUP BY kind, phase ORDER BY kind, phase";
    LIST_STUCK_SAGAS = "SELECT id, kind, project_id, error_code, updated_at FROM saga WHERE finished_at IS NULL AND phase = 'stuck' ORDER BY updated_at, id LIMIT ?";
    // A sum is a DECIMAL on MariaDB unless it is cast.
    SUM_RUNNING_JOBS = "SELECT worker, COUNT(*) AS count, CAST(SUM(bytes_total) AS SIGNED) AS bytes_total, CAST(SUM(bytes_done) AS SIGNED) AS bytes_done, CAST(SUM(bytes_read) AS SIGNED) AS bytes_read, CAST(SUM(bytes_stored) AS SIGNED) AS bytes_stored FROM job WHERE state = 'running' AND worker IS NOT NULL GROUP BY worker ORDER BY worker";
}

impl Tx {
    /// Those that run or are stuck. Shape: by kind and phase.
    pub async fn count_unfinished_sagas(&mut self) -> Result<Vec<SagaCount>> {
        self.fetch_all(&COUNT_UNFINISHED_SAGAS, values![]).await?.iter().map(SagaCount::read).collect()
    }

    /// Those that ended at `since` or later. Shape: by kind and phase.
    pub async fn count_ended_sagas(&mut self, since: Timestamp) -> Result<Vec<SagaCount>> {
        self.fetch_all(&COUNT_ENDED_SAGAS, values![since]).await?.iter().map(SagaCount::read).collect()
    }

    /// Shape: the longest stuck first.
    pub async fn list_stuck_sagas(&mut self, limit: u32) -> Result<Vec<StuckSaga>> {
        self.fetch_all(&LIST_STUCK_SAGAS, values![limit]).await?.iter().map(StuckSaga::read).collect()
    }

    /// Shape: by worker.
    pub async fn sum_running_jobs(&mut self) -> Result<Vec<WorkerLoad>> {
        self.fetch_all(&SUM_RUNNING_JOBS, values![]).await?.iter().map(WorkerLoad::read).collect()
    }
}

impl SagaCount {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self { kind: row.text("kind")?, phase: row.text("phase")?, count: row.number("count")? })
    }
}

impl StuckSaga {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.parse("id")?,
            kind: row.text("kind")?,
            project_id: row.parse("project_id")?,
            error_code: row.text_opt("error_code")?,
            updated_at: row.time("updated_at")?,
        })
    }
}

impl WorkerLoad {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            worker: row.parse("worker")?,
            job_count: row.number("count")?,
            progress: JobProgress::read(row)?,
        })
    }
}
