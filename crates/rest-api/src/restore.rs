//! Restores in requests and replies; the options are T4O's restore.json.

use std::collections::BTreeMap;

use model::{DiskId, InstanceId, ProjectId, RestoreId, SagaId, SnapshotId, VolumeId, WorkloadId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ApiTime, Link, LooseBool};

/// Body of `POST /snapshots/{id}` and `POST /workloads/{id}/snapshots/{id}/restores`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NewRestoreBody {
    pub restore: NewRestore,
}

/// What to bring back, and how. A name here wins over one in the options.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NewRestore {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub options: RestoreOptions,
}

/// T4O's restore.json.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RestoreOptions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default)]
    pub oneclickrestore: LooseBool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_type: Option<String>,
    #[serde(default)]
    pub openstack: OpenstackOptions,
}

/// The part for an OpenStack cloud.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OpenstackOptions {
    #[serde(default)]
    pub instances: Vec<RestoreInstanceOptions>,
    #[serde(default)]
    pub restore_topology: LooseBool,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub networks_mapping: Value,
}

/// One instance of a selective restore. Absent from the list or `include: false`: not restored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreInstanceOptions {
    /// Of the original.
    pub id: String,
    #[serde(default = "included")]
    pub include: LooseBool,
    /// Absent or empty: the original's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `flavor`, `nics`, `vdisks` and what else there may be.
    #[serde(flatten)]
    pub more: BTreeMap<String, Value>,
}

const fn included() -> LooseBool {
    LooseBool(true)
}

/// The kinds of restore that the API knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreKind {
    /// All instances under their old names; the originals must be gone.
    OneClick,
    /// Chosen instances, beside the originals.
    Selective,
    /// Into the original disks.
    InPlace,
}

impl RestoreOptions {
    /// Which kind is asked for: `restore_type`, or `oneclickrestore` of clients that send no type.
    ///
    /// Errors: the text, when it names no kind.
    pub fn kind(&self) -> Result<RestoreKind, String> {
        match self.restore_type.as_deref() {
            Some("oneclick") => Ok(RestoreKind::OneClick),
            Some("selective") => Ok(RestoreKind::Selective),
            Some("inplace") => Ok(RestoreKind::InPlace),
            Some("" | "restore") | None if self.oneclickrestore.0 => Ok(RestoreKind::OneClick),
            Some("" | "restore") | None => Ok(RestoreKind::Selective),
            Some(other) => Err(other.chars().take(80).collect()),
        }
    }
}

/// Reply with one restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreBody {
    pub restore: Restore,
}

/// Reply of `GET /restores`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreList {
    pub restores: Vec<RestoreSummary>,
}

/// A row of a list.
///
/// Units: bytes, percent, seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreSummary {
    pub id: RestoreId,
    pub name: String,
    pub description: String,
    pub snapshot_id: SnapshotId,
    pub workload_id: WorkloadId,
    pub project_id: ProjectId,
    pub user_id: String,
    /// Always `restore`; the kind is in `restore_options`.
    pub restore_type: String,
    pub status: String,
    #[serde(default)]
    pub host: String,
    pub size: u64,
    /// What was written so far.
    pub uploaded_size: u64,
    pub progress_percent: u32,
    pub progress_msg: String,
    /// Options that were asked for and have no effect.
    pub warning_msg: Option<String>,
    pub error_msg: Option<String>,
    /// Ours: the stable code of `error_msg`.
    pub error_code: Option<String>,
    /// Ours: the run that makes it.
    pub saga_id: SagaId,
    pub created_at: ApiTime,
    pub updated_at: ApiTime,
    pub finished_at: Option<ApiTime>,
    pub time_taken: u64,
    /// As they were asked for.
    pub restore_options: Value,
    #[serde(default)]
    pub links: Vec<Link>,
}

/// A restore with its instances and disks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Restore {
    #[serde(flatten)]
    pub summary: RestoreSummary,
    pub instances: Vec<RestoreInstance>,
    /// Ours: every disk being written.
    pub disks: Vec<RestoreDisk>,
}

/// An instance that comes back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreInstance {
    /// The new instance's id; null until it exists.
    pub id: Option<InstanceId>,
    pub name: String,
    pub status: String,
    /// `instance_id` is the original's.
    pub metadata: BTreeMap<String, String>,
}

/// A disk being written.
///
/// Units: bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreDisk {
    pub instance_id: InstanceId,
    pub id: DiskId,
    /// The new volume; null until it exists.
    pub volume_id: Option<VolumeId>,
    pub status: String,
    pub size: u64,
    pub bytes_total: u64,
    pub bytes_done: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub duration_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_options(text: &str) -> RestoreOptions {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_kind_is_told_by_type_or_by_flag() {
        use RestoreKind as K;
        for (text, kind) in [
            (r#"{"restore_type":"oneclick","oneclickrestore":"True"}"#, Ok(K::OneClick)),
            (r#"{"oneclickrestore":1}"#, Ok(K::OneClick)),
            (r#"{"oneclickrestore":false,"restore_type":"selective"}"#, Ok(K::Selective)),
            (r#"{"restore_type":"inplace"}"#, Ok(K::InPlace)),
            (r#"{"restore_type":"sideways"}"#, Err("sideways".to_owned())),
        ] {
            assert_eq!(make_options(text).kind(), kind, "{text}");
        }
    }

    #[test]
    fn an_instance_is_included_unless_told_otherwise() {
        let options = make_options(
            r#"{"openstack":{"instances":[{"id":"a"},{"id":"b","include":false},{"id":"c","include":"True","flavor":{"vcpus":1}}]}}"#,
        );
        let included: Vec<bool> = options.openstack.instances.iter().map(|one| one.include.0).collect();
        assert_eq!(included, [true, false, true]);
        assert!(options.openstack.instances[2].more.contains_key("flavor"));
    }
}
