//! What users may ask for, as rules: each request is checked and written in one transaction of the catalog, and starts
//! its saga there. Called by `rest` and by the intake; it knows neither HTTP nor the bus.

mod caller;
mod error;
mod intake;
mod retrying;
mod text;

pub mod bases;
pub mod dead_letters;
pub mod leftovers;
pub mod restores;
pub mod sagas;
pub mod snapshots;
pub mod targets;
pub mod trusts;
pub mod workloads;

pub use caller::{Action, Caller, Named, Profile, Role, RoleNames};
pub use error::{Error, Refusal};
pub use intake::{IntakeKey, Started};
pub(crate) use text::shown;
