//! The actors of a datamover. They are thin: what they decide by is in `journal`, `lease` and `pipeline`.
//!
//! | actor | owns | mailbox | when it panics |
//! |---|---|---|---|
//! | `bus_session` | what is known of the session | 16 | exit 70 |
//! | `command_consumer`, `pool_consumer_<pool>`, `ctl_consumer` | counts; messages wait at the broker | prefetch | exit 70; a handler: its message comes again |
//! | `transfer_supervisor` | the jobs that run or wait | 16 | exit 70; a job: that job fails with `JOB_PANICKED` |
//! | `result_sender` | nothing: it reads the journal | 64 | exit 70 |
//! | `registrar` | nothing | 1 | exit 70 |
//! | `lease_keeper` (own thread) | leases and sent beats | 256 | exit 70 |
//! | `thaw_timer` (own thread) | guests that may be frozen | 64 | exit 70; at the next start all are thawed |

mod command_consumer;
mod ctl_consumer;
mod lease_keeper;
mod registrar;
mod result_sender;
mod running;
mod thaw_timer;
mod transfer_supervisor;

pub use command_consumer::CommandHandler;
pub use ctl_consumer::CtlHandler;
pub use lease_keeper::{Beats, Extension, LeaseKeeper};
pub use registrar::start_registrar;
pub use result_sender::ResultSender;
pub(crate) use result_sender::send_all;
pub use thaw_timer::ThawTimer;
pub use transfer_supervisor::{Begin, Drain, Expect, Grant, Stop, TransferSupervisor};
