//! Where OpenStack's instances and volumes are: dmapi's port `cloud::Placement`.
//!
//! ```text
//!  instance ─▶ nova_api: instance_mappings ─▶ cell_mappings ─▶ the cell: instances ─▶ locate ─▶ Located
//!  volume ───▶ cinder: volumes ─▶ HOST@BACKEND#POOL ─▶ pools ─▶ PoolName
//!  target ───────────────────────────────────────────▶ pools ─▶ PoolName
//! ```
//!
//! The same is asked of the APIs when no database answers, or none may be read.
//! Of databases it reads a few columns and can write nothing: each session is read-only, and its user needs no more than the rights
//! that [`Grants`] prints. Only dmapi's wiring knows this crate; it knows neither bus nor saga.

mod error;

mod address;
mod database;
mod table;

mod instance_state;
mod nova;

mod cinder;
mod pools;

mod api;

mod grants;
mod placement;

mod examine;
mod source;

pub use address::{CellUrl, DatabaseUrl, InvalidUrl};
pub use database::Account;
pub use examine::examine;
pub use grants::Grants;
pub use nova::Cells;
pub use placement::{Databases, OpenstackPlacement, Settings};
pub use pools::{Pools, Rule};
