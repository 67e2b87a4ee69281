//! Snapshots in requests and replies.

use std::collections::BTreeMap;

use model::{DiskId, InstanceId, LineageId, ProjectId, SagaId, SnapshotId, VolumeId, WorkloadId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ApiTime, Link};

/// Body of `POST /workloads/{id}?full=`. `full` counts in the query only, as in T4O: its tests send a false one here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NewSnapshotBody {
    #[serde(default)]
    pub snapshot: NewSnapshot,
}

/// Names of the new snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NewSnapshot {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
}

/// Reply with one snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotBody {
    pub snapshot: Snapshot,
}

/// Reply of `GET /snapshots`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotList {
    pub snapshots: Vec<SnapshotSummary>,
}

/// A row of a list.
///
/// Units: bytes, percent, seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotSummary {
    pub id: SnapshotId,
    pub name: String,
    pub description: String,
    pub workload_id: WorkloadId,
    pub project_id: ProjectId,
    pub user_id: String,
    pub snapshot_type: String,
    pub status: String,
    /// Always empty: no node runs a snapshot; its disks are carried by many.
    #[serde(default)]
    pub host: String,
    /// Of all disks, as guests see them.
    pub size: u64,
    /// What was put on the target.
    pub uploaded_size: u64,
    /// Ours: what was read from the disks.
    pub bytes_read: u64,
    pub restore_size: u64,
    pub progress_percent: u32,
    pub progress_msg: String,
    /// For example: asked for an incremental, became a full one.
    pub warning_msg: Option<String>,
    pub error_msg: Option<String>,
    /// Ours: the stable code of `error_msg`.
    pub error_code: Option<String>,
    /// Ours: `filesystem` or `crash`.
    pub consistency: Option<String>,
    /// Ours: the run that makes it.
    pub saga_id: SagaId,
    pub created_at: ApiTime,
    pub updated_at: ApiTime,
    pub finished_at: Option<ApiTime>,
    pub time_taken: u64,
    pub pinned: bool,
    #[serde(default)]
    pub links: Vec<Link>,
}

/// A snapshot with its instances and disks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    #[serde(flatten)]
    pub summary: SnapshotSummary,
    /// Ours: whose unchanged chunks it references.
    pub parent_snapshot_id: Option<SnapshotId>,
    pub instances: Vec<SnapshotInstance>,
    #[serde(default)]
    pub metadata: BTreeMap<String, Value>,
}

/// An instance at the point in time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotInstance {
    pub id: InstanceId,
    pub name: String,
    pub status: String,
    /// Ours.
    pub consistency: Option<String>,
    /// Ours: why it is not in the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_msg: Option<String>,
    pub metadata: BTreeMap<String, Value>,
    /// Null until the instance was described.
    pub flavor: Value,
    pub nics: Vec<Value>,
    pub vdisks: Vec<SnapshotDisk>,
}

/// A disk at the point in time; from `status` on, ours.
///
/// Units: `volume_size` in GiB as Cinder counts, all others in bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotDisk {
    pub id: DiskId,
    /// Null for a disk that is no volume.
    pub volume_id: Option<VolumeId>,
    pub volume_name: String,
    pub volume_size: u64,
    pub volume_type: String,
    pub label: String,
    pub restore_size: u64,
    pub status: String,
    pub format: String,
    pub lineage_id: LineageId,
    pub parent_snapshot_id: Option<SnapshotId>,
    pub bytes_total: u64,
    pub bytes_done: u64,
    pub bytes_read: u64,
    pub bytes_stored: u64,
    pub duration_ms: u64,
}
