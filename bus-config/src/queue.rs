//! Names of the queues. All are quorum queues.

use model::{HostName, PoolName};

use crate::Class;

/// Jobs submitted by other services.
pub const INTAKE: &str = "holdfast.q.intake";
/// Replies to the controllers.
pub const CTRL_REP: &str = "holdfast.q.ctrl.rep";
/// Heartbeats to the controllers; lossy.
pub const CTRL_HB: &str = "holdfast.q.ctrl.hb";
/// Facts that the controllers tell to OpenStack; lossy.
pub const CTRL_EVT: &str = "holdfast.q.ctrl.evt";
/// Jobs of the controllers' cloud workers.
pub const CTRL_CLOUD: &str = "holdfast.q.ctrl.cloud";
/// Commands to be placed.
pub const DMAPI: &str = "holdfast.q.dmapi";

/// Jobs of one host.
#[must_use]
pub fn mover_host(host: &HostName) -> String {
    format!("holdfast.q.mover.host.{}", host.routing_word())
}

/// Control of the jobs of one host: never behind work.
#[must_use]
pub fn mover_host_ctl(host: &HostName) -> String {
    format!("holdfast.q.mover.host.{}.ctl", host.routing_word())
}

/// Jobs for any datamover of a pool.
#[must_use]
pub fn mover_pool(pool: &PoolName) -> String {
    format!("holdfast.q.mover.pool.{pool}")
}

/// Facts and answers for another service.
#[must_use]
pub fn subscriber(service: &str) -> String {
    format!("holdfast.q.sub.{service}")
}

/// Dead letters of a class.
#[must_use]
pub fn dead(class: Class) -> String {
    format!("holdfast.q.dead.{}", class.as_str())
}
