//! Go.

use std::time::Duration;

use proto::cmd::v1::LeaseGrant;
use service_kit::actors::Handled;

use super::{Decoded, job};
use crate::actors::{CtlHandler, Grant};

pub(super) async fn handle(handler: &CtlHandler, message: Decoded<LeaseGrant>) -> Result<Handled, String> {
    let message = message?;
    let (job_id, attempt) = job(&message.job_id, message.attempt)?;
    let ttl = Duration::from_millis(message.lease_ttl_ms.into());
    let grant = Grant { job_id, attempt, epoch: message.epoch, ttl };
    Ok(match handler.supervisor.send(grant).await {
        Ok(()) => Handled::Done,
        Err(_) => Handled::Retry,
    })
}
