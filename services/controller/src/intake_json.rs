//! The intake in the JSON of its schema, for services without protobuf: field names in camel case, as protobuf's own
//! JSON has them, or as in the schema. Stricter than protobuf: an unknown or doubled field is an error, because a
//! misspelt `full` must not become an incremental snapshot. Tests hold it against the descriptor.

use std::fmt;
use std::marker::PhantomData;

use proto::common::v1::ErrorInfo;
use proto::intake::v1::submit_job::Job;
use proto::intake::v1::{self as wire, Accepted, Rejected};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitJob {
    #[serde(default, deserialize_with = "nullable", alias = "idempotencyKey")]
    idempotency_key: String,
    #[serde(default, deserialize_with = "nullable", alias = "projectId")]
    project_id: String,
    #[serde(default, alias = "snapshotWorkload")]
    snapshot_workload: Option<Object<SnapshotWorkload>>,
    #[serde(default, alias = "restoreSnapshot")]
    restore_snapshot: Option<Object<RestoreSnapshot>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotWorkload {
    #[serde(default, deserialize_with = "nullable", alias = "workloadId")]
    workload_id: String,
    #[serde(default, deserialize_with = "nullable")]
    full: bool,
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoreSnapshot {
    #[serde(default, deserialize_with = "nullable", alias = "snapshotId")]
    snapshot_id: String,
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    instances: Vec<Object<RestoreInstance>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoreInstance {
    #[serde(default, deserialize_with = "nullable", alias = "instanceId")]
    instance_id: String,
    #[serde(default, deserialize_with = "nullable", alias = "newName")]
    new_name: String,
}

/// A message in JSON is an object; serde would take an array of its fields too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// A message that goes back to a service in the encoding that it spoke.
pub(crate) trait Answer {
    /// The JSON of the message's schema.
    fn json(&self) -> Value;
}

impl Answer for Accepted {
    fn json(&self) -> Value {
        let Self { idempotency_key, job_id, object_id, duplicate } = self;
        json!({
            "idempotencyKey": idempotency_key, "jobId": job_id, "objectId": object_id, "duplicate": duplicate,
        })
    }
}

impl Answer for Rejected {
    fn json(&self) -> Value {
        let error = self.error.as_ref().map(|error| {
            let ErrorInfo { code, message, .. } = error;
            json!({ "errorClass": error.error_class().as_str_name(), "code": code, "message": message })
        });
        json!({ "idempotencyKey": self.idempotency_key, "error": error })
    }
}

/// Reads a job.
///
/// Errors: what is wrong, with line and column.
pub(crate) fn decode(body: &[u8]) -> Result<wire::SubmitJob, String> {
    let Object(job): Object<SubmitJob> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let wanted = match (job.snapshot_workload, job.restore_snapshot) {
        (Some(_), Some(_)) => return Err("snapshot_workload and restore_snapshot are both set".to_owned()),
        (Some(Object(snapshot)), None) => Some(Job::SnapshotWorkload(wire::SnapshotWorkload {
            workload_id: snapshot.workload_id,
            full: snapshot.full,
            name: snapshot.name,
            description: snapshot.description,
        })),
        (None, Some(Object(restore))) => Some(Job::RestoreSnapshot(wire::RestoreSnapshot {
            snapshot_id: restore.snapshot_id,
            name: restore.name,
            instances: restore
                .instances
                .into_iter()
                .map(|Object(it)| wire::RestoreInstance {
                    instance_id: it.instance_id,
                    new_name: it.new_name,
                })
                .collect(),
        })),
        (None, None) => None,
    };
    Ok(wire::SubmitJob { idempotency_key: job.idempotency_key, project_id: job.project_id, job: wanted })
}

/// In protobuf's JSON a null is a field that is not set.
fn nullable<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests;
