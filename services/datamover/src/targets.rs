//! The backup targets this host reaches. Each job opens its target anew: one that is not mounted fails that job by name,
//! and is found again when it is back.

use std::path::PathBuf;
use std::sync::Arc;

use backup_target::{BackupTarget, Faulty, PosixTarget};
use model::{Failure, TargetId};
use runtime::FaultTable;

/// Opens targets by their id.
#[derive(Debug)]
pub struct Targets {
    paths: Vec<PathBuf>,
    faults: Arc<FaultTable>,
}

impl Targets {
    /// The targets in these folders; `faults` are injected into all of them.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>, faults: Arc<FaultTable>) -> Self {
        Self { paths, faults }
    }

    /// Opens the target whose `repo.json` says `id`.
    ///
    /// Errors: `TARGET_UNKNOWN`; if any target could not be opened, its own error, since that may be the one.
    pub async fn open(&self, id: TargetId) -> Result<Arc<dyn BackupTarget>, Failure> {
        let mut problems = Vec::new();
        for path in &self.paths {
            let path = path.clone();
            // It waits for the file system, at most as long as backup-target lets it.
            match tokio::task::spawn_blocking(move || PosixTarget::open(&path)).await {
                Ok(Ok(target)) if target.id() == id => {
                    return Ok(Arc::new(Faulty::new(target, Arc::clone(&self.faults))));
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => problems.push(error.failure()),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        // A target that is not mounted now may be at the next attempt.
        Err(match problems.into_iter().next() {
            Some(problem) => Failure::transient(&problem.code, problem.message),
            None => Failure::permanent(
                "TARGET_UNKNOWN",
                format!("no [[target]] in this datamover's config has the id {id}; add its path"),
            ),
        })
    }
}
