//! The id of a job: fixed by saga, step, branch and direction, so that a definition can name the job it takes back, and
//! a job dispatched twice is one job.

use model::{JobId, SagaId};
use saga::{Branch, Direction};
use uuid::Uuid;

/// The id of one branch of one step, or of its compensation.
#[must_use]
pub fn job_id(saga_id: SagaId, step: &str, branch: Branch, direction: Direction) -> JobId {
    let direction: &[u8] = match direction {
        Direction::Action => b"action",
        Direction::Undo => b"undo",
    };
    let mut hasher = blake3::Hasher::new_derive_key("holdfast job id v1");
    hasher.update(saga_id.uuid().as_bytes()).update(&branch.to_be_bytes()).update(direction);
    hasher.update(step.as_bytes()); // last: the only part of variable length
    JobId::from_uuid(uuid_of(&hasher))
}

/// What is fixed by all that was hashed. Shape: a uuid of version 8 over a BLAKE3 digest.
pub(crate) fn uuid_of(hasher: &blake3::Hasher) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
