//! The state of the whole, for those who watch over it. All of it is ours. A figure that is not known is null, never 0.

use model::{HostName, PoolName, ProjectId, SagaId};
use serde::{Deserialize, Serialize};

use crate::ApiTime;

/// Reply of `GET /status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusBody {
    pub status: Status,
}

/// What a controller knows of services, queues and jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// When the figures were gathered: some seconds ago. What the controller cannot reach any more stays out.
    pub gathered_at: ApiTime,
    /// Who tells.
    pub controller: HostName,
    pub version: String,
    /// What a human should look at, one sentence each; empty when all is well.
    pub problems: Vec<String>,
    pub catalog: PartState,
    /// The controller's own session with the broker.
    pub broker: PartState,
    /// The broker's management API, from which the figures of queues come.
    pub broker_management: PartState,
    /// By kind and host; null without the catalog, as are `hosts`, `sagas` and `outbox`.
    pub services: Option<Vec<ServiceStatus>>,
    /// By name: those whose datamover was heard of.
    pub hosts: Option<Vec<HostStatus>>,
    pub sagas: Option<SagaFigures>,
    pub outbox: Option<OutboxFigures>,
    /// By name; null without the management API, as is `dead_letters`.
    pub queues: Option<Vec<QueueFigures>>,
    pub dead_letters: Option<Vec<DeadLetterFigures>>,
}

/// Whether something that the controller needs answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartState {
    pub state: Reach,
    /// Why not.
    pub reason: Option<String>,
}

/// How far something is within reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    Ok,
    Unreachable,
    /// It answers, and does not let us in.
    Refused,
    NotConfigured,
}

/// Whether a service gives signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifeState {
    Up,
    /// Not heard of for as long as makes a job's lease lapse.
    Silent,
}

/// A service, by its signs of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// `controller`, `dmapi` or `datamover`.
    pub service: String,
    pub host: HostName,
    pub state: LifeState,
    pub version: Option<String>,
    pub started_at: ApiTime,
    pub seen_at: ApiTime,
    /// From the last sign of life to `gathered_at`.
    pub silent_seconds: u64,
}

/// A compute host, and what its datamover does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    pub host: HostName,
    pub state: LifeState,
    pub silent_seconds: u64,
    pub version: Option<String>,
    pub pools: Vec<PoolName>,
    /// Under a lease now, and how far they are together.
    pub jobs_running: u64,
    pub bytes_total: u64,
    pub bytes_done: u64,
    pub bytes_read: u64,
    pub bytes_stored: u64,
}

/// Sagas by phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaFigures {
    /// Those that did not end: `forward`, `backward` or `stuck`.
    pub unfinished: Vec<SagaCount>,
    /// Those that ended within a day: `succeeded`, `compensated` or `abandoned`.
    pub ended_last_day: Vec<SagaCount>,
    /// The longest stuck first; at most 20.
    pub stuck: Vec<StuckSaga>,
}

/// How many sagas of a kind are in a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaCount {
    pub kind: String,
    pub phase: String,
    pub count: u64,
}

/// A saga that waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckSaga {
    pub id: SagaId,
    pub kind: String,
    pub project_id: ProjectId,
    pub error_code: Option<String>,
    pub since: ApiTime,
}

/// What waits in the catalog to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxFigures {
    pub depth: u64,
    /// The age of the oldest message; null when there is none.
    pub oldest_seconds: Option<u64>,
}

/// A queue, as the broker counts it every few seconds. Null: not counted yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueFigures {
    pub name: String,
    /// Ready for a consumer.
    pub depth: Option<u64>,
    /// With a consumer, which has not settled them.
    pub unacked: Option<u64>,
    pub consumers: Option<u64>,
}

/// Dead letters of a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterFigures {
    /// Whose work it was: `intake`, `ctrl`, `dmapi` or `mover`.
    pub class: String,
    pub count: Option<u64>,
}

impl PartState {
    /// It answers.
    #[must_use]
    pub const fn ok() -> Self {
        Self { state: Reach::Ok, reason: None }
    }

    /// It does not.
    #[must_use]
    pub const fn not(state: Reach, reason: String) -> Self {
        Self { state, reason: Some(reason) }
    }

    /// Whether it answers.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.state == Reach::Ok
    }
}

impl SagaFigures {
    /// Those that wait for an operator.
    #[must_use]
    pub fn stuck_count(&self) -> u64 {
        self.unfinished.iter().filter(|row| row.phase == "stuck").map(|row| row.count).sum()
    }
}

impl Reach {
    /// The words for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::NotConfigured => "not configured",
        }
    }
}

impl LifeState {
    /// The word in bodies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Silent => "silent",
        }
    }
}
