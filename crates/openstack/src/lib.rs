//! Holdfast's own thin client of OpenStack: who we are (`Auth`), where the services are (`Session`, by Keystone's catalog),
//! and requests to them with everything that production asks for: pinned microversions, paging, tokens that are renewed,
//! retry by class of error, bodies as streams, and errors that name the request.
//!
//! It knows OpenStack's words and none of ours: no port, no workload, no saga. Called by the drivers of the cloud's ports, by the
//! controller's door to Keystone, and by the command line.

mod answer;
mod auth;
mod catalog;
mod config;
mod envelope;
mod error;
mod keystone;
mod microversion;
mod notification;
mod paging;
mod request;
mod service;
mod session;
mod settings;
mod token;
mod transport;
mod yaml;

pub use answer::Answer;
pub use auth::{Auth, Domain, Named, Scope};
pub use catalog::{Catalog, Interface};
pub use config::{Config, Timeouts};
pub use error::{Answered, Call, Error};
pub use keystone::{EndpointEntry, Entry, Keystone, NewTrust, Trust};
pub use microversion::Microversion;
pub use notification::{NotANotification, Notification, Priority};
pub use request::Request;
pub use service::Service;
pub use session::Session;
pub use token::{Actor, Project, RoleName, Token, TokenInfo, TrustOfToken, TrustParty};
