//! Why a saga could not be moved.

use model::{ErrorClass, Failure, SagaId};

/// The saga could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to reach the catalog")]
    Catalog(#[source] catalog::Error),
    /// It ended already, or passed its pivot. Code `CANCEL_TOO_LATE`.
    #[error("the saga {0} can no longer be cancelled")]
    CancelTooLate(SagaId),
    #[error("there is no saga {0}")]
    NoSuchSaga(SagaId),
    /// An operator's verb for a saga that is not stuck. Code `SAGA_NOT_STUCK`.
    #[error("saga {saga_id} is {phase}: only a stuck saga takes retry, skip or abandon")]
    NotStuck { saga_id: SagaId, phase: String },
    /// Its kept data do not fit this program. Code `SAGA_UNREADABLE`.
    #[error("the saga {saga_id} cannot be read: {reason}")]
    Unreadable { saga_id: SagaId, reason: String },
}

impl Error {
    /// As operators see it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Catalog(error) => error.failure(),
            Self::CancelTooLate(_) => Failure::permanent("CANCEL_TOO_LATE", self.to_string()),
            Self::NoSuchSaga(_) => Failure::permanent("SAGA_NOT_FOUND", self.to_string()),
            Self::NotStuck { .. } => Failure::permanent("SAGA_NOT_STUCK", self.to_string()),
            Self::Unreadable { .. } => Failure::new(ErrorClass::Bug, "SAGA_UNREADABLE", self.to_string()),
        }
    }

    /// Whether the same event, tried again from its start, may find the way free.
    pub(crate) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Catalog(catalog::Error::Conflict { .. }))
    }
}

impl From<catalog::Error> for Error {
    fn from(error: catalog::Error) -> Self {
        Self::Catalog(error)
    }
}
