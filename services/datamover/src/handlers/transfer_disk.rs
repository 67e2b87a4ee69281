//! Moves one disk at one point in time to a backup target, under a lease.

use async_trait::async_trait;
use model::{ByteCount, DiskId, InstanceId, LineageId, SnapshotId, TargetId, VolumeSnapshotId};
use proto::cmd::v1 as cmd;
use proto::convert::{self, Malformed};
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::{Halt, Outcome};
use crate::pipeline::backup::{self, Backup};

/// Sizes that chunk-store takes.
const CHUNK_SIZES: std::ops::RangeInclusive<u64> = 4096..=16 << 20;

#[derive(Debug)]
pub(super) struct TransferDisk {
    snapshot_id: SnapshotId,
    instance_id: InstanceId,
    disk_id: DiskId,
    volume_snapshot_id: VolumeSnapshotId,
    target_id: TargetId,
    lineage_id: LineageId,
    parent: Option<SnapshotId>,
    chunk_size: ByteCount,
}

impl TransferDisk {
    pub(super) fn parse(message: &cmd::TransferDisk) -> Result<Self, Malformed> {
        let chunk_size = message.chunk_size_bytes;
        if !chunk_size.is_power_of_two() || !CHUNK_SIZES.contains(&chunk_size) {
            return Err(Malformed::OutOfRange { field: "chunk_size_bytes" });
        }
        let parent = match message.parent_snapshot_id.as_str() {
            "" => None,
            text => Some(convert::id("parent_snapshot_id", text)?),
        };
        Ok(Self {
            snapshot_id: convert::id("snapshot_id", &message.snapshot_id)?,
            instance_id: convert::id("instance_id", &message.instance_id)?,
            disk_id: convert::id("disk_id", &message.disk_id)?,
            volume_snapshot_id: convert::id("volume_snapshot_id", &message.volume_snapshot_id)?,
            target_id: convert::id("target_id", &message.target_id)?,
            lineage_id: convert::id("lineage_id", &message.lineage_id)?,
            parent,
            chunk_size: ByteCount(chunk_size),
        })
    }

    async fn transfer(&self, job: &Job) -> Outcome {
        let ports = &job.ports;
        let source = ports
            .host
            .source_disk(self.instance_id, &self.disk_id, self.volume_snapshot_id)
            .await
            .map_err(Halt::effect_free)?;
        let backup = Backup {
            source,
            target_id: self.target_id,
            lineage_id: self.lineage_id,
            snapshot_id: self.snapshot_id,
            parent: self.parent,
            chunk_size: self.chunk_size,
            journal: ports.journal.blocking().transfer_journal(job.id),
        };
        backup::run(&ports.means, &backup, &job.control).await.map(Reply::DiskTransferred)
    }
}

#[async_trait]
impl Work for TransferDisk {
    fn needs_lease(&self) -> bool {
        true
    }

    async fn run(&self, job: &Job) -> Outcome {
        self.transfer(job).await.map_err(|halt| {
            halt.about(&format!(
                "failed to transfer disk {} of instance {} for snapshot {}",
                self.disk_id, self.instance_id, self.snapshot_id
            ))
        })
    }
}
