//! Time. Wall time is for records and deadlines that outlive a process; monotonic time for what a process may do.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Timestamp;

/// Gives the time. Cheap to clone.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Wall time, UTC.
    fn now(&self) -> Timestamp;
    /// Monotonic time, for leases and rates.
    fn monotonic(&self) -> Instant;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The clock as services pass it on.
    #[must_use]
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // this is the door
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that moves only when told; for tests of deadlines and leases.
#[derive(Debug)]
pub struct ManualClock {
    start: Instant,
    micros: AtomicI64,
}

impl ManualClock {
    /// Starts at `now`.
    #[must_use]
    pub fn starting_at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), micros: AtomicI64::new(now.0) })
    }

    /// Moves both times forward.
    pub fn advance(&self, duration: Duration) {
        self.micros.fetch_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.micros.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Instant {
        self.start + Duration::from_micros(u64::try_from(self.micros.load(Ordering::SeqCst)).unwrap_or(0))
    }
}
