//! A datamover's view of its own host: its instances, and the disks it may open. Messages carry ids; what they mean on
//! this host is found out here.

use std::fmt;

use async_trait::async_trait;
use model::{
    ByteCount, DiskId, DiskLocation, Extent, Failure, InstanceId, SnapshotId, VolumeId, VolumeSnapshotId,
};
use serde::{Deserialize, Serialize};

use crate::{HostLeftover, LeftoverKey};

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

/// The point in time at which a disk is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Moment {
    /// The storage keeps it.
    VolumeSnapshot(VolumeSnapshotId),
    /// The hypervisor keeps it, since `Host::cut` for this snapshot.
    Cut,
    /// The local disk of an instance that does not run: lost when the instance is started.
    AsIs,
}

/// The earlier snapshot relative to which changes are asked for: the lineage's parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    pub snapshot_id: SnapshotId,
    /// Where its point in time still lies in the storage; absent: it was not kept, or the disk is local.
    pub volume_snapshot_id: Option<VolumeSnapshotId>,
}

/// A cut of local disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutRequest {
    pub instance_id: InstanceId,
    pub snapshot_id: SnapshotId,
    /// At least one.
    pub disks: Vec<DiskId>,
    /// The snapshot whose cut began the record of changes that this one ends; a disk that has none of it is read whole.
    pub base: Option<SnapshotId>,
}

/// Which disk, at which point in time, for which snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceQuery {
    pub instance_id: InstanceId,
    pub disk_id: DiskId,
    pub snapshot_id: SnapshotId,
    pub moment: Moment,
    /// Absent: a full read is wanted.
    pub base: Option<Base>,
}

/// A point in time to read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDisk {
    pub location: DiskLocation,
    pub size: ByteCount,
    /// Absent: nothing is known of what changed, all must be read.
    pub changes: Option<Changes>,
    /// Why there are no `changes` although a base was given, for people; absent where nobody would expect any.
    pub full_read_reason: Option<String>,
    /// What is recorded since the base was found to be false, as `Host::forget_changes` was told.
    pub changes_are_false: bool,
    /// If this volume snapshot is kept, the storage can list what changed since.
    pub keeps_changes: bool,
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
    /// Takes all of these local disks at one point in time. Repeated for the same snapshot, it finds what it did.
    /// Gives `Cut`, or `AsIs` of an instance that does not run.
    async fn cut(&self, request: &CutRequest) -> Result<Moment, Failure>;
    /// Ends the cut of a snapshot; succeeds when nothing is there. `keep_changes`: the snapshot was committed, so its record
    /// of changes is the base of the next, and older ones go. Else its own record goes, and older ones stay.
    async fn end_cut(
        &self,
        instance: InstanceId,
        snapshot: SnapshotId,
        keep_changes: bool,
    ) -> Result<(), Failure>;
    /// Removes the records of changes of all local disks; succeeds when there are none, and when the instance is not here any
    /// more. No snapshot of it is under way: a cut that stands is nobody's, and ends.
    async fn drop_changes(&self, instance: InstanceId) -> Result<(), Failure>;
    /// Finds a disk of an instance of this host at its point in time. Codes: `POINT_IN_TIME_LOST`.
    async fn source_disk(&self, source: &SourceQuery) -> Result<SourceDisk, Failure>;
    /// Whether the moment still stood until now: asked at the end of a transfer, before its manifest is written.
    ///
    /// Errors: `POINT_IN_TIME_LOST` (permanent) says what happened, as `the instance was stopped`.
    async fn check_moment(&self, source: &SourceQuery) -> Result<(), Failure>;
    /// The record of what changed on this disk since `source.base` was found to be false: it is given for no disk of the
    /// instance's that the same record tells of, from now on and whatever becomes of the snapshot. Without a base, or where
    /// there is no record, nothing is to be forgotten. It asks nobody but what this host keeps itself.
    async fn forget_changes(&self, source: &SourceQuery) -> Result<(), Failure>;
    /// Whether `forget_changes` was told of the record that tells of this disk: asked at the end of a transfer that went by it.
    async fn changes_are_false(&self, source: &SourceQuery) -> Result<bool, Failure>;
    /// Finds a volume that is attached nowhere.
    async fn destination_disk(&self, volume: VolumeId) -> Result<DestinationDisk, Failure>;
    /// Lists all that snapshots made on this host and that is there now, also what is in use. It changes nothing.
    async fn list_leftovers(&self) -> Result<Vec<HostLeftover>, Failure>;
    /// Removes one of these, whose snapshot is over and not needed; succeeds when it is gone. What a snapshot that is under way
    /// reads stays.
    async fn remove_leftover(&self, key: LeftoverKey) -> Result<(), Failure>;
    /// The instances whose guests say that they are frozen, by whomever.
    async fn list_frozen(&self) -> Result<Vec<InstanceId>, Failure>;
}
