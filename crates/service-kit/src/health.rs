//! What a service says of itself, and the small HTTP server that says it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::{App, HttpResponse, HttpServer, web};
use serde::Serialize;

use crate::config::HealthSection;
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

/// The body of `GET /health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    pub service: &'static str,
    pub version: &'static str,
    /// Connected, all actors alive, not draining.
    pub healthy: bool,
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
    draining: Arc<std::sync::atomic::AtomicBool>,
}

impl Health {
    pub(crate) fn new(service: &'static str, watchdog: Watchdog) -> Self {
        Self { service, watchdog, bus: Arc::default(), draining: Arc::default() }
    }

    /// Notes how the broker sees us.
    pub fn set_bus(&self, bus: BusHealth) {
        *self.bus.lock().unwrap_or_else(PoisonError::into_inner) = bus;
    }

    /// Notes that the service takes no more work.
    pub fn set_draining(&self) {
        self.draining.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// How it is now.
    #[must_use]
    pub fn report(&self) -> HealthReport {
        let bus = self.bus.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let actors = self.watchdog.actors();
        let draining = self.draining.load(std::sync::atomic::Ordering::SeqCst);
        HealthReport {
            service: self.service,
            version: env!("CARGO_PKG_VERSION"),
            healthy: !draining
                && actors.values().all(|alive| *alive)
                && matches!(bus, BusHealth::None | BusHealth::Ready(_)),
            draining,
            bus,
            actors,
        }
    }

    /// Serves `GET /health` (200 when healthy, else 503; the same JSON) if the config asks for it; gives the address.
    ///
    /// Errors: the address cannot be taken, or the address file not written.
    pub fn serve(&self, section: &HealthSection) -> Result<Option<SocketAddr>, StartError> {
        let Some(listen) = section.listen else { return Ok(None) };
        let health = self.clone();
        let server = HttpServer::new(move || {
            App::new().app_data(web::Data::new(health.clone())).route("/health", web::get().to(answer))
        })
        .workers(1)
        .disable_signals()
        .bind(listen)
        .map_err(|source| StartError::failed(format!("failed to listen on {listen}: {source}")))?;
        let address = server.addrs().first().copied().unwrap_or(listen);
        if let Some(path) = &section.address_file {
            std::fs::write(path, address.to_string()).map_err(|source| {
                StartError::failed(format!("failed to write the address to {}: {source}", path.display()))
            })?;
        }
        // It ends with the process: there is nothing in it to lose.
        drop(tokio::spawn(server.run()));
        Ok(Some(address))
    }
}

async fn answer(health: web::Data<Health>) -> HttpResponse {
    let report = health.report();
    let mut response = if report.healthy { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.json(report)
}
