//! Why work on a lineage failed.

use std::path::PathBuf;

use model::{ErrorClass, Failure, ObjectName, SnapshotId};

/// A failure of work on a lineage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target's own failures keep their codes.
    #[error(transparent)]
    Target(#[from] backup_target::Error),

    #[error("pack {pack} is missing on the backup target; every snapshot that names it is damaged")]
    PackMissing { pack: ObjectName },
    #[error("pack {pack} is damaged: {reason}")]
    PackDamaged { pack: ObjectName, reason: String },
    #[error("manifest {manifest} is missing on the backup target")]
    ManifestMissing { manifest: ObjectName },
    #[error("manifest {manifest} is damaged: {reason}")]
    ManifestDamaged { manifest: ObjectName, reason: String },
    #[error("manifest {manifest} was written for something else: {reason}")]
    ManifestForeign { manifest: ObjectName, reason: String },
    #[error("the parent snapshot {parent} has no manifest on the backup target; take a full snapshot")]
    ParentMissing { parent: SnapshotId },
    #[error("manifest {manifest} was made with another key; use the key file it was made with")]
    KeyWrong { manifest: ObjectName },

    #[error("the key file {} does not exist; a new one is made by `holdfast key create`", path.display())]
    KeyFileMissing { path: PathBuf },
    #[error("the key file {} exists; a key is never overwritten, as all that it protects would be lost", path.display())]
    KeyFileExists { path: PathBuf },
    #[error("the key file {} has mode {mode:04o}; only its owner may read it: chmod 0600", path.display())]
    KeyFileMode { path: PathBuf, mode: u32 },
    #[error("the key file {} is not a key file of version 0", path.display())]
    KeyFileInvalid { path: PathBuf },
    #[error("the key file {} cannot be read or written", path.display())]
    KeyFileIo {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },

    #[error("the journal {} cannot be read or written", path.display())]
    JournalIo {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the journal {} belongs to another transfer", path.display())]
    JournalForeign { path: PathBuf },

    #[error("a chunk size of {chunk_size} bytes and a disk of {disk_size} bytes are not possible")]
    Geometry { chunk_size: u64, disk_size: u64 },
    #[error("slot {slot} takes {expected} bytes and got {got}")]
    SlotLength { slot: u64, expected: u64, got: u64 },
    #[error("slot {slot} lies behind the end of the disk, which has {slot_count} slots")]
    SlotOutside { slot: u64, slot_count: u64 },
    #[error("{missing_count} slots were neither read nor said to be holes; the first is {first}")]
    SlotsMissing { missing_count: u64, first: u64 },
    #[error("the session failed before and takes no more; open it again")]
    SessionBroken,
    #[error("a worker of the chunk store ended without an answer")]
    WorkerLost(#[source] tokio::task::JoinError),
}

impl Error {
    /// The stable code; rows in docs/errors.md.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Target(error) => error.code(),
            Self::PackMissing { .. } => "PACK_MISSING",
            Self::PackDamaged { .. } => "PACK_DAMAGED",
            Self::ManifestMissing { .. } => "MANIFEST_MISSING",
            Self::ManifestDamaged { .. } => "MANIFEST_DAMAGED",
            Self::ManifestForeign { .. } => "MANIFEST_FOREIGN",
            Self::ParentMissing { .. } => "PARENT_MISSING",
            Self::KeyWrong { .. } => "KEY_WRONG",
            Self::KeyFileMissing { .. } => "KEY_FILE_MISSING",
            Self::KeyFileExists { .. } => "KEY_FILE_EXISTS",
            Self::KeyFileMode { .. } => "KEY_FILE_MODE",
            Self::KeyFileInvalid { .. } => "KEY_FILE_INVALID",
            Self::KeyFileIo { .. } => "KEY_FILE_IO",
            Self::JournalIo { .. } => "JOURNAL_IO",
            Self::JournalForeign { .. } => "JOURNAL_FOREIGN",
            Self::Geometry { .. } => "DISK_GEOMETRY",
            Self::SlotLength { .. }
            | Self::SlotOutside { .. }
            | Self::SlotsMissing { .. }
            | Self::SessionBroken
            | Self::WorkerLost(_) => "CHUNK_STORE_BUG",
        }
    }

    /// What a retry may hope for.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Target(error) => error.class(),
            Self::JournalIo { .. } => ErrorClass::Transient,
            Self::SlotLength { .. }
            | Self::SlotOutside { .. }
            | Self::SlotsMissing { .. }
            | Self::SessionBroken
            | Self::WorkerLost(_) => ErrorClass::Bug,
            _ => ErrorClass::Permanent,
        }
    }

    /// The failure of a purge: what must go waits for a target that is read-only now.
    #[must_use]
    pub fn removal_failure(&self) -> Failure {
        match self {
            Self::Target(error) => error.removal_failure(),
            _ => self.failure(),
        }
    }

    /// The failure as it travels.
    #[must_use]
    pub fn failure(&self) -> Failure {
        if let Self::Target(error) = self {
            return error.failure();
        }
        let cause = std::error::Error::source(self);
        let message = cause.map_or_else(|| self.to_string(), |cause| format!("{self}: {cause}"));
        Failure::new(self.class(), self.code(), message)
    }
}
