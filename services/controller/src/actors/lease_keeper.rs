//! Notices leases that nobody extends any more. It judges only when it would have heard: not within one lease after the
//! start or after the connection to the broker changed, since the silence may have been ours.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Session, SessionState};
use catalog::Catalog;
use runtime::Clock;
use service_kit::telemetry::Chain;
use service_kit::{Service, drill};
use tokio::sync::watch;

use crate::engine::{self, Engine};

struct Keeper {
    engine: Engine,
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    states: watch::Receiver<SessionState>,
    hears: Hearing,
}

/// Since when heartbeats can have been heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hearing {
    session: Option<u64>,
    since: Instant,
}

/// Starts the keeper, which looks every `tick`.
pub fn start(
    service: &Service,
    session: &Session,
    engine: Engine,
    (catalog, clock): (Catalog, Arc<dyn Clock>),
    tick: Duration,
) {
    let hears = Hearing { session: None, since: clock.monotonic() };
    let mut keeper = Keeper { engine, catalog, clock, states: session.state(), hears };
    let mut drain = service.drain();
    service.supervise("lease_keeper", async move {
        while !drain.has_begun() {
            if let Err(error) = keeper.look().await {
                tracing::warn!(error = %Chain(&error), "leases could not be looked at, will try again");
            }
            tokio::select! {
                biased; // both are cancel safe
                () = drain.begun() => {}
                () = tokio::time::sleep(tick) => {}
            }
        }
    });
}

impl Keeper {
    async fn look(&mut self) -> Result<(), engine::Error> {
        drill::maybe_panic("lease_keeper");
        let session = match *self.states.borrow_and_update() {
            SessionState::Ready { number } => Some(number),
            _ => None,
        };
        self.hears = self.hears.after(session, self.clock.monotonic());
        if !self.hears.may_judge(self.clock.monotonic(), self.engine.lease_ttl()) {
            return Ok(());
        }
        let expired = self.catalog.read().await?.expired_job_leases(self.clock.now()).await?;
        for job in expired {
            self.engine.lease_expired(&job).await?;
        }
        Ok(())
    }
}

impl Hearing {
    /// A new session begins a new silence.
    fn after(self, session: Option<u64>, now: Instant) -> Self {
        if session == self.session { self } else { Self { session, since: now } }
    }

    fn may_judge(self, now: Instant, lease_ttl: Duration) -> bool {
        self.session.is_some() && now.saturating_duration_since(self.since) > lease_ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_judged_within_a_lease_of_a_new_session_or_without_one() {
        let (start, ttl) = (Instant::now(), Duration::from_secs(90));
        let hears = Hearing { session: None, since: start }.after(Some(1), start);
        assert!(!hears.may_judge(start + ttl, ttl));
        assert!(hears.may_judge(start + ttl * 2, ttl));
        let again = hears.after(Some(2), start + ttl * 2);
        assert!(!again.may_judge(start + ttl * 3, ttl));
        let lost = hears.after(None, start + ttl * 2);
        assert!(!lost.may_judge(start + ttl * 9, ttl));
    }
}
