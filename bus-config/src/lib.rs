//! Exchanges, queues, bindings, policies, users and rights, in one table.
//!
//! Everything that names a part of the bus takes the name from here, and what the broker is told is rendered from here
//! (`definitions.json`, `asyncapi.json`, kept fresh by a test). Pure; knows no broker. README.md draws who publishes where.

mod asyncapi;
mod class;
mod definitions;
pub mod exchange;
pub mod fact;
mod intake;
pub mod key;
pub mod queue;
mod role;
mod topology;
pub mod user;
mod vouch;

pub use asyncapi::{asyncapi, asyncapi_text};
pub use class::Class;
pub use definitions::{EXCHANGE_KIND, definitions, definitions_text};
pub use intake::{Enrolment, Subscription};
pub use role::{Permissions, Role, TopicPermission, pools_of};
pub use topology::{
    Binding, Exchange, Policy, Queue, Topology, base_topology, host_topology, policies, pool_topology,
    subscriber_topology,
};
pub use vouch::{leads_to, may_lay, may_send};

/// The vhost of Holdfast, apart from the cloud's own services.
pub const VHOST: &str = "holdfast";
