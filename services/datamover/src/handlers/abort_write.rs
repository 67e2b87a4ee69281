//! Stops a write wherever it runs and bars its late attempts. The volume is deleted by the cloud.

use async_trait::async_trait;
use model::JobId;
use proto::cmd::v1 as cmd;
use proto::convert::{self, Malformed};
use proto::rep::v1::Done;
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::Outcome;

#[derive(Debug)]
pub(super) struct AbortWrite {
    write_job_id: JobId,
}

impl AbortWrite {
    pub(super) fn parse(message: &cmd::AbortWrite) -> Result<Self, Malformed> {
        Ok(Self { write_job_id: convert::id("write_job_id", &message.write_job_id)? })
    }
}

#[async_trait]
impl Work for AbortWrite {
    async fn run(&self, job: &Job) -> Outcome {
        job.bar_and_stop(self.write_job_id).await?;
        job.forget(self.write_job_id).await?;
        Ok(Reply::Done(Done {}))
    }
}
