//! What a datamover must not forget: its jobs, the jobs it may never run again, and the guests it froze. Plain files
//! below `state_dir`, each written at once and durably; what counts is what a file says, never what memory believed.
//!
//! ```text
//!  state_dir/lock                    held while the process lives: one datamover per folder
//!  state_dir/jobs/<job>.json         one job: command, attempt, epoch, phase
//!  state_dir/barred/<job>.json       no attempt up to this one may run here any more
//!  state_dir/frozen/<instance>.json  written before a freeze, removed after a thaw
//!  state_dir/transfers/<job>.journal what of a transfer is durable on the target (chunk-store's)
//!
//!  jobs:   accepted ──grant──▶ running ──end──▶ finished ──ResultAck──▶ settled ──7 days──▶ gone
//! ```

mod record;
mod store;

pub use record::{JobRecord, JournalLeftover, NewJob, Phase};
pub use store::{Acceptance, Error, Journal, JournalHandle};

#[cfg(test)]
mod tests;
