//! Steps that are done by the catalog: each runs inside the transaction of the event that led to it, so its effect and
//! the saga's progress are one commit, and its answer is known at once. `engine::catalog_ops` carries them out.
//!
//! An operation decides before it writes: when it refuses, it left nothing behind. It may run twice.

use std::collections::BTreeMap;

use cloud::InstanceDescription;
use model::{
    ByteCount, Consistency, DiskFormat, DiskId, Failure, HostName, InstanceId, KeepBase, LineageId, Owner,
    SnapshotId, SnapshotKind, Timestamp, UserId, VolumeId, VolumeSnapshotId, WorkloadType,
};
use serde::{Deserialize, Serialize};

use super::clearing::{ClearingBegun, TaggedBase};
use super::leftover_sweep::hosts::{HostLeftover, HostThing};
use super::leftover_sweep::{Leftover, Tagged};
use super::{base_release, clearing, restore_new, snapshot_create};

/// What a step asks of the catalog.
#[derive(Debug, Clone, PartialEq)]
pub enum CatalogOp {
    /// The snapshot goes from creating to executing. Answer: `SnapshotBegun`.
    BeginSnapshot(snapshot_create::Params),
    /// The saga turned back: the snapshot ends as error or cancelled with the saga's reason, the workload is free again,
    /// and the world is told.
    EndSnapshot { params: snapshot_create::Params, failures: Vec<InstanceFailure> },
    /// Finds or makes the lineage of every disk, leases it, and chooses the parents. Answer: `LineagesAcquired`.
    AcquireLineages { params: snapshot_create::Params, instances: Vec<InstanceDescription> },
    /// The same for instances that are cut once more: their parts are collected anew. Answer: `LineagesAcquired`.
    AcquireLineagesAgain { params: snapshot_create::Params, instances: Vec<InstanceDescription> },
    /// Gives back whatever lineages this saga holds, and removes those that never held a snapshot.
    ReleaseLineages(snapshot_create::Params),
    /// Looks whether the set of disks of an instance changed since its description; with the first look the snapshot goes on
    /// to uploading. Answer: `InstanceChecked`.
    CheckInstance {
        params: snapshot_create::Params,
        before: Box<InstanceDescription>,
        after: Box<InstanceDescription>,
        when_changed: WhenChanged,
    },
    /// The pivot: every lease still ours, every manifest as transferred, and the snapshot is available.
    /// Answer: `SnapshotCommitted`.
    RecordSnapshot { params: snapshot_create::Params, record: SnapshotRecord },
    /// After the pivot: forgets the bases of disks that no instance of the workload has any more. `disks` are those of the
    /// instances as they are now. Answer: `BasesOrphaned`.
    ForgetOrphanedBases { params: snapshot_create::Params, disks: Vec<(InstanceId, Vec<DiskId>)> },
    /// After the pivot: leases and workload are given back, and the world is told. `stays`: what could not be removed, in words.
    ReleaseSnapshot { params: snapshot_create::Params, stays: Vec<String> },

    /// The snapshot is pinned against deletion. Answer: `SnapshotPinned`.
    PinSnapshot(restore_new::Params),
    /// The saga turned back: the restore ends as error or cancelled, the pin is taken out if it was set, and the world is
    /// told.
    EndRestore { params: restore_new::Params, is_pinned: bool },
    /// The pivot: the restore is available, with the ids of what it made.
    RecordRestore { params: restore_new::Params, record: RestoreRecord },
    /// After the pivot: the pin is taken out and the world is told.
    ReleaseRestore(restore_new::Params),

    /// Reads what is kept for the next increment. Answer: `ClearingBegun`.
    BeginClearing(clearing::Params),
    /// The saga turned back: the workload is free again.
    EndClearing(clearing::Params),
    /// The pivot of a reset: nothing is kept any more, and the workload is free.
    RecordReset(clearing::Params),
    /// The pivot of a deletion: the workload has no snapshots and is deleted.
    RecordDelete(clearing::Params),
    /// Leases the lineages of bases, where nobody works on them. Answer: `BasesLeased`.
    LeaseBases(base_release::Params),
    /// Finds what no living saga and no next snapshot needs. Answer: `LeftoversJudged`.
    JudgeLeftovers { age_min_seconds: u64, is_by_itself: bool, found: Vec<(Owner, Tagged)> },
    /// The same of what hosts told. Answer: `HostLeftoversJudged`.
    JudgeHostLeftovers { age_min_seconds: u64, is_by_itself: bool, found: Vec<(HostName, HostThing)> },
    /// Writes to the log what was removed.
    TellRemoved(Vec<String>),
    /// The saga turned back: the leases are given back.
    ReleaseBaseLeases(base_release::Params),
    /// The pivot: those bases are gone, and the world is told; the leases of all are given back.
    RecordBaseRelease { params: base_release::Params, gone: Vec<usize> },
}

/// What the catalog answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CatalogAnswer {
    Done,
    SnapshotBegun(SnapshotBegun),
    LineagesAcquired(LineagesAcquired),
    InstanceChecked(Checked),
    SnapshotCommitted(Timestamp),
    SnapshotPinned(SnapshotPinned),
    BasesOrphaned(Vec<TaggedBase>),
    ClearingBegun(ClearingBegun),
    /// By their places among those that were asked for.
    BasesLeased(Vec<usize>),
    LeftoversJudged(Vec<Leftover>),
    HostLeftoversJudged(Vec<HostLeftover>),
}

/// What becomes of an instance whose disks changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenChanged {
    CutAgain,
    LeaveOut,
    /// The snapshot fails.
    Refuse,
}

/// What a look at the disks of an instance found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Checked {
    Same,
    /// In words; it is cut again.
    Changed(String),
    LeftOut(Failure),
}

/// How an instance failed.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceFailure {
    pub instance_id: InstanceId,
    pub name: String,
    pub code: String,
    pub message: String,
    /// Absent where the cloud could not describe it.
    pub description: Option<InstanceDescription>,
}

/// What the records on the target say of workload and snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotBegun {
    pub workload_user_id: UserId,
    pub workload_name: String,
    pub workload_description: String,
    pub workload_created_at: Timestamp,
    pub workload_updated_at: Timestamp,
    pub keep_base: KeepBase,
    #[serde(default)]
    pub allow_partial: bool,
    #[serde(default)]
    pub workload_type: WorkloadType,
    /// As the workload knows them.
    #[serde(default)]
    pub instance_names: BTreeMap<InstanceId, String>,
    pub snapshot_user_id: UserId,
    pub snapshot_name: String,
    pub snapshot_description: String,
    pub snapshot_created_at: Timestamp,
}

/// The lineages of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineagesAcquired {
    /// In the order of the snapshot's disks.
    pub disks: Vec<LineageLease>,
    /// Full when no disk has a parent, whatever was asked for.
    pub kind: SnapshotKind,
    /// No snapshot of the workload was ever committed: its record on the target is ours to remove again.
    pub workload_is_new: bool,
}

/// One disk's lineage, leased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineageLease {
    pub lineage_id: LineageId,
    pub epoch: u64,
    pub chunk_size: ByteCount,
    /// Whose chunks may be referenced; `None`: a full read.
    pub parent_snapshot_id: Option<SnapshotId>,
    /// No snapshot of the lineage was ever committed.
    pub is_new: bool,
    /// The volume snapshot that was kept for this snapshot to build on.
    pub base: Option<KeptBase>,
}

/// A volume snapshot that outlives its snapshot's saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBase {
    /// Whose point in time it is.
    pub snapshot_id: SnapshotId,
    pub volume_snapshot_id: VolumeSnapshotId,
    pub tag: String,
    /// What is recorded as changed since was found to be false.
    #[serde(default)]
    pub is_false: bool,
}

impl LineageLease {
    /// What changed is asked for since the parent, or not at all.
    #[must_use]
    pub fn usable_base(&self) -> Option<&KeptBase> {
        let is_usable =
            |base: &&KeptBase| self.parent_snapshot_id == Some(base.snapshot_id) && !base.is_false;
        self.base.as_ref().filter(is_usable)
    }

    /// Why a base that was kept is of no use for an increment, for people.
    #[must_use]
    pub fn base_mismatch(&self) -> Option<String> {
        let (base, parent) = (self.base.as_ref()?, self.parent_snapshot_id?);
        if base.is_false {
            return Some("what changed since the last snapshot was found to be false".to_owned());
        }
        (base.snapshot_id != parent).then(|| {
            format!(
                "the volume snapshot that was kept is of snapshot {}, not of the parent {parent}",
                base.snapshot_id
            )
        })
    }
}

/// What the pivot of a snapshot writes.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotRecord {
    /// The lowest of its instances.
    pub consistency: Consistency,
    /// By instance, in the order of the snapshot.
    pub consistencies: Vec<(InstanceId, Consistency)>,
    pub disks: Vec<DiskRecord>,
    pub left_out: Vec<InstanceFailure>,
    /// Disks, for messages, that were read by a record of changes which was then found to be false.
    pub misread: Vec<String>,
}

/// One disk as it was transferred and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskRecord {
    pub instance_id: InstanceId,
    pub disk_id: DiskId,
    /// For messages.
    pub subject: String,
    pub lease: LineageLease,
    pub transferred: Transferred,
    /// Read back from the target.
    pub verified_digest: Vec<u8>,
    /// Its own volume snapshot, when that stays.
    pub kept_base: Option<KeptBase>,
}

/// The figures of one transfer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferred {
    pub size: ByteCount,
    pub bytes_read: ByteCount,
    pub bytes_stored: ByteCount,
    pub chunk_count: u64,
    pub chunks_stored_count: u64,
    pub duration_ms: u64,
    /// BLAKE3 of the manifest root.
    pub manifest_digest: Vec<u8>,
    /// If its volume snapshot is kept, the storage can list what changed since.
    pub keeps_changes: bool,
    /// Why all was read although there is a parent.
    pub full_read_reason: Option<String>,
    /// The record of what changed since the parent was found to be false.
    #[serde(default)]
    pub changes_false: bool,
}

/// What is in a snapshot, as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPinned {
    /// Of the workload.
    pub workload_user_id: UserId,
    /// In the order of the restore's instances.
    pub instances: Vec<PinnedInstance>,
}

/// One instance to bring back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedInstance {
    pub instance_id: InstanceId,
    pub new_name: String,
    /// As captured, with those disks only that are in the snapshot.
    pub description: InstanceDescription,
    /// In boot order.
    pub disks: Vec<PinnedDisk>,
}

/// One disk to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedDisk {
    pub disk_id: DiskId,
    pub device: String,
    pub lineage_id: LineageId,
    pub size: ByteCount,
    pub format: DiskFormat,
    pub volume_type: String,
    pub bootable: bool,
    /// Of the image that a boot disk came from.
    #[serde(default)]
    pub image_properties: BTreeMap<String, String>,
}

/// What the pivot of a restore writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreRecord {
    /// Original and new instance.
    pub instances: Vec<(InstanceId, InstanceId)>,
    pub disks: Vec<RestoredDisk>,
}

/// One disk as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredDisk {
    pub instance_id: InstanceId,
    pub disk_id: DiskId,
    pub volume_id: VolumeId,
    pub written: Written,
}

/// The figures of one write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub size: ByteCount,
    pub bytes_written: ByteCount,
    pub bytes_fetched: ByteCount,
    pub bytes_read_back: ByteCount,
    pub duration_ms: u64,
}
