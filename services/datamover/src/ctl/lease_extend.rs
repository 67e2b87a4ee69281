//! Answers a heartbeat: the right to write goes on.

use std::time::Duration;

use proto::cmd::v1::LeaseExtend;
use service_kit::actors::Handled;

use super::{Decoded, job};
use crate::actors::{CtlHandler, Extension};

pub(super) async fn handle(handler: &CtlHandler, message: Decoded<LeaseExtend>) -> Result<Handled, String> {
    let message = message?;
    let jobs = message
        .jobs
        .iter()
        .map(|lease| {
            job(&lease.job_id, lease.attempt).map(|(job_id, attempt)| (job_id, attempt, lease.epoch))
        })
        .collect::<Result<_, _>>()?;
    let ttl = Duration::from_millis(message.lease_ttl_ms.into());
    handler.ports.lease_keeper.extend(Extension { sequence: message.sequence, ttl, jobs }).await;
    Ok(Handled::Done)
}
