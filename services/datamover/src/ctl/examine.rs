//! Somebody asks how this datamover finds itself. It is looked at beside the work: control of jobs does not wait for it.

use std::sync::Arc;

use model::InstanceId;
use proto::cmd::v1::Examine;
use proto::convert;
use proto::rep::v1::Examined;
use service_kit::actors::Handled;
use tokio::sync::Semaphore;

use super::Decoded;
use crate::actors::CtlHandler;
use crate::examine;

/// One look at a time: what hangs in one is not hung in by the next.
static EXAMINING: Semaphore = Semaphore::const_new(1);

pub(super) fn handle(handler: &CtlHandler, message: Decoded<Examine>) -> Result<Handled, String> {
    let message = message?;
    // An instance that makes no sense is on no host.
    let ids = message.instance_ids.iter().filter_map(|text| text.parse().ok());
    let instances: Vec<InstanceId> = ids.collect();
    let (ports, config) = (Arc::clone(&handler.ports), Arc::clone(&handler.config));
    tokio::spawn(async move {
        // Who asks again and again gets one answer after the other.
        let Ok(_turn) = EXAMINING.acquire().await else { return };
        let findings = examine::examine(&config, &instances, message.instances_only).await;
        let examined = Examined {
            examination_id: message.examination_id,
            host: ports.host_name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sent_at: ports.clock.now().0,
            uid: findings.user.uid,
            gid: findings.user.gid,
            checks: convert::checks(&findings.checks),
            targets: findings.targets,
            places: Vec::new(),
        };
        if let Err(error) = ports.replies.send_examined(&examined).await {
            tracing::warn!(%error, "failed to tell how this datamover finds itself");
        }
    });
    Ok(Handled::Done)
}
