//! Why this host could not do what was asked, and what an operator is told about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use model::{ByteCount, DiskId, ErrorClass, Failure, InstanceId, SnapshotId, VolumeId};

/// Why this host could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the program {program} is not installed on this host")]
    ToolMissing { program: String },
    #[error("failed to run {program}")]
    Tool {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{command} did not end within {} s", after.as_secs())]
    ToolOverdue { command: String, after: Duration },
    #[error("{command} printed more than {limit}")]
    ToolTalkative { command: String, limit: ByteCount },
    #[error("{command} was refused: {said}")]
    ToolRefused { command: String, said: String },
    #[error("{command} answered in an unreadable way: {reason}")]
    ToolUnreadable { command: String, reason: String },
    #[error("libvirt of this host does not answer: {said}")]
    LibvirtUnreachable { said: String },
    #[error("instance {instance} is not on this host")]
    ForeignInstance { instance: InstanceId },
    #[error("libvirt describes instance {instance} in an unreadable way: {reason}")]
    Domain { instance: InstanceId, reason: String },
    #[error("instance {instance} has no disk {disk}")]
    NoSuchDisk { instance: InstanceId, disk: DiskId },
    #[error("disk {disk} of instance {instance} is {found}")]
    DiskUnsupported { instance: InstanceId, disk: DiskId, found: String },
    #[error("the guest agent of instance {instance} does not answer: {said}")]
    AgentSilent { instance: InstanceId, said: String },
    #[error("the guest of instance {instance} does not freeze: {said}")]
    FreezeRefused { instance: InstanceId, said: String },
    #[error("the point in time of instance {instance} is lost: {reason}")]
    PointInTimeLost { instance: InstanceId, reason: String },
    #[error("instance {instance} is being read for snapshot {other}")]
    CutBusy { instance: InstanceId, other: SnapshotId },
    #[error("the record of changes since snapshot {snapshot} is still in a disk of instance {instance}")]
    BitmapKept { instance: InstanceId, snapshot: SnapshotId },
    #[error("the scratch folder {} has {free} free, where {needed} are needed", path.display())]
    ScratchFull { path: PathBuf, free: ByteCount, needed: ByteCount },
    #[error("the scratch folder {} cannot be used", path.display())]
    Scratch {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the state file {} cannot be used", path.display())]
    State {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be read: {reason}", path.display())]
    Config { path: PathBuf, reason: String },
    #[error("volume {volume} is in a Ceph cluster that [[cloud.ceph]] does not name: {monitors}")]
    ClusterUnknown { volume: VolumeId, monitors: String },
    #[error("there is no volume {volume} in the Ceph clusters that [[cloud.ceph]] names")]
    VolumeMissing { volume: VolumeId },
    #[error("volume {volume} is in use by {watchers}")]
    VolumeInUse { volume: VolumeId, watchers: String },
}

impl Error {
    /// The same, where it is well that the instance is not of this host, or not any more.
    pub(crate) fn unless_foreign(outcome: Result<(), Self>) -> Result<(), Self> {
        match outcome {
            Err(Self::ForeignInstance { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// The failure that an operator sees.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let (class, code) = self.classify();
        Failure::of(class, code, self, self.advice())
    }

    const fn classify(&self) -> (ErrorClass, &'static str) {
        use ErrorClass::{Contention, Permanent, Throttled, Transient};
        match self {
            Self::ToolMissing { .. } => (Permanent, "HOST_TOOL_MISSING"),
            Self::Tool { .. } | Self::ToolRefused { .. } | Self::ToolUnreadable { .. } => {
                (Transient, "HOST_TOOL_FAILED")
            }
            Self::ToolOverdue { .. } => (Transient, "HOST_TOOL_OVERDUE"),
            Self::ToolTalkative { .. } => (Permanent, "HOST_TOOL_FAILED"),
            Self::LibvirtUnreachable { .. } => (Transient, "LIBVIRT_UNREACHABLE"),
            // It may have moved after it was looked up: the next attempt looks again.
            Self::ForeignInstance { .. } => (Transient, "FOREIGN_INSTANCE"),
            Self::Domain { .. } => (Permanent, "DOMAIN_UNREADABLE"),
            Self::NoSuchDisk { .. } => (Permanent, "NO_SUCH_DISK"),
            Self::DiskUnsupported { .. } => (Permanent, "DISK_UNSUPPORTED"),
            Self::AgentSilent { .. } => (Transient, "GUEST_AGENT_SILENT"),
            Self::FreezeRefused { .. } => (Transient, "FREEZE_REFUSED"),
            Self::PointInTimeLost { .. } => (Permanent, "POINT_IN_TIME_LOST"),
            Self::CutBusy { .. } => (Contention, "CUT_BUSY"),
            Self::BitmapKept { .. } => (Contention, "BITMAP_KEPT"),
            Self::ScratchFull { .. } => (Throttled, "SCRATCH_FULL"),
            Self::Scratch { .. } => (Permanent, "SCRATCH_UNUSABLE"),
            Self::State { .. } => (Permanent, "HOST_STATE"),
            Self::Config { .. } => (Permanent, "HOST_CONFIG"),
            Self::ClusterUnknown { .. } => (Permanent, "CEPH_CLUSTER_UNKNOWN"),
            Self::VolumeMissing { .. } => (Permanent, "VOLUME_NOT_FOUND"),
            Self::VolumeInUse { .. } => (Contention, "VOLUME_IN_USE"),
        }
    }

    /// What to do, where it is not plain from what happened.
    const fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::ToolMissing { .. } => {
                "install the Debian packages libvirt-clients, ceph-common and qemu-block-extra"
            }
            Self::LibvirtUnreachable { .. } => {
                "start libvirtd, and put the datamover's account into the group libvirt"
            }
            Self::ForeignInstance { .. } => "it is looked up again",
            Self::DiskUnsupported { .. } => "exclude this disk, or move it to a volume",
            Self::CutBusy { .. } => "wait until that snapshot is done, or cancel it",
            Self::BitmapKept { .. } => {
                "it costs some KiB of the file and is tried again with the next sweep; what refused it is in the datamover's log"
            }
            Self::ScratchFull { .. } => {
                "wait until other snapshots of this host are done, or give cloud.scratch_dir more room"
            }
            Self::Scratch { .. } => {
                "make cloud.scratch_dir a folder that qemu and the datamover may write, see docs/operations.md"
            }
            Self::State { .. } => "make state_dir writable for the datamover",
            Self::ClusterUnknown { .. } => "add the cluster's ceph.conf and user to [[cloud.ceph]]",
            Self::VolumeInUse { .. } => "detach it, or stop what uses it",
            _ => return None,
        })
    }
}
