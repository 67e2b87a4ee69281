//! Client of RabbitMQ's management API: users, rights, queues.
//!
//! Applies what `bus-config` says to a broker; decides nothing. Called by `holdfast-controller host`, by the
//! controller's status, by the sandbox and by tests.

mod admin;
mod error;
mod intake;
mod rights;
mod topology;

pub use admin::{Admin, QueueInfo};
pub use error::Error;
pub use intake::EnrolledService;
pub use rights::SeenRights;
pub use topology::{SeenQueue, SeenTopology};
