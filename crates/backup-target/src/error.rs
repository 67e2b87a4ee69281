//! Why a target failed, and what a retry may hope for.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use model::{ByteCount, ErrorClass, Failure, ObjectName};

/// A failure of a backup target.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the backup target {} has no repo.json: is it mounted? A new one is made by `holdfast target init`", path.display())]
    NotInitialized { path: PathBuf },
    #[error("the backup target {} is gone: {reason}; is it mounted?", path.display())]
    Gone { path: PathBuf, reason: String },
    #[error("the folder {} is not empty and no backup target; choose an empty one", path.display())]
    ForeignFolder { path: PathBuf },
    #[error("the repo.json of the backup target {} cannot be used: {reason}", path.display())]
    RepoInvalid { path: PathBuf, reason: String },
    #[error("the backup target {} did not answer within {} s; look at its server and network", path.display(), deadline.as_secs_f32())]
    NotAnswering { path: PathBuf, deadline: Duration },
    #[error("the backup target {} is full ({free} free) while writing {name}; make room or take another target", path.display())]
    Full { path: PathBuf, name: ObjectName, free: ByteCount },
    #[error("the backup target {} is mounted read-only; mount it for writing", path.display())]
    ReadOnly { path: PathBuf },
    #[error("access to {name} on the backup target {} is denied; all on it must belong to this service's user", path.display())]
    AccessDenied { path: PathBuf, name: String },
    #[error("{name} on the backup target {} is refused: {reason}; somebody else has put it there", path.display())]
    UnsafeName { path: PathBuf, name: String, reason: &'static str },
    #[error("object {name} exists with other content")]
    ObjectExists { name: ObjectName },
    #[error("object {name} is not on the backup target")]
    ObjectMissing { name: ObjectName },
    #[error("object {name} ends before byte {end}")]
    ObjectTooShort { name: ObjectName, end: u64 },
    #[error("object {name} would need {size} of memory")]
    ObjectTooLarge { name: ObjectName, size: ByteCount },
    #[error("failed to {verb} {name} on the backup target {}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("a drill made {effect} of {name} fail")]
    Drill { effect: &'static str, name: String, class: ErrorClass },
    #[error("the drill cannot be run")]
    DrillTable(#[source] runtime::DrillError),
    #[error("an operation on the backup target {} ended without an answer", path.display())]
    Lost { path: PathBuf },
}

impl Error {
    /// The stable code; rows in docs/errors.md.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotInitialized { .. } => "TARGET_NOT_INITIALIZED",
            Self::Gone { .. } => "TARGET_GONE",
            Self::ForeignFolder { .. } => "TARGET_FOREIGN_FOLDER",
            Self::RepoInvalid { .. } => "TARGET_REPO_INVALID",
            Self::NotAnswering { .. } => "TARGET_NOT_ANSWERING",
            Self::Full { .. } => "TARGET_FULL",
            Self::ReadOnly { .. } => "TARGET_READ_ONLY",
            Self::AccessDenied { .. } => "TARGET_ACCESS_DENIED",
            Self::UnsafeName { .. } => "TARGET_UNSAFE_NAME",
            Self::ObjectExists { .. } => "OBJECT_EXISTS",
            Self::ObjectMissing { .. } => "OBJECT_MISSING",
            Self::ObjectTooShort { .. } => "OBJECT_TOO_SHORT",
            Self::ObjectTooLarge { .. } => "OBJECT_TOO_LARGE",
            Self::Io { .. } => "TARGET_IO",
            Self::Drill { .. } => "TARGET_DRILL",
            Self::DrillTable(_) => "DRILL_TABLE_INVALID",
            Self::Lost { .. } => "TARGET_OPERATION_LOST",
        }
    }

    /// What a retry may hope for. An operation that did not answer may have happened; as every operation may be repeated,
    /// that needs no look before the retry.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Gone { .. } | Self::NotAnswering { .. } | Self::Io { .. } => ErrorClass::Transient,
            Self::Lost { .. } => ErrorClass::Bug,
            Self::Drill { class, .. } => *class,
            _ => ErrorClass::Permanent,
        }
    }

    /// Whether the operation was refused before it touched anything, so that there is nothing to take back.
    #[must_use]
    pub const fn proves_no_effect(&self) -> bool {
        match self {
            Self::NotInitialized { .. }
            | Self::Gone { .. }
            | Self::ReadOnly { .. }
            | Self::UnsafeName { .. } => true,
            Self::Drill { class, .. } => matches!(class, ErrorClass::Transient | ErrorClass::Permanent),
            _ => false,
        }
    }

    /// The failure of a removal. What must go from a target that is read-only now goes when it is writable again.
    #[must_use]
    pub fn removal_failure(&self) -> Failure {
        match self {
            Self::ReadOnly { .. } => Failure { class: ErrorClass::Transient, ..self.failure() },
            _ => self.failure(),
        }
    }

    /// The failure as it travels.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let cause = std::error::Error::source(self);
        let message = cause.map_or_else(|| self.to_string(), |cause| format!("{self}: {cause}"));
        Failure::new(self.class(), self.code(), message)
    }
}
