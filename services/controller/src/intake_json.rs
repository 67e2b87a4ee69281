//! `SubmitJob` in the JSON of its schema, for services without protobuf: field names as in the schema or in camel case.

use proto::intake::v1 as wire;
use proto::intake::v1::submit_job::Job;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitJob {
    #[serde(alias = "idempotencyKey")]
    idempotency_key: String,
    #[serde(alias = "projectId")]
    project_id: String,
    #[serde(default, alias = "snapshotWorkload")]
    snapshot_workload: Option<SnapshotWorkload>,
    #[serde(default, alias = "restoreSnapshot")]
    restore_snapshot: Option<RestoreSnapshot>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotWorkload {
    #[serde(alias = "workloadId")]
    workload_id: String,
    #[serde(default)]
    full: bool,
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoreSnapshot {
    #[serde(alias = "snapshotId")]
    snapshot_id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    instances: Vec<RestoreInstance>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoreInstance {
    #[serde(alias = "instanceId")]
    instance_id: String,
    #[serde(default, alias = "newName")]
    new_name: String,
}

/// Reads a job.
///
/// Errors: what is wrong, with line and column.
pub(crate) fn decode(body: &[u8]) -> Result<wire::SubmitJob, String> {
    let job: SubmitJob = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let wanted = match (job.snapshot_workload, job.restore_snapshot) {
        (Some(_), Some(_)) => return Err("snapshot_workload and restore_snapshot are both set".to_owned()),
        (Some(snapshot), None) => Some(Job::SnapshotWorkload(wire::SnapshotWorkload {
            workload_id: snapshot.workload_id,
            full: snapshot.full,
            name: snapshot.name,
            description: snapshot.description,
        })),
        (None, Some(restore)) => Some(Job::RestoreSnapshot(wire::RestoreSnapshot {
            snapshot_id: restore.snapshot_id,
            name: restore.name,
            instances: restore
                .instances
                .into_iter()
                .map(|it| wire::RestoreInstance { instance_id: it.instance_id, new_name: it.new_name })
                .collect(),
        })),
        (None, None) => None,
    };
    Ok(wire::SubmitJob { idempotency_key: job.idempotency_key, project_id: job.project_id, job: wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_job_are_the_same_job() {
        let snake =
            r#"{"idempotency_key":"k","project_id":"p","snapshot_workload":{"workload_id":"w","full":true}}"#;
        let camel =
            r#"{"idempotencyKey":"k","projectId":"p","snapshotWorkload":{"workloadId":"w","full":true}}"#;
        assert_eq!(decode(snake.as_bytes()).unwrap(), decode(camel.as_bytes()).unwrap());
    }

    #[test]
    fn an_unknown_field_and_two_jobs_are_refused() {
        let both = r#"{"idempotency_key":"k","project_id":"p","snapshot_workload":{"workload_id":"w"},"restore_snapshot":{"snapshot_id":"s"}}"#;
        assert!(decode(both.as_bytes()).unwrap_err().contains("both"));
        let unknown = r#"{"idempotency_key":"k","project_id":"p","snapshot_worklod":{}}"#;
        assert!(decode(unknown.as_bytes()).unwrap_err().contains("snapshot_worklod"));
    }
}
