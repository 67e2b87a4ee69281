//! The catalog on a real SQLite file and a real private MariaDB.

#![allow(clippy::unwrap_used)] // helpers of tests, too

mod contention;
mod failure;
mod fixture;
mod lease;
mod notifications;
mod schema;
mod service;
mod state;
mod walk;
