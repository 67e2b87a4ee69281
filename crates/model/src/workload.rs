//! A workload: instances protected together.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::IllegalTransition;
use crate::InvalidState;

/// Whether the newest snapshot's points in time stay in the storage, so that it can list what changed since.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepBase {
    /// Where the storage can.
    #[default]
    Auto,
    /// Users want to delete their volumes at any time; changed disks are read whole.
    Never,
}

impl KeepBase {
    /// The word in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Never => "never",
        }
    }
}

impl FromStr for KeepBase {
    type Err = InvalidState;
    fn from_str(text: &str) -> Result<Self, InvalidState> {
        match text {
            "auto" => Ok(Self::Auto),
            "never" => Ok(Self::Never),
            _ => Err(InvalidState { noun: "choice of keep_base", text: text.to_owned() }),
        }
    }
}

/// Whether a snapshot takes the instances of a workload at once or one by one. The words are those of T4O.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadType {
    /// All are frozen, cut and transferred together.
    #[default]
    Parallel,
    /// Each is frozen, cut and transferred when the one before it is done.
    Serial,
}

impl WorkloadType {
    /// The word in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Parallel => "parallel",
            Self::Serial => "serial",
        }
    }
}

impl FromStr for WorkloadType {
    type Err = InvalidState;
    fn from_str(text: &str) -> Result<Self, InvalidState> {
        match text {
            "parallel" => Ok(Self::Parallel),
            "serial" => Ok(Self::Serial),
            _ => Err(InvalidState { noun: "workload type", text: text.to_owned() }),
        }
    }
}

/// Where a workload stands. The words are those of T4O's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadState {
    /// Free for a job.
    Available,
    /// A job is at work on it.
    Locked,
    /// A saga is stuck on it; an operator must look.
    Error,
    /// Gone.
    Deleted,
}

/// What may happen to a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkloadEvent {
    /// A job takes it.
    Lock,
    /// The job ends, on either path.
    Unlock,
    /// The job got stuck.
    Break,
    /// An operator settled the stuck job.
    Repair,
    /// The user deletes it.
    Delete,
}

impl WorkloadState {
    /// All states, in the order of a life.
    pub const ALL: [Self; 4] = [Self::Available, Self::Locked, Self::Error, Self::Deleted];

    /// Returns the state after `event`, or the refusal. Table: docs/sagas.md.
    ///
    /// Errors: `IllegalTransition` for every pair not in the table.
    pub fn next(self, event: WorkloadEvent) -> Result<Self, IllegalTransition> {
        use WorkloadEvent as E;
        match (self, event) {
            (Self::Available, E::Lock) => Ok(Self::Locked),
            (Self::Locked, E::Unlock) => Ok(Self::Available),
            (Self::Locked, E::Break) => Ok(Self::Error),
            (Self::Error, E::Repair) => Ok(Self::Available),
            (Self::Available | Self::Error, E::Delete) => Ok(Self::Deleted),
            (state, event) => {
                Err(IllegalTransition { noun: "workload", state: state.as_str(), event: event.as_str() })
            }
        }
    }

    /// The word in the database, the API and on the target.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Locked => "locked",
            Self::Error => "error",
            Self::Deleted => "deleted",
        }
    }
}

impl WorkloadEvent {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Break => "break",
            Self::Repair => "repair",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for WorkloadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for WorkloadState {
    type Err = InvalidState;
    fn from_str(text: &str) -> Result<Self, InvalidState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| InvalidState { noun: "workload", text: text.to_owned() })
    }
}
