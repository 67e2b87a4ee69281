//! The whole of Holdfast on one machine: real processes around a real broker, on real disks. Called by the tests,
//! by the demo and by the soak.

pub mod config;
pub mod dead_letters;
pub mod demo;
pub mod disks;
pub mod doctor;
pub mod jobs;
pub mod ledger;
pub mod process;
pub mod readback;
pub mod scenario;
pub mod soak;
pub mod wait;
pub mod world;
