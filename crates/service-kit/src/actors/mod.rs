//! The thin actors at the bus, the same in all services.

mod bus_session;
mod queue_consumer;

pub use bus_session::BusSession;
pub use queue_consumer::{Consuming, Counts, Handled, MessageHandler, QueueConsumer};
