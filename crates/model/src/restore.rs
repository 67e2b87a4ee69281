//! A restore: one bringing back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::IllegalTransition;
use crate::InvalidState;

/// Where a restore stands. The words are those of T4O's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreState {
    /// Accepted; volumes are being made and written.
    Restoring,
    /// The instances are back and were read back.
    Available,
    /// Failed and taken back.
    Error,
    /// Stopped by the user and taken back.
    Cancelled,
}

/// What may happen to a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RestoreEvent {
    /// The pivot.
    Commit,
    /// The saga compensated after a failure.
    Fail,
    /// The saga compensated after a cancel.
    Cancel,
}

impl RestoreState {
    /// All states, in the order of a life.
    pub const ALL: [Self; 4] = [Self::Restoring, Self::Available, Self::Error, Self::Cancelled];

    /// Returns the state after `event`, or the refusal. Table: docs/sagas.md.
    ///
    /// Errors: `IllegalTransition` for every pair not in the table.
    pub fn next(self, event: RestoreEvent) -> Result<Self, IllegalTransition> {
        use RestoreEvent as E;
        match (self, event) {
            (Self::Restoring, E::Commit) => Ok(Self::Available),
            (Self::Restoring, E::Fail) => Ok(Self::Error),
            (Self::Restoring, E::Cancel) => Ok(Self::Cancelled),
            (state, event) => {
                Err(IllegalTransition { noun: "restore", state: state.as_str(), event: event.as_str() })
            }
        }
    }

    /// The word in the database, the API and on the target.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restoring => "restoring",
            Self::Available => "available",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

impl RestoreEvent {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Fail => "fail",
            Self::Cancel => "cancel",
        }
    }
}

impl fmt::Display for RestoreState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RestoreState {
    type Err = InvalidState;
    fn from_str(text: &str) -> Result<Self, InvalidState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| InvalidState { noun: "restore", text: text.to_owned() })
    }
}
