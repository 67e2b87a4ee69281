//! Sagas: the durable runs behind snapshots and restores. All of it is ours.

use model::{ProjectId, SagaId, WorkloadId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ApiTime;

/// Reply with one saga.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SagaBody {
    pub saga: Saga,
}

/// Reply to a request that only a saga answers; T4O's clients read nothing of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SagaStarted {
    pub saga_id: SagaId,
    /// What it will not remove although nothing needs it any more, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stays: Vec<String>,
}

/// Reply of `GET /sagas`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SagaList {
    pub sagas: Vec<SagaSummary>,
}

/// A row of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SagaSummary {
    pub id: SagaId,
    pub kind: String,
    /// The snapshot or restore that it makes.
    pub object_id: String,
    pub workload_id: WorkloadId,
    pub project_id: ProjectId,
    pub phase: String,
    /// The first step that still runs or waits; null at the end.
    pub step: Option<String>,
    pub error_code: Option<String>,
    pub error_msg: Option<String>,
    pub created_at: ApiTime,
    pub updated_at: ApiTime,
    pub finished_at: Option<ApiTime>,
}

/// A saga with its history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Saga {
    #[serde(flatten)]
    pub summary: SagaSummary,
    /// When it turns back, or behind its pivot is reported; null once that happened and at the end.
    pub deadline_at: Option<ApiTime>,
    /// When a stuck saga is tried again by itself.
    pub next_try_at: Option<ApiTime>,
    /// What people decided about it, in order.
    pub decisions: Vec<SagaDecision>,
    /// In order; empty when the definition is no longer known.
    pub steps: Vec<SagaStep>,
    /// Every event, in order.
    pub events: Vec<SagaEvent>,
    /// What was sent out, done or not.
    pub jobs: Vec<SagaJob>,
}

/// Who stopped or settled a saga, when and why.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SagaDecision {
    pub at: ApiTime,
    /// `cancel`, `retry`, `skip` or `abandon`.
    pub verb: String,
    pub by: String,
    /// Null for a cancel.
    pub reason: Option<String>,
    /// What an abandoned saga did not take back or do.
    pub left_behind: Vec<String>,
}

/// Body of `POST /sagas/{id}/retry`, `skip` and `abandon`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NewDecision {
    /// Kept with the saga; may not be blank.
    #[serde(default)]
    pub reason: String,
}

/// Reply of `GET /sagas/{id or kind}/graph`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SagaGraphBody {
    pub graph: SagaGraph,
}

/// A picture of a saga, or of all sagas of a kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SagaGraph {
    pub kind: String,
    pub definition_version: u32,
    /// `mermaid` or `dot`.
    pub format: String,
    pub text: String,
}

/// One step of the definition, and where it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SagaStep {
    pub name: String,
    /// `compensable`, `pivot` or `forward`.
    pub kind: String,
    pub status: String,
    pub branch_count: u64,
}

/// One event of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SagaEvent {
    pub sequence: u64,
    pub kind: String,
    pub at: ApiTime,
    pub body: Value,
}

/// One piece of remote work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SagaJob {
    pub id: String,
    pub step: String,
    pub branch: u64,
    pub direction: String,
    pub attempt: u64,
    pub state: String,
    pub worker: Option<String>,
    pub bytes_done: u64,
    pub bytes_total: u64,
}
