//! What pipelines work with.

use std::sync::Arc;

use chunk_store::KeySource;
use runtime::Clock;

use super::{AuditFigures, RateLimit};
use crate::limits::ByteBudget;
use crate::targets::Targets;

/// Shared by all pipelines of the process.
#[derive(Debug)]
pub struct Means {
    pub targets: Targets,
    pub keys: Arc<dyn KeySource>,
    pub disks: disk::Opener,
    pub clock: Arc<dyn Clock>,
    pub budget: ByteBudget,
    pub rate: RateLimit,
    /// One slot of so many is read back after a restore.
    pub read_back_one_of: u64,
    pub audit: AuditFigures,
}
