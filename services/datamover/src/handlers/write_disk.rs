//! Writes one disk of a snapshot into a volume, flushes it and reads it back, under a lease.

use async_trait::async_trait;
use model::{DiskId, InstanceId, LineageId, SnapshotId, TargetId, VolumeId};
use proto::cmd::v1 as cmd;
use proto::convert::{self, Malformed};
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::{Halt, Outcome};
use crate::pipeline::restore::{self, Restore};

#[derive(Debug)]
pub(super) struct WriteDisk {
    snapshot_id: SnapshotId,
    instance_id: InstanceId,
    disk_id: DiskId,
    target_id: TargetId,
    lineage_id: LineageId,
    destination_volume_id: VolumeId,
}

impl WriteDisk {
    pub(super) fn parse(message: &cmd::WriteDisk) -> Result<Self, Malformed> {
        Ok(Self {
            snapshot_id: convert::id("snapshot_id", &message.snapshot_id)?,
            instance_id: convert::id("instance_id", &message.instance_id)?,
            disk_id: convert::id("disk_id", &message.disk_id)?,
            target_id: convert::id("target_id", &message.target_id)?,
            lineage_id: convert::id("lineage_id", &message.lineage_id)?,
            destination_volume_id: convert::id("destination_volume_id", &message.destination_volume_id)?,
        })
    }

    async fn write(&self, job: &Job) -> Outcome {
        let destination =
            job.ports.host.destination_disk(self.destination_volume_id).await.map_err(Halt::effect_free)?;
        let restore = Restore {
            destination,
            target_id: self.target_id,
            lineage_id: self.lineage_id,
            snapshot_id: self.snapshot_id,
        };
        restore::run(&job.ports.means, &restore, &job.control).await.map(Reply::DiskWritten)
    }
}

#[async_trait]
impl Work for WriteDisk {
    fn needs_lease(&self) -> bool {
        true
    }

    async fn run(&self, job: &Job) -> Outcome {
        self.write(job).await.map_err(|halt| {
            halt.about(&format!(
                "failed to write disk {} of instance {} from snapshot {} into volume {}",
                self.disk_id, self.instance_id, self.snapshot_id, self.destination_volume_id
            ))
        })
    }
}
