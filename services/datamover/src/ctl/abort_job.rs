//! Stops a running job within seconds. Its attempts up to this one are barred before anything else: a crash now must not
//! let it run again.

use proto::cmd::v1::AbortJob;
use service_kit::actors::Handled;
use service_kit::telemetry::Chain;

use super::{Decoded, job};
use crate::actors::{CtlHandler, Stop};
use crate::outcome::{Halt, StopReason};
use crate::replies::fresh_id;

pub(super) async fn handle(handler: &CtlHandler, message: Decoded<AbortJob>) -> Result<Handled, String> {
    let message = message?;
    let (job_id, attempt) = job(&message.job_id, message.attempt)?;
    tracing::info!(%job_id, attempt, "the controller aborts a job");
    if let Err(error) = handler.ports.journal.run(move |journal| journal.bar(job_id, attempt)).await {
        tracing::error!(%job_id, error = %Chain(&error), "failed to bar a job");
        return Ok(Handled::Retry);
    }
    let (supervisor, ports, results) =
        (handler.supervisor.clone(), handler.ports.clone(), handler.results.clone());
    // The end of a run may wait for a put under way; control of the other jobs must not.
    tokio::spawn(async move {
        let stop = Stop { job_id, attempt_max: attempt, reason: StopReason::Aborted };
        if supervisor.send(stop).await.is_err() {
            return; // dead; at the next start the job is found barred
        }
        finish_cancelled(&ports, &results, job_id, attempt).await;
    });
    Ok(Handled::Done)
}

/// A job that had not begun has nobody else to say its end; one that ran has said it.
pub(crate) async fn finish_cancelled(
    ports: &crate::ports::Ports,
    results: &crate::actors::ResultSender,
    job_id: model::JobId,
    attempt_max: u32,
) {
    let Some(record) = ports.journal.blocking().job(job_id) else { return };
    if record.is_finished() || record.attempt > attempt_max {
        return;
    }
    let outcome = Err(Halt::Stopped(StopReason::Aborted));
    let Some(result) = ports.replies.result_body(&record, record.epoch, outcome, false) else { return };
    let attempt = record.attempt;
    let kept = ports.journal.run(move |journal| journal.finish(job_id, attempt, result, fresh_id())).await;
    match kept {
        Ok(_) => results.send_soon(job_id),
        Err(error) => {
            tracing::error!(%job_id, error = %Chain(&error), "failed to journal the end of an aborted job")
        }
    }
}
