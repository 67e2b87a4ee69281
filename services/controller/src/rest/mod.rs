//! The REST API in T4O's shape over `app`: parses, identifies, authorises, asks `app`, and shows what it gave.
//! The bodies are those of the crate `rest-api`; the map from errors to HTTP is `error`.

mod server;

mod asked;
mod auth;
mod body;
mod error;
mod path;
mod request_id;
mod tokens;

mod dead_letters;
mod doctor;
mod health;
mod leftovers;
mod restores;
mod sagas;
mod snapshots;
mod status;
mod targets;
mod trusts;
mod view;
mod workloads;

pub use auth::Authenticator;
pub use server::serve;
pub use tokens::{TokensError, TokensFile};
