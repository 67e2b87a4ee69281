//! Moves one disk at one point in time to a backup target, under a lease.

use std::sync::Arc;

use async_trait::async_trait;
use cloud::{Base, Connected, Moment, SourceDisk, SourceQuery};
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
    /// How to connect the temporary volume that holds the point in time; empty: the host finds the disk by itself.
    sealed: Vec<u8>,
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
            sealed: message.sealed.clone(),
        })
    }

    async fn transfer(&self, job: &Job) -> Outcome {
        let host = &job.ports.host;
        let source = host.source_disk(&self.source).await.map_err(Halt::effect_free)?;
        let moment = HeldMoment { host: Arc::clone(host), source: self.source.clone() };
        self.back_up(job, source, Some(moment)).await
    }

    /// The same of a volume that is connected for this job alone, and disconnected whatever comes of it.
    async fn transfer_connected(&self, job: &Job) -> Outcome {
        let connections = &job.ports.connections;
        // No attempt knows what one before it could not end.
        connections.disconnect(job.id).await.map_err(Halt::failed)?;
        let outcome = match connections.connect(job.id, &self.sealed).await {
            Ok(Connected { location, size, .. }) => {
                let (changes, full_read_reason) = (None, None);
                let (keeps_changes, changes_are_false) = (false, false);
                let source = SourceDisk {
                    location,
                    size,
                    changes,
                    full_read_reason,
                    keeps_changes,
                    changes_are_false,
                };
                // A volume of ours: nobody takes its point in time away.
                self.back_up(job, source, None).await
            }
            Err(failure) => Err(Halt::failed(failure)),
        };
        // A volume was connected: nobody may take the attempt for one that left nothing.
        let outcome = outcome.map_err(Halt::with_effect);
        match (outcome, connections.disconnect(job.id).await) {
            (Ok(_), Err(failure)) => Err(Halt::failed(failure)),
            (outcome, Ok(())) => outcome,
            (outcome, Err(failure)) => {
                tracing::warn!(%failure, "a volume is still connected; the next attempt or the purge disconnects it");
                outcome
            }
        }
    }

    async fn back_up(&self, job: &Job, source: SourceDisk, moment: Option<HeldMoment>) -> Outcome {
        let ports = &job.ports;
        let backup = Backup {
            source,
            moment,
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
        let outcome = if self.sealed.is_empty() {
            self.transfer(job).await
        } else {
            self.transfer_connected(job).await
        };
        outcome.map_err(|halt| {
            halt.about(&format!(
                "failed to transfer disk {} of instance {} for snapshot {}",
                self.source.disk_id, self.source.instance_id, self.source.snapshot_id
            ))
        })
    }
}
