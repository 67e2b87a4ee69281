//! How a request ends when it is not granted.

use model::{ErrorClass, Failure};

use crate::engine;

/// What kind of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request itself is wrong.
    Invalid,
    /// The caller may not.
    Forbidden,
    /// It names something that is not there, or that another project has.
    NotFound,
    /// It cannot be done as things stand.
    Conflict,
}

/// A request that was not granted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The message names the thing and says what to do.
    #[error("{message}")]
    Refused { refusal: Refusal, code: &'static str, message: String },
    /// The cloud said no, or did not answer.
    #[error("{}", .0.message)]
    Cloud(Failure),
    /// Of a trust, or of the way to those who keep it.
    #[error("{}", .0.message)]
    Trust(Failure),
    #[error("failed to reach the catalog")]
    Catalog(#[source] catalog::Error),
    #[error("failed to look at the dead letters")]
    Bus(#[source] bus::Error),
    #[error("failed to move the saga")]
    Engine(#[source] engine::Error),
}

impl Error {
    /// A wrong request.
    #[must_use]
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::Refused { refusal: Refusal::Invalid, code, message: message.into() }
    }

    /// A missing right.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::Refused { refusal: Refusal::Forbidden, code: "FORBIDDEN", message: message.into() }
    }

    /// A token that says who asks, but not for which project.
    #[must_use]
    pub fn unscoped(message: impl Into<String>) -> Self {
        Self::Refused { refusal: Refusal::Forbidden, code: "TOKEN_UNSCOPED", message: message.into() }
    }

    /// An id that names nothing in the caller's project.
    #[must_use]
    pub fn not_found(code: &'static str, noun: &str, id: &dyn std::fmt::Display) -> Self {
        Self::Refused {
            refusal: Refusal::NotFound,
            code,
            message: format!("there is no {noun} {id} in this project"),
        }
    }

    /// A request that must wait, or never works on this object.
    #[must_use]
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::Refused { refusal: Refusal::Conflict, code, message: message.into() }
    }

    /// The error as it travels over the bus and into logs.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Refused { refusal, code, message } => {
                let class = if *refusal == Refusal::Conflict {
                    ErrorClass::Contention
                } else {
                    ErrorClass::Permanent
                };
                Failure::new(class, code, message.clone())
            }
            Self::Cloud(failure) | Self::Trust(failure) => failure.clone(),
            Self::Catalog(error) => error.failure(),
            Self::Engine(error) => error.failure(),
            Self::Bus(error) => error.failure(),
        }
    }
}

impl From<catalog::Error> for Error {
    fn from(error: catalog::Error) -> Self {
        Self::Catalog(error)
    }
}

impl From<bus::Error> for Error {
    fn from(error: bus::Error) -> Self {
        Self::Bus(error)
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        let message = error.to_string();
        match error {
            engine::Error::Catalog(error) => Self::Catalog(error),
            engine::Error::CancelTooLate(id) => Self::conflict(
                "CANCEL_TOO_LATE",
                format!("saga {id} ended already or passed its point of no return: nothing was cancelled"),
            ),
            engine::Error::NotStuck { .. } => Self::conflict("SAGA_NOT_STUCK", message),
            other => Self::Engine(other),
        }
    }
}
