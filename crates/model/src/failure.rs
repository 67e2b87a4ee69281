//! Why something failed, as far as a retry cares. Every port's error maps to one of these at its edge.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What a retry may hope for. Source: docs/errors.md, "Classes".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// May pass by itself.
    Transient,
    /// The other side asks for patience.
    Throttled,
    /// Somebody else holds what is needed.
    Contention,
    /// It may have happened: look before repeating, undo when turning back.
    Indeterminate,
    /// Repeating cannot help.
    Permanent,
    /// A bug of ours: repeating cannot help, and a human must look.
    Bug,
    /// Somebody asked for it to stop.
    Cancelled,
    /// The lease is gone; somebody else may be working.
    Fenced,
}

impl ErrorClass {
    /// Whether another attempt may end differently.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Transient | Self::Throttled | Self::Contention | Self::Indeterminate | Self::Fenced
        )
    }

    /// The stable word for logs and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Contention => "contention",
            Self::Indeterminate => "indeterminate",
            Self::Permanent => "permanent",
            Self::Bug => "bug",
            Self::Cancelled => "cancelled",
            Self::Fenced => "fenced",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error with all its causes on one line.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// A failure as it travels: over the bus, into the saga's log and to the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} [{code}]")]
pub struct Failure {
    pub class: ErrorClass,
    /// Stable, SCREAMING_SNAKE, with a row in docs/errors.md.
    pub code: String,
    /// What happened, to what, and what to do. No secrets.
    pub message: String,
}

impl Failure {
    /// Makes a failure of `class` with a stable `code`.
    #[must_use]
    pub fn new(class: ErrorClass, code: &str, message: impl Into<String>) -> Self {
        Self { class, code: code.to_owned(), message: message.into() }
    }

    /// Makes a failure of an error with all its causes, and of what to do where that is not plain from what happened.
    #[must_use]
    pub fn of(
        class: ErrorClass,
        code: &str,
        error: &(dyn Error + 'static),
        advice: Option<&'static str>,
    ) -> Self {
        let chain = Chain(error);
        let message = advice.map_or_else(|| chain.to_string(), |advice| format!("{chain}; {advice}"));
        Self::new(class, code, message)
    }

    /// Makes a failure that repeating cannot cure.
    #[must_use]
    pub fn permanent(code: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Permanent, code, message)
    }

    /// Makes a failure that may pass by itself.
    #[must_use]
    pub fn transient(code: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Transient, code, message)
    }
}
