//! dmapi places: it answers one question, *where?*, and forwards the untouched job to the datamover there.
//!
//! Keeps no state and decides nothing about failures: what cannot be placed is answered with `JobFailed`, and the
//! controller's saga does the rest. Any number of them may run.
//!
//! ```text
//!  bus ─▶ placer (queue consumer) ─▶ decode ─▶ placement: where? ─▶ is a datamover there? ─▶ forward ─▶ ack
//!                                      │            └── no ────────────── no ─┴─▶ JobFailed ─▶ ack
//!                                      └── makes no sense ─▶ dead letters
//!  beat_sender ─▶ a heartbeat every few seconds ─▶ bus
//! ```

mod beat_sender;
pub mod config;
mod examine;
mod forward;
mod placement;
mod wiring;

pub use examine::check;
pub use forward::Placer;
pub use placement::{Destination, resolve};
pub use wiring::{grants, start};
