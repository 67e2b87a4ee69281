//! What carries bytes: a disk to a target, a target to a disk. Each pipeline is one future that holds a bounded number of
//! slots, asks for its right before every put and write, and stops between two slots when told.

mod audit;
pub mod backup;
mod control;
mod fence;
mod means;
mod rate;
pub mod restore;
mod slots;

pub use audit::AuditFigures;
pub use control::{Control, Progress, ProgressValues, Stopper};
pub(crate) use fence::Fenced;
pub use means::Means;
pub use rate::RateLimit;

#[cfg(test)]
mod tests;
