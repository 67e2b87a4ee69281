//! Moves one disk at one point in time to a backup target, under a lease.

use std::sync::Arc;

use async_trait::async_trait;
use cloud::{Base, Moment, SourceQuery};
use model::{ByteCount, LineageId, SnapshotId, TargetId};
use proto::cmd::v1 as cmd;
use proto::common::v1::LocalMoment;
use proto::convert::{self, Malformed};
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::{Halt, Outcome};
use crate::pipeline::backup::{self, Backup, HeldMoment};

/// Sizes that chunk-store takes.
const CHUNK_SIZES: std::ops::RangeInclusive<u64> = 4096..=16 << 20;

#[derive(Debug)]
pub(super) struct TransferDisk {
    source: SourceQuery,
    target_id: TargetId,
    lineage_id: LineageId,
    chunk_size: ByteCount,
}

impl TransferDisk {
    pub(super) fn parse(message: &cmd::TransferDisk) -> Result<Self, Malformed> {
        let chunk_size = message.chunk_size_bytes;
        if !chunk_size.is_power_of_two() || !CHUNK_SIZES.contains(&chunk_size) {
            return Err(Malformed::OutOfRange { field: "chunk_size_bytes" });
        }
        let parent: Option<SnapshotId> =
            convert::optional_id("parent_snapshot_id", &message.parent_snapshot_id)?;
        let base_volume_snapshot_id =
            convert::optional_id("base_volume_snapshot_id", &message.base_volume_snapshot_id)?;
        let source = SourceQuery {
            instance_id: convert::id("instance_id", &message.instance_id)?,
            disk_id: convert::id("disk_id", &message.disk_id)?,
            snapshot_id: convert::id("snapshot_id", &message.snapshot_id)?,
            moment: moment(message)?,
            base: parent.map(|snapshot_id| Base { snapshot_id, volume_snapshot_id: base_volume_snapshot_id }),
        };
        Ok(Self {
            source,
            target_id: convert::id("target_id", &message.target_id)?,
            lineage_id: convert::id("lineage_id", &message.lineage_id)?,
            chunk_size: ByteCount(chunk_size),
        })
    }

    async fn transfer(&self, job: &Job) -> Outcome {
        let ports = &job.ports;
        let source = ports.host.source_disk(&self.source).await.map_err(Halt::effect_free)?;
        let backup = Backup {
            source,
            moment: Some(HeldMoment { host: Arc::clone(&ports.host), source: self.source.clone() }),
            target_id: self.target_id,
            lineage_id: self.lineage_id,
            snapshot_id: self.source.snapshot_id,
            parent: self.source.base.map(|base| base.snapshot_id),
            chunk_size: self.chunk_size,
            journal: ports.journal.blocking().transfer_journal(job.id),
        };
        backup::run(&ports.means, &backup, &job.control).await.map(Reply::DiskTransferred)
    }
}

/// The volume snapshot of a volume, or how a local disk was cut: one of the two.
fn moment(message: &cmd::TransferDisk) -> Result<Moment, Malformed> {
    let volume_snapshot = convert::optional_id("volume_snapshot_id", &message.volume_snapshot_id)?;
    match (volume_snapshot, message.local_moment()) {
        (Some(id), LocalMoment::Unspecified) => Ok(Moment::VolumeSnapshot(id)),
        (None, LocalMoment::Cut) => Ok(Moment::Cut),
        (None, LocalMoment::AsIs) => Ok(Moment::AsIs),
        (None, LocalMoment::Unspecified) => Err(Malformed::Missing { field: "volume_snapshot_id" }),
        (Some(_), LocalMoment::Cut | LocalMoment::AsIs) => {
            Err(Malformed::OutOfRange { field: "local_moment" })
        }
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
                self.source.disk_id, self.source.instance_id, self.source.snapshot_id
            ))
        })
    }
}
