//! Workloads in requests and replies.

use std::collections::BTreeMap;

use model::{CloudChange, InstanceId, KeepBase, ProjectId, TargetId, VolumeId, WorkloadId, WorkloadType};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{ApiTime, LooseBool};

/// Body of `POST /workloads`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewWorkloadBody {
    pub workload: NewWorkload,
}

/// What to protect together.
///
/// Fields that T4O's clients send and that mean nothing here (`source_platform`) are passed over.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NewWorkload {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub instances: Vec<NewWorkloadInstance>,
    /// Ours: id or name of a backup target; absent: the only one there is.
    #[serde(default, alias = "backup_target_types", skip_serializing_if = "Option::is_none")]
    pub backup_target: Option<String>,
    /// Only `{}` and `{"enabled": false}` are taken.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub jobschedule: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<LooseBool>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
    /// Ours: whether the storage keeps the newest point in time, so that the next snapshot reads only what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_base: Option<KeepBase>,
    /// Ours: whether a snapshot leaves out instances that fail, and goes on with the others. Also taken from `metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_partial: Option<LooseBool>,
    /// Ours: `parallel` or `serial`. T4O's clients send the id of a type instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_type: Option<WorkloadType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_type_id: Option<String>,
}

/// Body of `PUT /workloads/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkloadChangeBody {
    pub workload: WorkloadChange,
}

/// What is to be otherwise from the next snapshot on; absent: as before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct WorkloadChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Not taken yet, other than empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<NewWorkloadInstance>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_base: Option<KeepBase>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_partial: Option<LooseBool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_type: Option<WorkloadType>,
}

/// The ids that T4O gave its workload types.
const SERIAL_TYPE_ID: &str = "f82ce76f-17fe-438b-aa37-7a023058e50d";
const PARALLEL_TYPE_ID: &str = "2ddd528d-c9b4-4d7e-8722-cc395140255a";

/// The id by which T4O's clients know a workload type.
#[must_use]
pub const fn workload_type_id(workload_type: WorkloadType) -> &'static str {
    match workload_type {
        WorkloadType::Serial => SERIAL_TYPE_ID,
        WorkloadType::Parallel => PARALLEL_TYPE_ID,
    }
}

impl NewWorkload {
    /// The type that was asked for, in either form; an unknown id is the default, as the newest T4O has no types.
    #[must_use]
    pub fn workload_type(&self) -> WorkloadType {
        let by_id = self.workload_type_id.as_deref().filter(|id| *id == SERIAL_TYPE_ID);
        self.workload_type.or(by_id.map(|_| WorkloadType::Serial)).unwrap_or_default()
    }
}

/// An instance to protect: `{"instance-id": "<uuid>"}`, `{"id": ..}` or the bare id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "InstanceForms", into = "InstanceObject")]
pub struct NewWorkloadInstance(pub String);

#[derive(Deserialize)]
#[serde(untagged)]
enum InstanceForms {
    Object(InstanceObject),
    Bare(String),
}

#[derive(Serialize, Deserialize)]
struct InstanceObject {
    #[serde(rename = "instance-id", alias = "instance_id", alias = "id")]
    instance_id: String,
}

impl From<InstanceForms> for NewWorkloadInstance {
    fn from(form: InstanceForms) -> Self {
        match form {
            InstanceForms::Object(object) => Self(object.instance_id),
            InstanceForms::Bare(id) => Self(id),
        }
    }
}

impl From<NewWorkloadInstance> for InstanceObject {
    fn from(instance: NewWorkloadInstance) -> Self {
        Self { instance_id: instance.0 }
    }
}

/// Reply with one workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkloadBody {
    pub workload: Workload,
}

/// Reply of `GET /workloads`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkloadList {
    pub workloads: Vec<WorkloadSummary>,
}

/// A row of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkloadSummary {
    pub id: WorkloadId,
    pub name: String,
    pub description: String,
    pub project_id: ProjectId,
    pub user_id: String,
    pub status: String,
    /// Ours.
    pub backup_target_id: TargetId,
    /// T4O's id of `workload_type`.
    #[serde(default)]
    pub workload_type_id: String,
    #[serde(default)]
    pub snapshots_info: String,
    pub error_msg: Option<String>,
    pub created_at: ApiTime,
    pub updated_at: ApiTime,
    #[serde(default)]
    pub links: Vec<Link>,
}

/// A workload with all that belongs to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Workload {
    #[serde(flatten)]
    pub summary: WorkloadSummary,
    pub instances: Vec<WorkloadInstance>,
    pub jobschedule: Value,
    pub metadata: BTreeMap<String, Value>,
    /// Ours.
    #[serde(default)]
    pub keep_base: KeepBase,
    /// Ours: volumes that their cloud meant to delete with an instance, and could not because of a volume snapshot of ours.
    #[serde(default)]
    pub volumes_left: Vec<VolumeLeft>,
    /// Ours.
    #[serde(default)]
    pub allow_partial: bool,
    /// Ours.
    #[serde(default)]
    pub workload_type: WorkloadType,
    pub storage_usage: StorageUsage,
    /// Ours: what the cloud told of its instances and volumes, the newest first.
    #[serde(default)]
    pub notifications: Vec<CloudNotification>,
}

/// Something that happened to an instance or a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudNotification {
    pub happened_at: ApiTime,
    pub change: CloudChange,
    /// `instance` or `volume`.
    pub subject: String,
    pub subject_id: Uuid,
    /// For people: where to, how large.
    pub detail: String,
}

/// A protected instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadInstance {
    pub id: InstanceId,
    pub name: String,
    #[serde(default)]
    pub metadata: BTreeMap<String, Value>,
}

/// A user's volume that stayed behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeLeft {
    pub id: VolumeId,
    pub name: String,
    /// With which it was to go.
    pub instance_id: InstanceId,
    pub found_at: ApiTime,
}

/// What a workload's committed snapshots take on the target.
///
/// Units: bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageUsage {
    pub usage: u64,
    pub full: UsageByKind,
    pub incremental: UsageByKind,
}

/// Number and bytes of one kind of snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageByKind {
    pub snap_count: u64,
    pub usage: u64,
}

/// Where an object is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub rel: String,
    pub href: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_named_in_any_of_the_known_forms() {
        for text in
            ["{\"instance-id\":\"x\"}", "{\"id\":\"x\"}", "{\"instance_id\":\"x\",\"more\":1}", "\"x\""]
        {
            let instance: NewWorkloadInstance = serde_json::from_str(text).unwrap();
            assert_eq!(instance.0, "x", "{text}");
        }
        let written = serde_json::to_string(&NewWorkloadInstance("x".to_owned())).unwrap();
        assert_eq!(written, "{\"instance-id\":\"x\"}");
    }

    #[test]
    fn the_body_of_an_old_client_is_read() {
        let body: NewWorkloadBody = serde_json::from_str(
            r#"{"workload":{"name":"w","description":"d","workload_type_id":"f82ce76f-17fe-438b-aa37-7a023058e50d",
                "source_platform":null,"instances":[{"instance-id":"x"}],"jobschedule":{"enabled":"False"},"metadata":{}}}"#,
        )
        .unwrap();
        assert_eq!(body.workload.instances.len(), 1);
        assert_eq!(body.workload.backup_target, None);
        assert_eq!(body.workload.workload_type(), WorkloadType::Serial);
    }
}
