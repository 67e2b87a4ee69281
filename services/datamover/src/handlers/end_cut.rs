//! Ends a cut of local disks, after its snapshot was committed or given up.

use async_trait::async_trait;
use model::{InstanceId, JobId, SnapshotId};
use proto::cmd::v1 as cmd;
use proto::convert::{self, Malformed};
use proto::rep::v1::Done;
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::{Halt, Outcome};

#[derive(Debug)]
pub(super) struct EndCut {
    instance_id: InstanceId,
    snapshot_id: SnapshotId,
    keep_changes: bool,
    /// `None`: the cut was made long ago.
    cut_job_id: Option<JobId>,
}

impl EndCut {
    pub(super) fn parse(message: &cmd::EndCut) -> Result<Self, Malformed> {
        Ok(Self {
            instance_id: convert::id("instance_id", &message.instance_id)?,
            snapshot_id: convert::id("snapshot_id", &message.snapshot_id)?,
            keep_changes: message.keep_changes,
            cut_job_id: convert::optional_id("cut_job_id", &message.cut_job_id)?,
        })
    }
}

#[async_trait]
impl Work for EndCut {
    async fn run(&self, job: &Job) -> Outcome {
        if let Some(cut) = self.cut_job_id {
            job.bar_and_stop(cut).await?;
        }
        let (instance, snapshot) = (self.instance_id, self.snapshot_id);
        job.ports.host.end_cut(instance, snapshot, self.keep_changes).await.map_err(Halt::failed)?;
        if let Some(cut) = self.cut_job_id {
            job.forget(cut).await?;
        }
        Ok(Reply::Done(Done {}))
    }
}
