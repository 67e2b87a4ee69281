//! What every request handler and actor of the controller shares. Made once at start by `lib.rs`; cheap to clone.

use std::path::PathBuf;
use std::sync::Arc;

use bus::DeadLetters;
use catalog::Catalog;
use cloud::Cloud;
use model::{ByteCount, TargetId};
use runtime::{Clock, Entropy};

use crate::app::trusts::TrustBook;
use crate::doctor::Doctor;
use crate::engine::Engine;
use crate::status::Board;

/// A backup target of the configuration, opened and identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetInfo {
    /// The uuid in its `repo.json`.
    pub id: TargetId,
    pub name: String,
    pub path: PathBuf,
}

/// Room on a backup target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub free: ByteCount,
    pub total: ByteCount,
}

impl TargetInfo {
    /// Asks the file system how much room there is. Blocks: call it where blocking is allowed.
    pub fn space(&self) -> std::io::Result<Space> {
        let stat = rustix::fs::statvfs(&self.path)?;
        let bytes = |blocks: u64| ByteCount(blocks.saturating_mul(stat.f_frsize));
        Ok(Space { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }
}

/// The shared state of the controller.
#[derive(Debug, Clone)]
pub struct AppState {
    pub catalog: Catalog,
    pub engine: Engine,
    pub clock: Arc<dyn Clock>,
    pub entropy: Entropy,
    /// In the order of the configuration; the first is the default of new workloads.
    pub targets: Arc<[TargetInfo]>,
    pub cloud: Arc<dyn Cloud>,
    /// Where a cloud vouches for users.
    pub trusts: Option<Arc<dyn TrustBook>>,
    pub dead_letters: DeadLetters,
    /// What looks for trouble when it is asked to.
    pub doctor: Doctor,
    /// What was last gathered of the whole.
    pub status: Board,
}

impl AppState {
    /// The target with this id, if the configuration has it.
    #[must_use]
    pub fn target(&self, id: TargetId) -> Option<&TargetInfo> {
        self.targets.iter().find(|target| target.id == id)
    }
}
