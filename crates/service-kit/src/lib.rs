//! What every service of Holdfast is made of: arguments, config, telemetry, an actix system on a multi-thread runtime,
//! a watchdog over its actors, health, metrics, drain, and the thin actors at the bus.
//!
//! It knows no message and no job. Called by the services, which hand it their handlers.

pub mod actors;
mod args;
pub mod checks;
pub mod config;
pub mod drill;
mod exit;
mod health;
mod host;
mod management;
pub mod metrics;
mod run;
pub mod sealing;
pub mod telemetry;
mod watchdog;

pub use args::{ServiceArgs, about_config};
pub use exit::Exit;
pub use health::{BusHealth, Health, HealthReport};
pub use host::own_host;
pub use management::{Answer, Pages};
pub use run::{Drain, Service, StartError, run};
pub use watchdog::{Ping, Watchdog};
