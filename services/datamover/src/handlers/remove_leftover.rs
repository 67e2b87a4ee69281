//! Removes one thing that `ListLeftovers` told of. The controllers know that its saga is over; what a snapshot that is under way
//! reads is spared by the host itself.

use async_trait::async_trait;
use cloud::LeftoverKey;
use model::{InstanceId, JobId};
use proto::cmd::v1 as cmd;
use proto::convert::{self, Malformed};
use proto::rep::v1::Done;
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::{Halt, Outcome};

#[derive(Debug)]
pub(super) enum RemoveLeftover {
    OfHost(LeftoverKey),
    FrozenGuest(InstanceId),
    Journal(JobId),
}

impl RemoveLeftover {
    pub(super) fn parse(message: &cmd::RemoveLeftover) -> Result<Self, Malformed> {
        let instance = || convert::id("instance_id", &message.instance_id);
        let snapshot = || convert::id("snapshot_id", &message.snapshot_id);
        Ok(match message.kind.as_str() {
            "cut" => Self::OfHost(LeftoverKey::Cut { instance: instance()?, snapshot: snapshot()? }),
            "checkpoint" => {
                Self::OfHost(LeftoverKey::Checkpoint { instance: instance()?, snapshot: snapshot()? })
            }
            "bitmap" => Self::OfHost(LeftoverKey::Bitmap { instance: instance()?, snapshot: snapshot()? }),
            "scratch" => Self::OfHost(LeftoverKey::Scratch { snapshot: snapshot()? }),
            "frozen_guest" => Self::FrozenGuest(instance()?),
            "journal" => Self::Journal(convert::id("job_id", &message.job_id)?),
            _ => return Err(Malformed::OutOfRange { field: "kind" }),
        })
    }
}

#[async_trait]
impl Work for RemoveLeftover {
    async fn run(&self, job: &Job) -> Outcome {
        match *self {
            Self::OfHost(key) => {
                job.ports.host.remove_leftover(key).await.map_err(Halt::failed)?;
                tracing::info!(?key, "a leftover is removed");
            }
            Self::FrozenGuest(instance) => {
                let thawed = job.thaw(instance).await?;
                tracing::warn!(instance_id = %instance, thawed_count = thawed.count, "a guest that stayed frozen is thawed");
            }
            Self::Journal(left) => {
                job.bar_and_stop(left).await?;
                job.forget(left).await?;
                tracing::info!(job_id = %left, "the journal of a job that nobody waits for is removed");
            }
        }
        Ok(Reply::Done(Done {}))
    }
}
