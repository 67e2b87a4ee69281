//! Why a call did not do it. Every error names the request; none holds a token, a password or a body of ours.

use std::fmt;
use std::time::Duration;

use model::{ErrorClass, Failure};

use crate::{Interface, Microversion, Service};

/// A request as errors and logs name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub method: String,
    /// Without user, password and fragment.
    pub url: String,
    /// The id that we sent along; services write it into their logs as the global request id.
    pub request_id: String,
    /// Whether doing it twice is as doing it once.
    pub is_repeatable: bool,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// An answer that is not the one we wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub call: Box<Call>,
    pub status: u16,
    /// The service's own words.
    pub message: String,
    /// Whether the body was JSON, as of an API, and not the page of a web server.
    pub is_api: bool,
    /// The service's own name of the request, else ours.
    pub request_id: String,
    /// How long the service asks us to wait.
    pub retry_after: Option<Duration>,
    /// What it speaks, of a refusal of our microversion.
    pub(crate) versions_offered: Option<String>,
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, status, message, request_id, .. } = self;
        write!(f, "{call} answered {status}: {message} (request {request_id})")
    }
}

/// Errors of OpenStack, and of the way to it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the settings of the cloud do not hold: {reason}")]
    Config { reason: String },
    #[error(
        "Keystone refused {who}: {answered}; check name, domain and secret, and that it has a role there"
    )]
    LoginRefused { who: String, answered: Box<Answered> },
    #[error(
        "the token has ended and cannot be renewed, since it was given to us: get another one ({answered})"
    )]
    TokenEnded { answered: Box<Answered> },
    #[error(
        "the catalog has no {interface} endpoint of service {service}{}; it has: {}",
        .region.as_ref().map(|it| format!(" in region {it}")).unwrap_or_default(),
        if .offered.is_empty() { "none at all".to_owned() } else { .offered.join(", ") }
    )]
    EndpointMissing { service: Service, interface: Interface, region: Option<String>, offered: Vec<String> },
    #[error("service {service} is in the regions {}: set the region's name", .regions.join(", "))]
    EndpointAmbiguous { service: Service, regions: Vec<String> },
    #[error("the address of service {service} makes no sense: {reason}")]
    EndpointInvalid { service: Service, reason: String },
    #[error("{call}: no connection (request {})", .call.request_id)]
    Unreachable {
        call: Box<Call>,
        #[source]
        source: reqwest::Error,
    },
    #[error("{call}: {what}, and no whole answer came (request {})", .call.request_id)]
    AnswerLost {
        call: Box<Call>,
        what: String,
        is_timeout: bool,
        #[source]
        source: Option<reqwest::Error>,
    },
    #[error("{0}")]
    Answered(Box<Answered>),
    #[error("service {service} is too old: it speaks {offered} and not {wanted}, which is needed ({call})")]
    VersionUnsupported { service: Service, wanted: Microversion, offered: String, call: Box<Call> },
    #[error("{call} answered what makes no sense: {reason} (request {request_id})")]
    AnswerInvalid { call: Box<Call>, reason: String, request_id: String },
}

impl Error {
    /// Whether the thing is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether the service says of the thing itself that it is not there. A 404 of a web server, or of a service that does not know
    /// the path, says nothing of the thing: then it may well be there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_not_found() && self.answered().is_some_and(Answered::names_its_thing)
    }

    /// The status of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.answered().map(|answered| answered.status)
    }

    /// The answer, if there was one.
    #[must_use]
    pub fn answered(&self) -> Option<&Answered> {
        match self {
            Self::Answered(answered)
            | Self::LoginRefused { answered, .. }
            | Self::TokenEnded { answered } => Some(answered),
            _ => None,
        }
    }

    /// What a retry may hope for.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. } => ErrorClass::Transient,
            Self::AnswerLost { call, .. } => lost(call),
            Self::Answered(answered) => answered.class(),
            // Repeating a read gives the same answer; what was to be done may have been done.
            Self::AnswerInvalid { call, .. } if !call.is_repeatable => ErrorClass::Indeterminate,
            _ => ErrorClass::Permanent,
        }
    }

    /// As it travels. Codes: `OPENSTACK_*` in docs/errors.md.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::of(self.class(), self.code(), self, None)
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Config { .. } => "OPENSTACK_CONFIG_INVALID",
            Self::LoginRefused { .. } => "OPENSTACK_LOGIN_REFUSED",
            Self::TokenEnded { .. } => "OPENSTACK_TOKEN_ENDED",
            Self::EndpointMissing { .. } | Self::EndpointAmbiguous { .. } | Self::EndpointInvalid { .. } => {
                "OPENSTACK_ENDPOINT_MISSING"
            }
            Self::Unreachable { .. } => "OPENSTACK_UNREACHABLE",
            Self::AnswerLost { .. } => "OPENSTACK_ANSWER_LOST",
            Self::Answered(answered) => answered.code(),
            Self::VersionUnsupported { .. } => "OPENSTACK_VERSION_UNSUPPORTED",
            Self::AnswerInvalid { .. } => "OPENSTACK_ANSWER_INVALID",
        }
    }
}

/// What became of a call whose answer we do not know.
const fn lost(call: &Call) -> ErrorClass {
    if call.is_repeatable { ErrorClass::Transient } else { ErrorClass::Indeterminate }
}

impl Answered {
    fn class(&self) -> ErrorClass {
        match self.code() {
            "OPENSTACK_CONFLICT" => ErrorClass::Contention,
            "OPENSTACK_THROTTLED" => ErrorClass::Throttled,
            // A service that failed half-way may have made what it was asked for.
            "OPENSTACK_FAILED" => lost(&self.call),
            _ => ErrorClass::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self.status {
            401 => "OPENSTACK_UNAUTHORIZED",
            403 | 409 | 413 if self.is_about_quota() => "OPENSTACK_QUOTA_EXCEEDED",
            403 => "OPENSTACK_FORBIDDEN",
            404 => "OPENSTACK_NOT_FOUND",
            // Cinder refuses with 400 what is at work on something else.
            400 if self.is_about_state() => "OPENSTACK_CONFLICT",
            409 => "OPENSTACK_CONFLICT",
            // 413 was the limit of requests before 429 was one.
            413 if self.retry_after.is_some() => "OPENSTACK_THROTTLED",
            429 => "OPENSTACK_THROTTLED",
            501 | 505 => "OPENSTACK_REFUSED",
            408 | 500.. => "OPENSTACK_FAILED",
            _ => "OPENSTACK_REFUSED",
        }
    }

    fn is_about_state(&self) -> bool {
        self.message.to_lowercase().contains("status must be")
    }

    /// All services name what they miss as it stands in the path.
    fn names_its_thing(&self) -> bool {
        let path = self.call.url.split('?').next().unwrap_or_default();
        let known = |segment: &&str| segment.len() > 1 && !matches!(*segment, "v2" | "v3" | "v2.0" | "v2.1");
        path.rsplit('/').take(4).filter(known).any(|segment| self.message.contains(&decoded(segment)))
    }

    /// Nova refuses with 403, Cinder with 413, Neutron with 409; all of them say that something is exceeded.
    fn is_about_quota(&self) -> bool {
        self.message.to_lowercase().contains("exceed")
    }
}

/// A segment of a path as it was before it was put there.
fn decoded(segment: &str) -> String {
    let pair = format!("x={}", segment.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
