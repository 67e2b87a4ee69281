//! Names of the AMQP users.

use model::{HostName, ServiceName};

/// The controllers; the only user who may declare.
pub const CONTROLLER: &str = "holdfast-controller";
/// dmapi.
pub const DMAPI: &str = "holdfast-dmapi";
/// Whoever looks at the counts of queues: the controllers' status, people, monitoring.
pub const MONITOR: &str = "holdfast-monitor";
/// Datamovers, one user per host.
pub const MOVER_PREFIX: &str = "holdfast-mover-";
/// Other services, one user per service.
pub const INTAKE_PREFIX: &str = "holdfast-intake-";

/// The user of a host's datamover.
#[must_use]
pub fn mover(host: &HostName) -> String {
    format!("{MOVER_PREFIX}{host}")
}

/// The user of another service.
#[must_use]
pub fn intake(service: &str) -> String {
    format!("{INTAKE_PREFIX}{service}")
}

/// The service that is this user; `None` for other users.
#[must_use]
pub fn service_of_intake(user: &str) -> Option<ServiceName> {
    user.strip_prefix(INTAKE_PREFIX)?.parse().ok()
}

/// The host whose datamover is this user; `None` for other users.
#[must_use]
pub fn host_of_mover(user: &str) -> Option<HostName> {
    user.strip_prefix(MOVER_PREFIX)?.parse().ok()
}
