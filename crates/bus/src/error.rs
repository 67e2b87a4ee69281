//! What can go wrong on the bus.

use model::{ErrorClass, Failure};

/// Errors of a session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the list of brokers is empty: name at least one, for example amqp://127.0.0.1:5672")]
    NoBroker,
    #[error("{broker:?} is not a broker: {reason}")]
    InvalidBroker { broker: String, reason: String },
    #[error("failed to start the threads of the bus")]
    Threads(#[source] std::io::Error),
    /// The broker does not want us.
    #[error("{reason}")]
    Refused { reason: String },
    #[error("not connected to a broker: {reason}")]
    NotConnected { reason: String },
    #[error("the session is closed")]
    Closed,
    #[error("failed to inspect queue {queue}")]
    Inspect {
        queue: String,
        #[source]
        source: lapin::Error,
    },
    #[error("failed to look through queue {queue}")]
    Look {
        queue: String,
        #[source]
        source: lapin::Error,
    },
}

impl Error {
    /// As operators see it. Codes: `BUS_CONFIG_INVALID`, `BUS_REFUSED`, `BUS_UNREACHABLE`.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::NoBroker | Self::InvalidBroker { .. } => {
                Failure::permanent("BUS_CONFIG_INVALID", self.to_string())
            }
            Self::Refused { .. } => Failure::permanent("BUS_REFUSED", self.to_string()),
            Self::Inspect { source, .. } | Self::Look { source, .. } => {
                Failure::transient("BUS_UNREACHABLE", format!("{self}: {source}"))
            }
            Self::Threads(source) => Failure::transient("BUS_UNREACHABLE", format!("{self}: {source}")),
            Self::NotConnected { .. } | Self::Closed => {
                Failure::transient("BUS_UNREACHABLE", self.to_string())
            }
        }
    }
}

/// Why a message was not, or may not have been, taken by the broker.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// No queue is bound for it; nothing was kept.
    #[error("no queue takes messages of exchange {exchange} with routing key {routing_key}")]
    Unroutable { exchange: String, routing_key: String },
    /// A queue is full or gone; nothing was kept.
    #[error(
        "the broker could not keep the message for exchange {exchange} with routing key {routing_key}: a queue is full"
    )]
    Nacked { exchange: String, routing_key: String },
    /// The rights or the topology do not allow it; repeating cannot help.
    #[error(
        "the broker refused the message for exchange {exchange} with routing key {routing_key}: {reason}"
    )]
    Refused { exchange: String, routing_key: String, reason: String },
    /// The connection ended before the confirm: publish again, with the same message id.
    #[error("the broker did not confirm the message: {reason}")]
    Unknown { reason: String },
    /// Nothing was sent.
    #[error("not connected to a broker: {reason}")]
    NotConnected { reason: String },
    /// Nothing was sent.
    #[error("the message of {size} bytes is larger than the {max} that the bus takes")]
    TooLarge { size: usize, max: usize },
}

impl PublishError {
    /// What a retry may hope for.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Unroutable { .. } | Self::Refused { .. } | Self::TooLarge { .. } => ErrorClass::Permanent,
            Self::Nacked { .. } => ErrorClass::Throttled,
            Self::Unknown { .. } => ErrorClass::Indeterminate,
            Self::NotConnected { .. } => ErrorClass::Transient,
        }
    }
}
