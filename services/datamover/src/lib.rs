//! A datamover carries: it freezes and thaws the guests of its own host, moves disks to backup targets and back, and
//! cleans up after itself. It decides nothing, calls no cloud, and trusts no message, disk or clock but its own.
//!
//! ```text
//!  bus ─▶ command_consumer ─▶ handlers ─▶ journal (fsync) ─▶ JobAccepted ─▶ ack
//!  bus ─▶ ctl_consumer ─▶ ctl/lease_grant … ─▶ transfer_supervisor ─▶ pipeline ─▶ journal ─▶ result_sender ─▶ bus
//!           threads of their own:   lease_keeper (beats, extensions)       thaw_timer (no guest stays frozen)
//! ```

pub mod actors;
pub mod config;
pub mod connections;
pub mod ctl;
pub mod examine;
pub mod handlers;
pub mod journal;
pub mod lease;
pub mod limits;
pub mod outcome;
pub mod pipeline;
pub mod ports;
pub mod replies;
pub mod targets;
mod wiring;

pub use wiring::start;
