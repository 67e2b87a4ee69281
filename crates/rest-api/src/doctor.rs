//! What is wrong: the checks that the service makes of itself and of all it needs. All of it is ours.

use model::Verdict;
use serde::{Deserialize, Serialize};

/// Reply of `GET /doctor`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DoctorReport {
    pub checks: Vec<DoctorCheck>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorCheck {
    /// `controller`, `dmapi`, `datamover` or `project`; `client` is the command line's own.
    pub service: String,
    /// Where it runs; empty: nowhere in particular, or not the caller's to know.
    pub host: String,
    pub check: String,
    pub result: Verdict,
    /// Empty when all is well.
    pub code: String,
    /// What was found, and what to do.
    pub message: String,
}
