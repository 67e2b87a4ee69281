//! Which piece of remote work, and which try.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::JobId;

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
