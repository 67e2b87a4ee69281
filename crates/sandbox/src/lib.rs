//! Private RabbitMQ and MariaDB for tests and the demo: own ports, own data, nothing left behind.
//!
//! Knows nothing of services. Called by integration tests and by the demo.

mod broker;
mod certificates;
mod mariadb;
mod port;
mod process;

pub use broker::Broker;
pub use broker_admin::QueueInfo;
pub use certificates::Certificates;
pub use mariadb::MariaDb;
pub use port::free_port;
pub use process::Supervised;
