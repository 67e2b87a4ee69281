//! Has leftovers looked for and removed from time to time, without a person: an effect that came after its saga had ended, a host
//! that came back. Two controllers may try the same turn: its saga has one id, and one of them starts it.

use std::time::Duration;

use model::Timestamp;
use service_kit::telemetry::Chain;
use service_kit::{Service, drill};

use crate::app::leftovers;
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
                () = tokio::time::sleep(until_next(state.clock.now(), interval)) => {
                    if let Err(error) = leftovers::start_by_itself(&state, interval, age_min).await {
                        tracing::warn!(error = %Chain(&error), "leftovers could not be looked for, will try again");
                    }
                }
            }
        }
    });
}

/// Turns begin at the same moments for all controllers, and not with their starts.
fn until_next(now: Timestamp, interval: Duration) -> Duration {
    let length = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX).max(1);
    Duration::from_micros(u64::try_from(length - now.0.rem_euclid(length)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_begins_at_whole_multiples_of_its_length() {
        let hour = Duration::from_secs(3600);
        assert_eq!(until_next(Timestamp(0), hour), hour);
        assert_eq!(until_next(Timestamp(3_599_000_000), hour), Duration::from_secs(1));
        assert_eq!(until_next(Timestamp(3_600_000_001), hour), hour - Duration::from_micros(1));
    }
}
