//! The result is in the catalog: the worker may forget the job.

use proto::cmd::v1::ResultAck;
use service_kit::actors::Handled;
use service_kit::telemetry::Chain;

use super::{Decoded, job};
use crate::actors::CtlHandler;

pub(super) async fn handle(handler: &CtlHandler, message: Decoded<ResultAck>) -> Result<Handled, String> {
    let message = message?;
    let (job_id, attempt) = job(&message.job_id, message.attempt)?;
    match handler.ports.journal.run(move |journal| journal.settle(job_id, attempt)).await {
        Ok(()) => Ok(Handled::Done),
        Err(error) => {
            tracing::error!(%job_id, error = %Chain(&error), "failed to settle a job");
            Ok(Handled::Retry)
        }
    }
}
