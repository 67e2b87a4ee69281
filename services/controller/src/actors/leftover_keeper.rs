//! Has leftovers looked for and removed from time to time, without a person: an effect that came after its saga had ended, a host
//! that came back. Two controllers may try the same turn: its saga has one id, and one of them starts it.

use std::time::Duration;

use service_kit::telemetry::Chain;
use service_kit::{Service, drill};

use crate::app::leftovers::{self, Turn};
use crate::state::AppState;

/// Starts the keeper, which looks every `interval` for what is as old.
pub fn start(service: &Service, state: AppState, interval: Duration, age_min: Duration) {
    let mut drain = service.drain();
    service.supervise("leftover_keeper", async move {
        while !drain.has_begun() {
            drill::maybe_panic("leftover_keeper");
            tokio::select! {
                biased; // both are cancel safe
                () = drain.begun() => {}
                () = tokio::time::sleep(Turn::at(state.clock.now(), interval).next_in) => {
                    if let Err(error) = leftovers::start_by_itself(&state, interval, age_min).await {
                        tracing::warn!(error = %Chain(&error), "leftovers could not be looked for, will try again");
                    }
                }
            }
        }
    });
}
