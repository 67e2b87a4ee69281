//! The only door to the clock, to randomness and to retry timing, the table of faults that drills inject, and durable
//! small files.
//!
//! Pure cores get times and ids handed in; services get them here, so that a test can hold them still.

pub mod atomic_file;
mod clock;
mod drill;
mod entropy;
mod retry;

pub use clock::{Clock, ManualClock, SystemClock};
pub use drill::{DrillError, Fault, FaultKind, FaultTable};
pub use entropy::Entropy;
pub use retry::RetryPolicy;
