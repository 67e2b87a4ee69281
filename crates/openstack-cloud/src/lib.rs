//! The port `cloud::Cloud` on an OpenStack: what is collected of an instance, which instances are refused, and the effects of
//! sagas, each tagged so that a repeat finds it.
//!
//! Every call is made with the rights of the owner, by a session that `Sessions` gives. Only the controller uses this crate, and
//! only its wiring names it.

mod calls;
mod sessions;
mod tags;
mod wire;

mod describe;
mod refusals;
mod states;

mod attachments;
mod instances;
mod ports;
mod snapshots;
mod volumes;

mod ledger;
mod quotas;

mod driver;
mod examine;
pub mod notifications;

pub use driver::{OpenStackCloud, Settings};
pub use examine::examine;
pub use sessions::{OneSession, Sessions};
