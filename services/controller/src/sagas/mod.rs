//! The sagas of the controller, one file each. Begin with `snapshot_create`.
//!
//! A definition is pure: it says which steps there are and what each asks for. The engine carries the requests out and
//! feeds the answers back. What a definition may ask for is [`Request`], what it learns from is [`Output`].

pub mod snapshot_create;
// Then
pub mod restore_new;
// What takes away
pub mod base_release;
pub mod clearing;
pub mod leftover_sweep;
pub mod workload_delete;
pub mod workload_reset;

pub mod answer;
mod budget;
pub mod catalog_op;
mod job_id;
mod records;
pub mod remote;

pub use job_id::job_id;
pub(crate) use job_id::uuid_of;

use catalog_op::{CatalogAnswer, CatalogOp};
use model::Failure;
use remote::Remote;

/// What a step, or its compensation, asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Done within the transaction of the event that led to it.
    Catalog(Box<CatalogOp>),
    /// Sent to a worker; the answer comes as another event.
    Remote(Box<Remote>),
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Catalog(CatalogAnswer),
    Remote(answer::Answer),
    /// None came: the step goes on without, since it tolerates the failure, or the saga turns back for it.
    Failed(Failure),
}

/// A manifest's digest as records and rows write it; `None`: it has not the length of one.
#[must_use]
pub fn manifest_digest_text(digest: &[u8]) -> Option<String> {
    records::digest(digest).map(|digest| digest.to_string())
}

impl From<CatalogOp> for Request {
    fn from(op: CatalogOp) -> Self {
        Self::Catalog(Box::new(op))
    }
}

impl From<Remote> for Request {
    fn from(remote: Remote) -> Self {
        Self::Remote(Box::new(remote))
    }
}
