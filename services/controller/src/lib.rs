//! The controller: takes users' requests, owns the catalog, runs the sagas, calls the cloud. It never touches a byte of
//! a disk or a pack.
//!
//! ```text
//!  REST ──┐                      ┌── reply_consumer, heartbeat_consumer ◀── bus
//!         ├─▶ app ─▶ engine ◀────┼── timer_keeper, lease_keeper
//!  intake ┘            │         └── cloud_consumer ─▶ cloud_worker ─▶ cloud, targets
//!                      ▼
//!                   catalog ─▶ outbox_relay ─▶ bus
//!                      └─────▶ status_keeper ─▶ status ─▶ page, JSON, metrics
//! ```
//!
//! Reading order: `sagas::snapshot_create`, then `engine`, then `actors`.

pub mod sagas;

pub mod engine;

pub mod cloud_jobs;

pub mod app;
pub mod state;

pub mod actors;
mod intake_json;
pub mod rest;

pub mod doctor;
pub mod identity;
mod signs;
pub mod status;

pub mod cli;
pub mod config;
pub mod enroll;
pub mod register;
mod start;
pub mod wiring;

pub use signs::Signs;
pub use start::{db_sync, start};
