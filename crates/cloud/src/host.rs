//! A datamover's view of its own host: its instances, and the disks it may open. Messages carry ids; what they mean on
//! this host is found out here.

use std::fmt;

use async_trait::async_trait;
use model::{
    ByteCount, DiskId, DiskLocation, Extent, Failure, InstanceId, SnapshotId, VolumeId, VolumeSnapshotId,
};

/// What a freeze did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frozen {
    /// File systems frozen; 0 when the guest has no agent that answers. Of a guest that was frozen already nobody knows the
    /// number any more: at least 1.
    pub count: u32,
}

/// What a thaw did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thawed {
    /// File systems thawed; 0 when nothing was frozen any more.
    pub count: u32,
}

/// A point in time to read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDisk {
    pub location: DiskLocation,
    pub size: ByteCount,
    /// Absent: nothing is known of what changed, all must be read.
    pub changes: Option<Changes>,
}

/// What may have changed on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The snapshot at whose point in time the record of changes began. It says nothing relative to any other.
    pub since: SnapshotId,
    pub record: ChangeRecord,
}

/// Who kept the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeRecord {
    /// The hypervisor, in a dirty bitmap that it exports beside the disk under this name.
    DirtyBitmap(String),
    /// The storage, which named the extents. Shape: ascending, disjoint.
    Extents(Vec<Extent>),
}

/// A disk to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationDisk {
    pub location: DiskLocation,
    pub size: ByteCount,
}

/// What a datamover asks of its host.
///
/// Errors: a `Failure`; `FOREIGN_INSTANCE` for an instance of another host, `NO_SUCH_DISK` for an id that names nothing.
#[async_trait]
pub trait Host: fmt::Debug + Send + Sync {
    /// Flushes and freezes the guest's file systems. Freezing a frozen guest succeeds, although its agent would refuse.
    async fn freeze(&self, instance: InstanceId) -> Result<Frozen, Failure>;
    /// Thaws; succeeds when nothing is frozen.
    async fn thaw(&self, instance: InstanceId) -> Result<Thawed, Failure>;
    /// Finds the volume snapshot of a disk of an instance of this host.
    async fn source_disk(
        &self,
        instance: InstanceId,
        disk: &DiskId,
        volume_snapshot: VolumeSnapshotId,
    ) -> Result<SourceDisk, Failure>;
    /// Finds a volume that is attached nowhere.
    async fn destination_disk(&self, volume: VolumeId) -> Result<DestinationDisk, Failure>;
}
