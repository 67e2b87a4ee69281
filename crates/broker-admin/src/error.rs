//! Why the management API did not do it.

use model::Failure;

/// Errors of the management API. All name the address; none holds the password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{url:?} is not an address of a management API: {reason}")]
    InvalidUrl { url: String, reason: String },
    #[error("failed to reach the management API at {url}: is the plugin rabbitmq_management enabled?")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the management API at {url} refused user {user}: check its password and tag")]
    Refused { url: String, user: String },
    #[error("the management API answered {method} {url} with {status}: {reason}")]
    Answered { method: String, url: String, status: u16, reason: String },
    #[error("failed to read the answer of the management API at {url}")]
    Decode {
        url: String,
        #[source]
        source: reqwest::Error,
    },
}

impl Error {
    /// As operators see it. Codes: `BROKER_ADMIN_INVALID`, `BROKER_ADMIN_UNREACHABLE`, `BROKER_ADMIN_REFUSED`, `BROKER_ADMIN_FAILED`.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::InvalidUrl { .. } => Failure::permanent("BROKER_ADMIN_INVALID", self.to_string()),
            Self::Unreachable { source, .. } => {
                Failure::transient("BROKER_ADMIN_UNREACHABLE", format!("{self} ({source})"))
            }
            Self::Refused { .. } => Failure::permanent("BROKER_ADMIN_REFUSED", self.to_string()),
            Self::Answered { .. } => Failure::permanent("BROKER_ADMIN_FAILED", self.to_string()),
            Self::Decode { source, .. } => {
                Failure::permanent("BROKER_ADMIN_FAILED", format!("{self}: {source}"))
            }
        }
    }
}
