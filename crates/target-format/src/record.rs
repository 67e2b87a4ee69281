//! The JSON records: what a person can read, and what another site rebuilds its catalog from.

use model::{
    ByteCount, Consistency, DiskFormat, DiskId, InstanceId, LineageId, ProjectId, SnapshotId, SnapshotKind,
    TargetId, Timestamp, UserId, VolumeId, WorkloadId,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Digest, Error, FORMAT_VERSION};

/// 16 MiB: a workload of 1 000 instances with descriptions of 16 KiB each.
const RECORD_LENGTH_MAX: usize = 16 << 20;

/// What is written as JSON.
pub trait Record: Serialize + DeserializeOwned {
    /// For errors.
    const NOUN: &'static str;

    /// The version written in it.
    fn format(&self) -> u32;

    /// Gives the record as it lies on the target: indented JSON with a line end.
    #[must_use]
    fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("records hold only what JSON can say");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a record. Unknown fields are let through: a newer writer may have more to say.
    ///
    /// Errors: too long, not JSON, a field is missing or wrong, another format.
    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > RECORD_LENGTH_MAX {
            return Err(Error::damaged(Self::NOUN, "it is longer than 16 MiB"));
        }
        let record: Self = serde_json::from_slice(bytes)
            .map_err(|source| Error::Record { noun: Self::NOUN, reason: source.to_string() })?;
        match record.format() {
            FORMAT_VERSION => Ok(record),
            version => Err(Error::Version { noun: Self::NOUN, version }),
        }
    }
}

/// `w/<workload>/workload.json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRecord {
    /// Always `FORMAT_VERSION`.
    pub format: u32,
    pub workload_id: WorkloadId,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub name: String,
    pub description: String,
    pub instances: Vec<WorkloadInstance>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// An instance of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadInstance {
    pub instance_id: InstanceId,
    pub name: String,
}

/// `w/<workload>/<snapshot>.json`: first written before the first transfer, with its final content after the pivot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Always `FORMAT_VERSION`.
    pub format: u32,
    pub snapshot_id: SnapshotId,
    pub workload_id: WorkloadId,
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub name: String,
    pub description: String,
    pub kind: SnapshotKind,
    /// The lowest of its instances; absent until the snapshot is committed.
    pub consistency: Option<Consistency>,
    pub created_at: Timestamp,
    /// Absent until the snapshot is committed.
    pub finished_at: Option<Timestamp>,
    pub instances: Vec<InstanceRecord>,
}

/// One instance at the point in time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceRecord {
    pub instance_id: InstanceId,
    pub name: String,
    pub consistency: Option<Consistency>,
    /// Why it is not in the snapshot, which then has no disks of it; absent: it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<InstanceError>,
    /// As the cloud's driver described it: flavor, ports, metadata. Null where it could not.
    pub description: serde_json::Value,
    /// In boot order.
    pub disks: Vec<DiskRecord>,
}

/// How an instance failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceError {
    /// Stable; for example `POINT_IN_TIME_LOST`.
    pub code: String,
    pub message: String,
}

/// One disk at the point in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    pub disk_id: DiskId,
    pub lineage_id: LineageId,
    /// Absent: it was a local disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_id: Option<VolumeId>,
    /// For example `vda`.
    pub device: String,
    pub size: ByteCount,
    /// Of the source; a hint for the destination.
    pub disk_format: DiskFormat,
    pub chunk_size: ByteCount,
    /// The snapshot whose chunks this one shares.
    pub parent_snapshot_id: Option<SnapshotId>,
    /// Why all of it was read although it has a parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_read_reason: Option<String>,
    /// Absent until the transfer ended.
    pub manifest_digest: Option<Digest>,
    pub bytes_stored: ByteCount,
}

/// `l/<lineage>/lineage.json`: what disk this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageRecord {
    /// Always `FORMAT_VERSION`.
    pub format: u32,
    pub lineage_id: LineageId,
    pub target_id: TargetId,
    pub workload_id: WorkloadId,
    pub instance_id: InstanceId,
    pub disk_id: DiskId,
    /// Fixed for the life of the lineage.
    pub chunk_size: ByteCount,
    pub created_at: Timestamp,
}

/// `l/<lineage>/snap/<snapshot>/snapshot.json`: written last, after the commit in the catalog. Without it a manifest is
/// no snapshot to anybody who has only the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMarker {
    /// Always `FORMAT_VERSION`.
    pub format: u32,
    pub snapshot_id: SnapshotId,
    pub lineage_id: LineageId,
    pub workload_id: WorkloadId,
    pub instance_id: InstanceId,
    pub disk_id: DiskId,
    pub size: ByteCount,
    pub manifest_digest: Digest,
    pub consistency: Consistency,
    pub created_at: Timestamp,
    pub committed_at: Timestamp,
}

macro_rules! records {
    ($($name:ident = $noun:literal;)*) => {$(
        impl Record for $name {
            const NOUN: &'static str = $noun;
            fn format(&self) -> u32 { self.format }
        }
    )*};
}

records! {
    WorkloadRecord = "workload record";
    SnapshotRecord = "snapshot record";
    LineageRecord = "lineage record";
    SnapshotMarker = "snapshot marker";
}
