//! How a job ends.

use model::{ErrorClass, Failure};
use proto::rep::v1::job_succeeded::Result as Reply;

/// Why somebody stops a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The controller wants it stopped: answered with `JobCancelled`.
    Aborted,
    /// A later attempt is here, another worker holds the job, or it is being purged: its end is nobody's business.
    Superseded,
    /// The process ends. The job resumes at the next start.
    Draining,
}

/// Why a job did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    Stopped(StopReason),
    Failed {
        failure: Failure,
        /// Proven: nothing of the effect exists.
        effect_free: bool,
    },
}

/// What running a job gives.
pub type Outcome = Result<Reply, Halt>;

impl Halt {
    /// A failure that may have left something.
    #[must_use]
    pub const fn failed(failure: Failure) -> Self {
        Self::Failed { failure, effect_free: false }
    }

    /// A failure before anything was done.
    #[must_use]
    pub const fn effect_free(failure: Failure) -> Self {
        Self::Failed { failure, effect_free: true }
    }

    /// The lease ran out and nobody extended it.
    #[must_use]
    pub fn lease_lost() -> Self {
        Self::failed(Failure::new(
            ErrorClass::Fenced,
            "LEASE_LOST",
            "the lease of the job ran out and no controller extended it; another worker may be at it",
        ))
    }

    /// The same, of something that was begun all the same.
    #[must_use]
    pub fn with_effect(self) -> Self {
        match self {
            Self::Failed { failure, .. } => Self::failed(failure),
            stopped @ Self::Stopped(_) => stopped,
        }
    }

    /// Says in front of the failure's message what it happened to.
    #[must_use]
    pub fn about(self, thing: &str) -> Self {
        match self {
            Self::Stopped(reason) => Self::Stopped(reason),
            Self::Failed { failure, effect_free } => {
                let message = format!("{thing}: {}", failure.message);
                Self::Failed { failure: Failure { message, ..failure }, effect_free }
            }
        }
    }
}
