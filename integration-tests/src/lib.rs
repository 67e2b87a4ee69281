//! The whole of Holdfast on one machine: real processes around a real broker, on real disks. Called by the tests
//! and by the demo.

pub mod config;
pub mod demo;
pub mod disks;
pub mod jobs;
pub mod ledger;
pub mod process;
pub mod scenario;
pub mod wait;
pub mod world;
