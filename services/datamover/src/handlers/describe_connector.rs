//! Says how this host presents itself to storage that it reaches by an attachment only.

use async_trait::async_trait;
use model::InstanceId;
use proto::cmd::v1 as cmd;
use proto::convert::{self, Malformed};
use proto::rep::v1::ConnectorDescribed;
use proto::rep::v1::job_succeeded::Result as Reply;

use super::work::{Job, Work};
use crate::outcome::{Halt, Outcome};

#[derive(Debug)]
pub(super) struct DescribeConnector {
    instance_id: InstanceId,
}

impl DescribeConnector {
    pub(super) fn parse(message: &cmd::DescribeConnector) -> Result<Self, Malformed> {
        Ok(Self { instance_id: convert::id("instance_id", &message.instance_id)? })
    }
}

#[async_trait]
impl Work for DescribeConnector {
    async fn run(&self, job: &Job) -> Outcome {
        let properties = job.ports.connections.properties().await.map_err(|failure| {
            Halt::failed(failure)
                .about(&format!("failed to see how instance {} reaches its volumes", self.instance_id))
        })?;
        Ok(Reply::ConnectorDescribed(ConnectorDescribed {
            host: job.ports.host_name.to_string(),
            properties: properties.into_bytes(),
            public_key: job.ports.connections.public_key(),
        }))
    }
}
