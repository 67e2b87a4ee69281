//! The shapes of the journal's files.

use std::time::Duration;

use model::{ByteCount, ErrorClass, Failure, InstanceId, JobId, MessageId, SagaId, Timestamp};
use serde::{Deserialize, Serialize};

/// One job, as its file says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    pub job_id: JobId,
    pub saga_id: SagaId,
    pub attempt: u32,
    /// Of the lease, as last granted.
    pub epoch: u64,
    /// Full proto name.
    pub command_type: String,
    /// The command's bytes, as they came.
    #[serde(with = "hex")]
    pub command: Vec<u8>,
    /// Handed on to replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    pub phase: Phase,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Ours; a job under a lease waits for its grant.
    Accepted,
    /// Begun; what of it is durable, its own journal knows.
    Running,
    /// Ended; the result is kept until somebody acknowledges it.
    Finished {
        /// Full proto name of the result.
        result_type: String,
        #[serde(with = "hex")]
        result: Vec<u8>,
        /// The same each time it is sent.
        message_id: MessageId,
    },
    /// Acknowledged; kept for a while, so that a late copy of the command starts nothing.
    Settled { at: Timestamp },
}

/// A command that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub job_id: JobId,
    pub saga_id: SagaId,
    pub attempt: u32,
    pub epoch: u64,
    pub command_type: String,
    pub command: Vec<u8>,
    pub traceparent: Option<String>,
}

/// What there is of a job that did not come to its end, or of whose end nobody was told yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalLeftover {
    pub job_id: JobId,
    /// Absent: of the job nothing is known but its transfer's journal.
    pub saga_id: Option<SagaId>,
    /// For people.
    pub what: String,
    /// Since it was written last.
    pub age: Duration,
    pub size: ByteCount,
}

/// No attempt up to `attempt_max` may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bar {
    pub(super) job_id: JobId,
    pub(super) attempt_max: u32,
}

/// A guest that may be frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FrozenGuest {
    pub(super) instance_id: InstanceId,
    pub(super) job_id: JobId,
}

impl JobRecord {
    /// Whether it ran to its end.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished { .. } | Phase::Settled { .. })
    }
}

impl From<NewJob> for JobRecord {
    fn from(job: NewJob) -> Self {
        Self {
            job_id: job.job_id,
            saga_id: job.saga_id,
            attempt: job.attempt,
            epoch: job.epoch,
            command_type: job.command_type,
            command: job.command,
            traceparent: job.traceparent,
            phase: Phase::Accepted,
        }
    }
}

impl super::Error {
    /// As operators see it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let message = service_kit::telemetry::Chain(self).to_string();
        match self {
            Self::InUse { .. } => Failure::permanent("STATE_DIR_IN_USE", message),
            Self::Io { .. } => Failure::new(ErrorClass::Transient, "STATE_DIR_IO", message),
        }
    }
}

/// Bytes as hexadecimal text.
mod hex {
    use std::fmt::Write as _;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !text.is_ascii() || text.len() % 2 != 0 {
            return Err(D::Error::custom("expected pairs of hexadecimal digits"));
        }
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(D::Error::custom))
            .collect()
    }
}
