//! Which facts there are. One rule: a fact is the status that its object has from now on, in the words of the REST API.

use model::{RestoreState, SnapshotState, VolumeFact, WorkloadState};

pub const WORKLOAD: &str = "workload";
pub const SNAPSHOT: &str = "snapshot";
pub const RESTORE: &str = "restore";
/// A user's volume, on which a volume snapshot of ours lay.
pub const VOLUME: &str = "volume";
/// A durable run of a job: what `Accepted` names as `job_id`.
pub const SAGA: &str = "saga";

/// The phases of a saga, whose crate is no business of this one; a test of the controller compares them.
const PHASES: [&str; 6] = ["forward", "backward", "succeeded", "compensated", "stuck", "abandoned"];

/// Every kind with its facts, the `<kind>` and `<fact>` of `evt.<project>.<kind>.<fact>`.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        (WORKLOAD, WorkloadState::ALL.iter().map(|state| state.as_str()).collect()),
        (SNAPSHOT, SnapshotState::ALL.iter().map(|state| state.as_str()).collect()),
        (RESTORE, RestoreState::ALL.iter().map(|state| state.as_str()).collect()),
        (VOLUME, VolumeFact::ALL.iter().map(|fact| fact.as_str()).collect()),
        (SAGA, PHASES.to_vec()),
    ]
}
