//! A snapshot: our point in time of a workload.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::IllegalTransition;
use crate::InvalidState;

/// Where a snapshot stands. The words are those of T4O's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// Accepted, nothing moved yet.
    Creating,
    /// Its instances are being frozen, cut and thawed.
    Executing,
    /// Disks are on their way to the target.
    Uploading,
    /// Committed: can be restored.
    Available,
    /// A restore reads it; still committed.
    Restoring,
    /// Failed and taken back.
    Error,
    /// Stopped by the user and taken back.
    Cancelled,
    /// Gone.
    Deleted,
}

/// What may happen to a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotEvent {
    /// The saga starts.
    Begin,
    /// Transfers start.
    Upload,
    /// The pivot.
    Commit,
    /// The saga compensated after a failure.
    Fail,
    /// The saga compensated after a cancel.
    Cancel,
    /// A restore begins to read.
    Pin,
    /// The last restore ended.
    Unpin,
    /// The user deletes it.
    Delete,
}

impl SnapshotState {
    /// Whether there is, or may come to be, something of it on a target.
    #[must_use]
    pub const fn holds_data(self) -> bool {
        !matches!(self, Self::Error | Self::Cancelled | Self::Deleted)
    }

    /// All states, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Creating,
        Self::Executing,
        Self::Uploading,
        Self::Available,
        Self::Restoring,
        Self::Error,
        Self::Cancelled,
        Self::Deleted,
    ];

    /// Returns the state after `event`, or the refusal. Table: docs/sagas.md.
    ///
    /// Errors: `IllegalTransition` for every pair not in the table.
    pub fn next(self, event: SnapshotEvent) -> Result<Self, IllegalTransition> {
        use SnapshotEvent as E;
        match (self, event) {
            (Self::Creating, E::Begin) => Ok(Self::Executing),
            (Self::Creating | Self::Executing, E::Upload) => Ok(Self::Uploading),
            (Self::Uploading, E::Commit) => Ok(Self::Available),
            (Self::Creating | Self::Executing | Self::Uploading, E::Fail) => Ok(Self::Error),
            (Self::Creating | Self::Executing | Self::Uploading, E::Cancel) => Ok(Self::Cancelled),
            (Self::Available | Self::Restoring, E::Pin) => Ok(Self::Restoring),
            (Self::Restoring, E::Unpin) => Ok(Self::Available),
            (Self::Available | Self::Error | Self::Cancelled, E::Delete) => Ok(Self::Deleted),
            (state, event) => {
                Err(IllegalTransition { noun: "snapshot", state: state.as_str(), event: event.as_str() })
            }
        }
    }

    /// The word in the database, the API and on the target.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Executing => "executing",
            Self::Uploading => "uploading",
            Self::Available => "available",
            Self::Restoring => "restoring",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Deleted => "deleted",
        }
    }
}

impl SnapshotEvent {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Upload => "upload",
            Self::Commit => "commit",
            Self::Fail => "fail",
            Self::Cancel => "cancel",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for SnapshotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SnapshotState {
    type Err = InvalidState;
    fn from_str(text: &str) -> Result<Self, InvalidState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| InvalidState { noun: "snapshot", text: text.to_owned() })
    }
}

/// What a snapshot reads: all, or what changed since its parent. Either way it is complete on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotKind {
    Full,
    Incremental,
}

impl SnapshotKind {
    /// The word in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
        }
    }
}

impl FromStr for SnapshotKind {
    type Err = InvalidState;
    fn from_str(text: &str) -> Result<Self, InvalidState> {
        match text {
            "full" => Ok(Self::Full),
            "incremental" => Ok(Self::Incremental),
            _ => Err(InvalidState { noun: "snapshot kind", text: text.to_owned() }),
        }
    }
}

/// What a guest finds on its disks after a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// As after a power cut.
    Crash,
    /// File systems were flushed and frozen: a thaw reported that it really thawed something.
    Filesystem,
}

impl Consistency {
    /// The word in the database, the API and on the target.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Filesystem => "filesystem",
        }
    }
}

impl FromStr for Consistency {
    type Err = InvalidState;
    fn from_str(text: &str) -> Result<Self, InvalidState> {
        match text {
            "crash" => Ok(Self::Crash),
            "filesystem" => Ok(Self::Filesystem),
            _ => Err(InvalidState { noun: "consistency", text: text.to_owned() }),
        }
    }
}

/// How a disk's bytes lie in its file. Always told, never probed: a guest can write a qcow2 header into a raw disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    Raw,
    Qcow2,
}

impl DiskFormat {
    /// The word that qemu takes after `-f`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl FromStr for DiskFormat {
    type Err = InvalidState;
    fn from_str(text: &str) -> Result<Self, InvalidState> {
        match text {
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            _ => Err(InvalidState { noun: "disk format", text: text.to_owned() }),
        }
    }
}
