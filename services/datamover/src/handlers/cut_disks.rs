//! Takes all local disks of an instance at one point in time, as the hypervisor can.

use async_trait::async_trait;
use cloud::{CutRequest, Moment};
use proto::cmd::v1 as cmd;
use proto::common::v1::LocalMoment;
use proto::convert::{self, Malformed};
use proto::rep::v1::DisksCut;
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::{Halt, Outcome};

#[derive(Debug)]
pub(super) struct CutDisks {
    request: CutRequest,
}

impl CutDisks {
    pub(super) fn parse(message: &cmd::CutDisks) -> Result<Self, Malformed> {
        let disks =
            message.disk_ids.iter().map(|id| convert::id("disk_ids", id)).collect::<Result<Vec<_>, _>>()?;
        if disks.is_empty() {
            return Err(Malformed::Missing { field: "disk_ids" });
        }
        let request = CutRequest {
            instance_id: convert::id("instance_id", &message.instance_id)?,
            snapshot_id: convert::id("snapshot_id", &message.snapshot_id)?,
            disks,
            base: convert::optional_id("base_snapshot_id", &message.base_snapshot_id)?,
        };
        Ok(Self { request })
    }
}

#[async_trait]
impl Work for CutDisks {
    async fn run(&self, job: &Job) -> Outcome {
        let moment = match job.ports.host.cut(&self.request).await.map_err(Halt::failed)? {
            Moment::Cut => LocalMoment::Cut,
            Moment::AsIs => LocalMoment::AsIs,
            // No local disk has one; the controllers refuse this answer.
            Moment::VolumeSnapshot(_) => LocalMoment::Unspecified,
        };
        Ok(Reply::DisksCut(DisksCut { moment: moment.into() }))
    }
}
