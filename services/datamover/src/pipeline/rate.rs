//! How fast all transfers together may go.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use runtime::Clock;

/// Bytes per second, shared by all transfers. Each take reserves its time in a row, so that many small ones cannot starve
/// a large one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RateLimit {
    clock: Arc<dyn Clock>,
    bytes_per_second: Option<u64>,
    free_at: Arc<Mutex<Instant>>,
}

impl RateLimit {
    /// A limit; `None`: as fast as it goes.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, bytes_per_second: Option<u64>) -> Self {
        let free_at = Arc::new(Mutex::new(clock.monotonic()));
        Self { clock, bytes_per_second, free_at }
    }

    /// Waits until `bytes` may pass. Cancel safe: yes; its time is spent all the same.
    pub async fn take(&self, bytes: u64) {
        let pause = self.reserve(bytes);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Reserves the time of `bytes`; gives how long to wait for its beginning.
    fn reserve(&self, bytes: u64) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let now = self.clock.monotonic();
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = (*free_at).max(now);
        let micros = u128::from(bytes) * 1_000_000 / u128::from(rate.max(1));
        *free_at = begin + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        begin.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use runtime::ManualClock;

    use super::*;

    #[test]
    fn bytes_pass_at_the_rate_and_idle_time_is_not_saved_up() {
        let clock = ManualClock::starting_at(Timestamp(1));
        let limit = RateLimit::new(clock.clone(), Some(1000));
        assert_eq!(limit.reserve(500), Duration::ZERO);
        assert_eq!(limit.reserve(500), Duration::from_millis(500));
        assert_eq!(limit.reserve(500), Duration::from_millis(1000));
        clock.advance(Duration::from_secs(60));
        assert_eq!(limit.reserve(500), Duration::ZERO);
        assert_eq!(limit.reserve(500), Duration::from_millis(500));
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let limit = RateLimit::new(ManualClock::starting_at(Timestamp(1)), None);
        assert_eq!(limit.reserve(u64::MAX), Duration::ZERO);
    }
}
