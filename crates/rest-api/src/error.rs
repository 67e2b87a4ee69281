//! Error bodies, and what a call of the client may end in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `{"<kind>": {"message", "code", "error_code"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorBody(BTreeMap<String, ErrorDetail>);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    pub message: String,
    /// The HTTP status once more.
    pub code: u16,
    /// Ours: stable, with a row in docs/errors.md.
    #[serde(default)]
    pub error_code: String,
}

impl ErrorBody {
    /// The body of `fault` under the word that OpenStack's clients expect.
    #[must_use]
    pub fn new(fault: Fault, error_code: &str, message: impl Into<String>) -> Self {
        let detail =
            ErrorDetail { message: message.into(), code: fault.status(), error_code: error_code.to_owned() };
        Self(BTreeMap::from([(fault.word().to_owned(), detail)]))
    }

    /// The one detail; `None` for a body that is not ours.
    #[must_use]
    pub fn detail(&self) -> Option<&ErrorDetail> {
        self.0.values().next()
    }

    /// The word above the detail.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }
}

/// The refusals of the API: a status and a word each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Conflict,
    TooLarge,
    Internal,
    Unavailable,
}

impl Fault {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// The key of the body, as in Nova's and T4O's.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "badRequest",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "itemNotFound",
            Self::MethodNotAllowed => "badMethod",
            Self::Conflict => "conflictingRequest",
            Self::TooLarge => "overLimit",
            Self::Internal => "computeFault",
            Self::Unavailable => "serviceUnavailable",
        }
    }
}

/// How a call of the client failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{endpoint:?} is not a valid endpoint: {reason}")]
    Endpoint { endpoint: String, reason: String },
    #[error("the token has characters that cannot be sent")]
    Token,
    #[error("no token: {reason}")]
    Login { reason: String },
    #[error("failed to reach {url}")]
    NotReachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    /// The service answered with a refusal.
    #[error("{}", detail.message)]
    Refused { status: u16, detail: ErrorDetail, request_id: Option<String> },
    #[error(
        "{url} answered with status {status} and a body that is not of this API: is this the endpoint of Holdfast?"
    )]
    Foreign { url: String, status: u16 },
}

impl Error {
    /// The HTTP status, when there was an answer.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::Foreign { status, .. } => Some(*status),
            Self::Endpoint { .. } | Self::Token | Self::Login { .. } | Self::NotReachable { .. } => None,
        }
    }
}
