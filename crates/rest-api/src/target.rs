//! Backup targets and the service's health. All of it is ours.

use model::TargetId;
use serde::{Deserialize, Serialize};

/// Reply of `GET /targets`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TargetList {
    pub targets: Vec<Target>,
}

/// Where packs rest, as the controller sees it.
///
/// Units: bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Target {
    pub id: TargetId,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// `available`, or `offline` with `error_msg`.
    pub status: String,
    pub capacity: Option<u64>,
    pub available: Option<u64>,
    pub error_msg: Option<String>,
    /// For admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Reply of `GET /health`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Health {
    /// `ok` or `degraded`.
    pub status: String,
    pub version: String,
    /// What is amiss; empty when `ok`.
    pub problems: Vec<String>,
}
