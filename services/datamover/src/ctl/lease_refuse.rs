//! Another worker holds the lease, or the attempt is stale: drop the job.

use proto::cmd::v1::LeaseRefuse;
use service_kit::actors::Handled;
use service_kit::telemetry::Chain;

use super::{Decoded, job};
use crate::actors::{CtlHandler, Stop};
use crate::outcome::StopReason;

pub(super) async fn handle(handler: &CtlHandler, message: Decoded<LeaseRefuse>) -> Result<Handled, String> {
    let message = message?;
    let (job_id, attempt) = job(&message.job_id, message.attempt)?;
    tracing::info!(%job_id, attempt, reason = message.reason, "the controller refuses a lease, the job is dropped");
    // First the journal: a run that ends now must not leave a result behind.
    let dropped = handler.ports.journal.run(move |journal| journal.drop_job(job_id, attempt)).await;
    if let Err(error) = dropped {
        tracing::error!(%job_id, error = %Chain(&error), "failed to drop a job");
        return Ok(Handled::Retry);
    }
    // Its end is nobody's business, so nobody waits for it here; a later attempt will.
    let (supervisor, stop) =
        (handler.supervisor.clone(), Stop { job_id, attempt_max: attempt, reason: StopReason::Superseded });
    tokio::spawn(async move { supervisor.send(stop).await });
    Ok(Handled::Done)
}
