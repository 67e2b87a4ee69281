//! What sagas left in the cloud and on its hosts. All of it is ours, and the operator's.

use model::ProjectId;
use serde::{Deserialize, Serialize};

/// Body of `POST /leftovers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewSweepBody {
    pub leftovers: NewSweep,
}

/// What to look for, and what to do with it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct NewSweep {
    #[serde(default)]
    pub remove: bool,
    /// Since the end of the saga that left it.
    pub older_than_seconds: u64,
}

/// Reply of `GET /leftovers/{saga}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeftoverBody {
    pub leftovers: Leftovers,
}

/// A sweep as it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Leftovers {
    /// Of its saga: `succeeded` once all was looked at.
    pub phase: String,
    pub leftovers: Vec<Leftover>,
    pub unseen: Vec<Unseen>,
    #[serde(default)]
    pub unseen_hosts: Vec<UnseenHost>,
}

/// Something that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// `instance`, `volume`, `volume_snapshot` or `port`; on a host `cut`, `checkpoint`, `bitmap`, `scratch`, `frozen_guest` or
    /// `journal`.
    pub kind: String,
    /// On a host those of instance, snapshot or job, with strokes between them.
    pub id: String,
    pub name: String,
    /// Empty: it is in the cloud.
    #[serde(default)]
    pub host: String,
    /// Null: nobody knows.
    pub project_id: Option<ProjectId>,
    #[serde(default)]
    pub user_id: Option<String>,
    #[serde(default)]
    pub size_bytes: Option<u64>,
    pub tag: String,
    /// Null: nobody knows.
    pub age_seconds: Option<u64>,
    pub reason: String,
    /// `removed`, `not removed: …`, `may be removed` or `left alone`.
    pub outcome: String,
}

/// A project in which nothing could be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unseen {
    pub project_id: ProjectId,
    pub user_id: String,
    pub reason: String,
}

/// A host on which nothing, or not all, could be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnseenHost {
    pub host: String,
    pub reason: String,
}
