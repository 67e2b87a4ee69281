//! What could not be taken away behind the pivot: a host is dead, or a user made a volume of one of our volume snapshots. It is
//! given over to the sweep of leftovers, which finds it on its host or in the cloud once this saga is over, and the workload is
//! free. The snapshot is complete without that; its warning says what stays.
//!
//! Purges are not given over: where the host of a transfer is dead, others purge in its place.

use model::Failure;
use serde::{Deserialize, Serialize};

use super::Facts;
use crate::sagas::remote::{Remote, Tolerance};
use crate::sagas::{Output, budget};

/// Something that stays where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GivenOver {
    /// As `the volume snapshot of disk vda of instance web-1`.
    what: String,
    code: String,
    message: String,
}

/// A removal that the saga does not wait for without end.
pub(super) fn removal(remote: Remote) -> Remote {
    remote.tolerating(Tolerance::of_all(budget::REMOVAL_ATTEMPTS))
}

impl Facts {
    /// Remembers what stays, if `output` says so.
    pub(super) fn note_given_over(&mut self, output: &Output, what: impl FnOnce(&Self) -> String) {
        let Output::Failed(Failure { code, message, .. }) = output else { return };
        let what = what(self);
        self.given_over.push(GivenOver { what, code: code.clone(), message: message.clone() });
    }

    /// What stays, in words.
    pub(super) fn stays(&self) -> Vec<String> {
        let all = self.given_over.iter();
        all.map(|it| {
            let GivenOver { what, code, message } = it;
            format!("{what} could not be removed, and is left to the sweep of leftovers: {message} [{code}]")
        })
        .collect()
    }
}
