//! One thing that was looked at, and how it was found: what every service says of itself when an operator asks.

use serde::{Deserialize, Serialize};

use crate::Failure;

/// How it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// Works, and will not for ever, or not for all.
    Warn,
    Fail,
}

impl Verdict {
    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A check that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, for people: `target /srv/backup`.
    pub subject: String,
    pub verdict: Verdict,
    /// With a row in docs/errors.md; empty when all is well.
    pub code: String,
    /// What was found, and what to do. No secrets.
    pub message: String,
}

impl Check {
    /// All is well.
    #[must_use]
    pub fn ok(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self { subject: subject.into(), verdict: Verdict::Ok, code: String::new(), message: message.into() }
    }

    /// Somebody should look.
    #[must_use]
    pub fn warn(subject: impl Into<String>, code: &str, message: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            verdict: Verdict::Warn,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// It does not work.
    #[must_use]
    pub fn fail(subject: impl Into<String>, code: &str, message: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            verdict: Verdict::Fail,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// What a trial came to.
    #[must_use]
    pub fn of(subject: impl Into<String>, outcome: Result<impl Into<String>, Failure>) -> Self {
        match outcome {
            Ok(message) => Self::ok(subject, message),
            Err(failure) => Self::fail(subject, &failure.code, failure.message),
        }
    }
}
