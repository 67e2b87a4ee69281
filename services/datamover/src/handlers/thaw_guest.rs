//! Thaws a guest and disarms its timer. The count tells whether the guest had been frozen until now: only then is the
//! snapshot consistent.

use async_trait::async_trait;
use model::InstanceId;
use proto::cmd::v1 as cmd;
use proto::convert::{self, Malformed};
use proto::rep::v1::GuestThawed;
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::Outcome;

#[derive(Debug)]
pub(super) struct ThawGuest {
    instance_id: InstanceId,
}

impl ThawGuest {
    pub(super) fn parse(message: &cmd::ThawGuest) -> Result<Self, Malformed> {
        Ok(Self { instance_id: convert::id("instance_id", &message.instance_id)? })
    }
}

#[async_trait]
impl Work for ThawGuest {
    async fn run(&self, job: &Job) -> Outcome {
        let thawed = job.thaw(self.instance_id).await?;
        Ok(Reply::GuestThawed(GuestThawed { thawed_count: thawed.count }))
    }
}
