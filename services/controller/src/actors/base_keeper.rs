//! Looks at kept bases from time to time: those that no snapshot will build on go, so that users can delete their volumes. Two
//! controllers may find the same: the lease of the lineage lets one remove it.

use std::time::Duration;

use service_kit::telemetry::Chain;
use service_kit::{Service, drill};

use crate::app::bases;
use crate::state::AppState;

/// Starts the keeper, which looks every `interval`.
pub fn start(service: &Service, state: AppState, interval: Duration) {
    let mut drain = service.drain();
    service.supervise("base_keeper", async move {
        while !drain.has_begun() {
            drill::maybe_panic("base_keeper");
            tokio::select! {
                biased; // both are cancel safe: what a look began to write is rolled back
                () = drain.begun() => {}
                () = look(&state) => {}
            }
            tokio::select! {
                biased; // both are cancel safe
                () = drain.begun() => {}
                () = tokio::time::sleep(interval) => {}
            }
        }
    });
}

async fn look(state: &AppState) {
    if let Err(error) = bases::release_needless(state, None).await {
        tracing::warn!(error = %Chain(&error), "kept bases could not be looked at, will try again");
    }
}
