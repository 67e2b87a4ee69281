//! Jobs: which kinds there are, which piece of remote work, and which try.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::JobId;

/// What another service may ask for, each by a grant of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    Snapshot,
    Restore,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Snapshot, Self::Restore];

    /// The word in grants, on the command line and in routing keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Restore => "restore",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no kind of job: expected snapshot or restore"))
    }
}

/// One attempt of a job under one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobKey {
    pub job_id: JobId,
    /// From 1. A later attempt makes all earlier ones stale.
    pub attempt: u32,
    /// Of the job's lease; grows with every grant to another worker.
    pub epoch: u64,
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}@{}", self.job_id, self.attempt, self.epoch)
    }
}
