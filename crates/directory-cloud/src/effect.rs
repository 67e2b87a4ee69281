//! How every effect is carried out: faults are drawn, work is done off the async threads, and what happened is written
//! down, so that a test can prove that nothing happened twice.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use model::{ErrorClass, Failure};
use runtime::{Clock as _, Fault, FaultKind, FaultTable, SystemClock};

use crate::error;
use crate::error::OpenError;
use crate::store::Store;

const EFFECTS_LOG: &str = "effects.log";

/// The table of faults of a cloud: `faults.toml` in its folder.
#[must_use]
pub fn fault_table(cloud: &Path) -> FaultTable {
    FaultTable::from_file(&cloud.join("faults.toml"))
}

/// The folder behind its faults. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Effects {
    store: Arc<Store>,
    faults: Arc<FaultTable>,
}

impl Effects {
    pub(crate) fn open(path: &Path, faults: FaultTable) -> Result<Self, OpenError> {
        Ok(Self { store: Arc::new(Store::open(path)?), faults: Arc::new(faults) })
    }

    /// Carries out `effect`, or the fault that was drawn for it.
    ///
    /// Errors: `CLOUD_FAULT` for a fault, `DRILL_INVALID` for a fault table that cannot be read.
    pub(crate) async fn perform<T: Send + 'static>(
        &self,
        effect: &'static str,
        work: impl FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let faults = Arc::clone(&self.faults);
        let drawn = off_thread(effect, move || {
            faults.draw(effect).map_err(|error| {
                let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                Failure::transient("DRILL_INVALID", format!("{error}: {source}"))
            })
        });
        let fault = drawn.await?;
        if let Some(fault) = &fault {
            tokio::time::sleep(fault.delay()).await;
        }
        match &fault {
            Some(fault) if fault.fail == FaultKind::Transient => {
                return Err(injected(fault, ErrorClass::Transient));
            }
            Some(fault) if fault.fail == FaultKind::Permanent => {
                return Err(injected(fault, ErrorClass::Permanent));
            }
            _ => {}
        }
        let store = Arc::clone(&self.store);
        let outcome = off_thread(effect, move || work(&store)).await;
        match fault {
            Some(fault) if fault.fail == FaultKind::Indeterminate => {
                Err(injected(&fault, ErrorClass::Indeterminate))
            }
            _ => outcome,
        }
    }
}

/// Writes down an effect that happened.
pub(crate) fn record(
    store: &Store,
    effect: &str,
    id: impl Display,
    tag: Option<&str>,
) -> Result<(), Failure> {
    let line = format!("{} {effect} {id} {}", SystemClock.now().0, tag.unwrap_or("-"));
    store.root().append_line(EFFECTS_LOG, &line)
}

async fn off_thread<T: Send + 'static>(
    effect: &'static str,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|source| error::bug(effect, source))?
}

fn injected(fault: &Fault, class: ErrorClass) -> Failure {
    let what = match class {
        ErrorClass::Indeterminate => "its answer was lost",
        _ => "it did not happen",
    };
    let code = fault.code.as_deref().unwrap_or("CLOUD_FAULT");
    Failure::new(class, code, format!("the fault table struck {}: {what}", fault.effect))
}
