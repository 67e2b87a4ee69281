//! What earlier work may have left on a host. A host tells what there is; which of it nothing needs any more, only who knows the
//! snapshots can say.

use std::time::Duration;

use model::{ByteCount, InstanceId, Owner, SnapshotId};

/// A thing that a host made for a snapshot, by which it is told and removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftoverKey {
    /// A point in time of local disks that the hypervisor keeps, or the note of one.
    Cut { instance: InstanceId, snapshot: SnapshotId },
    /// What the hypervisor notes of a record of changes, which is in the way of whoever manages the instance.
    Checkpoint { instance: InstanceId, snapshot: SnapshotId },
    /// A record of changes in the files of local disks.
    Bitmap { instance: InstanceId, snapshot: SnapshotId },
    /// Old blocks of a cut that nobody reads.
    Scratch { snapshot: SnapshotId },
}

/// Such a thing, with all that the host knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLeftover {
    pub key: LeftoverKey,
    /// For people: where it is.
    pub name: String,
    /// Of the instance, as the cloud noted it on this host.
    pub owner: Option<Owner>,
    /// Absent: nobody knows.
    pub age: Option<Duration>,
    pub size: Option<ByteCount>,
    /// Of a record of changes: the committed snapshot from which the next one goes on by it.
    pub base_of: Option<SnapshotId>,
}

impl LeftoverKey {
    /// What it is, in a word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Cut { .. } => "cut",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Bitmap { .. } => "bitmap",
            Self::Scratch { .. } => "scratch",
        }
    }

    /// Of whom it is, where that is told by the key.
    #[must_use]
    pub const fn instance(&self) -> Option<InstanceId> {
        match self {
            Self::Cut { instance, .. }
            | Self::Checkpoint { instance, .. }
            | Self::Bitmap { instance, .. } => Some(*instance),
            Self::Scratch { .. } => None,
        }
    }

    /// For which snapshot it was made.
    #[must_use]
    pub const fn snapshot(&self) -> SnapshotId {
        match self {
            Self::Cut { snapshot, .. }
            | Self::Checkpoint { snapshot, .. }
            | Self::Bitmap { snapshot, .. }
            | Self::Scratch { snapshot } => *snapshot,
        }
    }
}
