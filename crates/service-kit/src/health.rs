//! What a service says of itself: whether it can do its work, and if not, why. `management` serves it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::config::HealthSection;
use crate::management::{Answer, Pages};
use crate::metrics::{Exposition, Kind, flag};
use crate::{StartError, Watchdog};

/// How the broker sees us.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "detail")]
pub enum BusHealth {
    /// The service has no session.
    #[default]
    None,
    /// Not connected; the last error, if any.
    Connecting(Option<String>),
    /// Connected; the number of the session.
    Ready(u64),
    /// The broker refused us.
    Refused(String),
    /// Drained.
    Closed,
}

impl BusHealth {
    /// Why nothing goes over the bus; `None` when it does, or when none is used.
    fn reason(&self) -> Option<String> {
        match self {
            Self::None | Self::Ready(_) => None,
            Self::Connecting(None) => Some("not connected to the broker yet".to_owned()),
            Self::Connecting(Some(error)) => Some(format!("not connected to the broker: {error}")),
            Self::Refused(reason) => Some(format!("the broker refused us: {reason}")),
            Self::Closed => Some("the session with the broker is closed".to_owned()),
        }
    }
}

/// The body of `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    pub service: &'static str,
    pub version: &'static str,
    /// Whether work can be done now; exactly when there are no reasons against it.
    pub healthy: bool,
    /// Why not: one sentence each.
    pub reasons: Vec<String>,
    pub draining: bool,
    pub bus: BusHealth,
    pub actors: BTreeMap<String, bool>,
}

/// The health of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    service: &'static str,
    watchdog: Watchdog,
    bus: Arc<Mutex<BusHealth>>,
    /// What else the service needs and does not have, by the name of the part.
    problems: Arc<Mutex<BTreeMap<&'static str, String>>>,
    draining: Arc<std::sync::atomic::AtomicBool>,
    pages: Pages,
}

impl Health {
    pub(crate) fn new(service: &'static str, watchdog: Watchdog) -> Self {
        Self {
            service,
            watchdog,
            bus: Arc::default(),
            problems: Arc::default(),
            draining: Arc::default(),
            pages: Pages::default(),
        }
    }

    /// Notes how the broker sees us.
    pub fn set_bus(&self, bus: BusHealth) {
        *self.bus.lock().unwrap_or_else(PoisonError::into_inner) = bus;
    }

    /// Notes what keeps a part from working, or that nothing does.
    pub fn set_problem(&self, part: &'static str, problem: Option<String>) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match problem {
            Some(problem) => drop(problems.insert(part, problem)),
            None => drop(problems.remove(part)),
        }
    }

    /// Notes that the service takes no more work.
    pub fn set_draining(&self) {
        self.draining.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// How the broker sees us now.
    #[must_use]
    pub fn bus(&self) -> BusHealth {
        self.bus.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How it is now.
    #[must_use]
    pub fn report(&self) -> HealthReport {
        let bus = self.bus();
        let actors = self.watchdog.actors();
        let draining = self.draining.load(std::sync::atomic::Ordering::SeqCst);
        let mut reasons = Vec::new();
        if draining {
            reasons.push("it drains and takes no more work".to_owned());
        }
        reasons.extend(bus.reason());
        reasons.extend(self.problems.lock().unwrap_or_else(PoisonError::into_inner).values().cloned());
        let dead = actors.iter().filter(|(_, alive)| !**alive);
        reasons.extend(dead.map(|(actor, _)| format!("the actor {actor} is dead")));
        HealthReport {
            service: self.service,
            version: env!("CARGO_PKG_VERSION"),
            healthy: reasons.is_empty(),
            reasons,
            draining,
            bus,
            actors,
        }
    }

    /// What is served beside `/health`. To be filled before [`Self::serve`].
    #[must_use]
    pub const fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Serves `GET /health` (200 when healthy, else 503; the same JSON), `GET /metrics` and the service's own pages if
    /// the config asks for it; gives the address. Who reaches the address may read: none of it is secret.
    ///
    /// Errors: the address cannot be taken, or the address file not written.
    pub fn serve(&self, section: &HealthSection) -> Result<Option<SocketAddr>, StartError> {
        crate::management::serve(self, section)
    }

    pub(crate) fn answer(&self) -> Answer {
        let report = self.report();
        let body = serde_json::to_string(&report).expect("a report is always JSON") + "\n";
        Answer { status: if report.healthy { 200 } else { 503 }, content_type: "application/json", body }
    }

    /// The figures that every service has.
    pub(crate) fn measure(&self, exposition: &mut Exposition) {
        let report = self.report();
        exposition
            .family("holdfast_build_info", Kind::Gauge, "The version that runs; always 1.")
            .sample(&[("service", report.service), ("version", report.version)], flag(true));
        exposition.single(
            "holdfast_ready",
            Kind::Gauge,
            "Whether the service can do its work, as /health says.",
            flag(report.healthy),
        );
        if report.bus != BusHealth::None {
            exposition.single(
                "holdfast_broker_session_up",
                Kind::Gauge,
                "Whether the service is connected to the broker.",
                flag(matches!(report.bus, BusHealth::Ready(_))),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_health() -> Health {
        Health::new("test", Watchdog::with_reaction(|_| {}))
    }

    #[track_caller]
    fn check_not_ready(health: &Health, reason: &str) {
        let report = health.report();
        assert!(!report.healthy);
        assert!(report.reasons.iter().any(|one| one.contains(reason)), "{:?}", report.reasons);
        assert_eq!(health.answer().status, 503);
    }

    #[test]
    fn a_service_is_ready_until_something_speaks_against_it() {
        let health = make_health();
        assert!(health.report().healthy);
        assert_eq!(health.answer().status, 200);
        health.set_bus(BusHealth::Connecting(Some("connection refused".to_owned())));
        check_not_ready(&health, "not connected to the broker: connection refused");
        health.set_bus(BusHealth::Refused("wrong password".to_owned()));
        check_not_ready(&health, "wrong password");
        health.set_bus(BusHealth::Ready(2));
        assert!(health.report().healthy);
        health.set_problem("catalog", Some("the catalog does not answer".to_owned()));
        check_not_ready(&health, "the catalog does not answer");
        health.set_problem("catalog", None);
        assert!(health.report().healthy);
        health.set_draining();
        check_not_ready(&health, "drains");
    }

    #[test]
    fn a_service_that_never_met_its_broker_is_not_ready_and_says_so() {
        let health = make_health();
        health.set_bus(BusHealth::Connecting(None));
        check_not_ready(&health, "not connected to the broker yet");
        let mut exposition = Exposition::default();
        health.measure(&mut exposition);
        let text = exposition.into_text();
        assert!(
            text.contains("\nholdfast_ready 0\n") && text.contains("\nholdfast_broker_session_up 0\n"),
            "{text}"
        );
    }
}
