//! The message bus: session, envelope, confirmed publishing, consuming, dead letters.
//!
//! A `Session` holds two connections (publishing and consuming, so that the broker's flow control on publishers does not
//! stop acks) on a runtime of its own, and rebuilds them for ever; `Publisher` and `Consumer` go on over reconnects. What
//! messages mean is not known here. Called by the services.
//!
//! ```text
//!   Session ── supervisor ──▶ Link 1 ──✗  Link 2 ──✗  Link 3 …     one number per session
//!      │                        ├─ publish connection: channel with confirms, window of 200
//!      ├─ Publisher ────────────┘
//!      └─ Consumer ─────────────── consume connection: a channel per consumer, acks carry the session's number
//! ```

mod config;
mod connect;
mod consumer;
mod dead_letters;
mod delivery;
mod envelope;
mod error;
pub mod header;
mod letter;
mod link;
mod listener;
mod publisher;
mod session;

pub use config::BusConfig;
pub use consumer::{AcceptFrom, Consume, Consumer};
pub use dead_letters::{DeadLetters, Settled, Stayed, Verdict};
pub use delivery::Delivery;
pub use envelope::{BODY_SIZE_MAX, Envelope};
pub use error::{Error, PublishError};
pub use letter::{LaidBy, Letter, NotRetriable};
pub use listener::{Heard, Listen, Listener};
pub use publisher::Publisher;
pub use session::{QueueCounts, Session, SessionState};
