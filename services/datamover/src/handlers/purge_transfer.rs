//! Takes a transfer back: bars it, waits until nothing of it runs here, disconnects what it had connected, removes its objects
//! and its journals. Under a lease, as the transfer had: after a purge another transfer of the same snapshot may come, with
//! objects of the same names.

use async_trait::async_trait;
use model::{JobId, LineageId, SnapshotId, TargetId};
use proto::cmd::v1 as cmd;
use proto::convert::{self, Malformed};
use proto::rep::v1::Done;
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::{Halt, Outcome};
use crate::pipeline::Fenced;

#[derive(Debug)]
pub(super) struct PurgeTransfer {
    /// `None`: a committed snapshot is deleted; its transfer ended long ago.
    transfer_job_id: Option<JobId>,
    snapshot_id: SnapshotId,
    target_id: TargetId,
    lineage_id: LineageId,
}

impl PurgeTransfer {
    pub(super) fn parse(message: &cmd::PurgeTransfer) -> Result<Self, Malformed> {
        Ok(Self {
            transfer_job_id: convert::optional_id("transfer_job_id", &message.transfer_job_id)?,
            snapshot_id: convert::id("snapshot_id", &message.snapshot_id)?,
            target_id: convert::id("target_id", &message.target_id)?,
            lineage_id: convert::id("lineage_id", &message.lineage_id)?,
        })
    }

    async fn purge(&self, job: &Job) -> Outcome {
        if let Some(transfer) = self.transfer_job_id {
            job.bar_and_stop(transfer).await?;
            job.ports.connections.disconnect(transfer).await.map_err(Halt::failed)?;
        }
        let target = job.ports.means.targets.open(self.target_id).await.map_err(Halt::failed)?;
        let target = Fenced::around(target, job.control.clone());
        job.control.may_write().await?;
        let purged = chunk_store::purge(&*target, self.lineage_id, self.snapshot_id)
            .await
            .map_err(|error| job.control.halt_of(error.removal_failure()))?;
        tracing::info!(snapshot_id = %self.snapshot_id, lineage_id = %self.lineage_id, pack_count = purged.pack_count,
            bytes_removed = purged.bytes_removed.0, "a transfer is purged");
        if let Some(transfer) = self.transfer_job_id {
            job.forget(transfer).await?;
        }
        Ok(Reply::Done(Done {}))
    }
}

#[async_trait]
impl Work for PurgeTransfer {
    fn needs_lease(&self) -> bool {
        true
    }

    async fn run(&self, job: &Job) -> Outcome {
        self.purge(job).await.map_err(|halt| {
            halt.about(&format!(
                "failed to purge snapshot {} of lineage {}",
                self.snapshot_id, self.lineage_id
            ))
        })
    }
}
