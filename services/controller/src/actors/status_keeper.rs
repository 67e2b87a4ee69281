//! Gathers the status every few seconds for all who look at it, and notes that this controller lives.

use std::sync::Arc;
use std::time::Duration;

use model::HostName;
use rest_api::{PartState, Status};
use runtime::Entropy;
use service_kit::{Health, Service, drill};

use crate::signs::Signs;
use crate::status::{BoardWriter, Gatherer};

/// Short enough for eyes, long enough to cost nothing.
const GATHER_INTERVAL: Duration = Duration::from_secs(2);

/// Starts the keeper.
pub fn start(service: &Service, mut gatherer: Gatherer, signs: Signs, board: BoardWriter) {
    let (health, mut drain) = (service.health().clone(), service.drain());
    let (host, boot_id) = (gatherer.host.clone(), Entropy.uuid().to_string());
    service.supervise("status_keeper", async move {
        let mut before = (PartState::ok(), PartState::ok());
        while !drain.has_begun() {
            drill::maybe_panic("status_keeper");
            note(&signs, &host, &boot_id).await;
            let status = gatherer.gather().await;
            tell(&health, &mut before, &status);
            board.send_replace(Some(Arc::new(status)));
            tokio::select! {
                biased; // both are cancel safe
                () = drain.begun() => {}
                () = tokio::time::sleep(GATHER_INTERVAL) => {}
            }
        }
    });
}

/// A catalog that takes longer than an interval is told by the status itself.
async fn note(signs: &Signs, host: &HostName, boot_id: &str) {
    match tokio::time::timeout(GATHER_INTERVAL, signs.note_controller(host, boot_id)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the controller's own sign of life was not noted"),
        Err(_) => tracing::debug!("the controller's own sign of life was not noted in time"),
    }
}

/// Health and log hear of what changed.
fn tell(health: &Health, before: &mut (PartState, PartState), status: &Status) {
    let reason = status.catalog.reason.as_ref();
    health.set_problem("catalog", reason.map(|reason| format!("the catalog does not answer: {reason}")));
    report("catalog", &before.0, &status.catalog);
    report("broker management", &before.1, &status.broker_management);
    *before = (status.catalog.clone(), status.broker_management.clone());
}

fn report(part: &str, before: &PartState, now: &PartState) {
    if before.state == now.state {
        return;
    }
    match (&now.reason, now.state) {
        (None, _) => tracing::info!(part, "answers again"),
        (Some(reason), rest_api::Reach::NotConfigured) => tracing::info!(part, reason, "is not watched"),
        (Some(reason), _) => tracing::warn!(part, reason, "does not answer, the status goes without it"),
    }
}
