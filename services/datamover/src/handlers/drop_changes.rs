//! Removes the records of changes of an instance, whose workload is reset or deleted.

use async_trait::async_trait;
use model::InstanceId;
use proto::cmd::v1 as cmd;
use proto::convert::{self, Malformed};
use proto::rep::v1::Done;
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::{Halt, Outcome};

#[derive(Debug)]
pub(super) struct DropChanges {
    instance_id: InstanceId,
}

impl DropChanges {
    pub(super) fn parse(message: &cmd::DropChanges) -> Result<Self, Malformed> {
        Ok(Self { instance_id: convert::id("instance_id", &message.instance_id)? })
    }
}

#[async_trait]
impl Work for DropChanges {
    async fn run(&self, job: &Job) -> Outcome {
        job.ports.host.drop_changes(self.instance_id).await.map_err(Halt::failed)?;
        Ok(Reply::Done(Done {}))
    }
}
