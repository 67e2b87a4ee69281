//! One run of one job: journal, work, journal, result.

use std::panic::resume_unwind;
use std::sync::Arc;

use actix::Recipient;
use model::{ErrorClass, Failure, JobId};
use service_kit::telemetry::Chain;
use tracing::Instrument as _;

use super::{ResultSender, Stop};
use crate::handlers::{self, Job};
use crate::journal::JobRecord;
use crate::outcome::{Halt, Outcome};
use crate::pipeline::Control;
use crate::ports::Ports;
use crate::replies::fresh_id;

/// What a run needs.
pub(super) struct Run {
    pub(super) job_id: JobId,
    pub(super) attempt: u32,
    /// It may have run before, in this attempt.
    pub(super) again: bool,
    pub(super) control: Control,
    pub(super) ports: Arc<Ports>,
    pub(super) stop: Recipient<Stop>,
}

/// Runs a job to its end and keeps its result. Returns when nothing of it runs any more.
pub(super) async fn run_job(run: Run, results: &ResultSender) {
    let span = tracing::info_span!("job", job_id = %run.job_id, attempt = run.attempt);
    go(run, results).instrument(span).await;
}

async fn go(run: Run, results: &ResultSender) {
    let Run { job_id, attempt, again, control, ports, stop } = run;
    let epoch = control.lease().map_or(0, |lease| lease.epoch());
    let begun = ports.journal.run(move |journal| journal.begin(job_id, attempt, epoch)).await;
    let record = match begun {
        Ok(Some(record)) => record,
        Ok(None) => {
            tracing::info!("the job is not to run any more");
            return;
        }
        Err(error) => {
            // It stays accepted; the controller hears nothing and tries again with a later attempt.
            tracing::error!(error = %Chain(&error), "failed to journal the begin of a job, it does not run");
            return;
        }
    };
    if let Some(lease) = control.lease() {
        ports.lease_keeper.hold(job_id, attempt, Arc::clone(lease), Arc::clone(control.progress())).await;
    }
    let outcome =
        work(&record, again, Job { id: job_id, ports: Arc::clone(&ports), control: control.clone(), stop })
            .await;
    log(&outcome);
    let epoch = control.lease().map_or(record.epoch, |lease| lease.epoch());
    let changes_false = control.changes_are_false();
    if let Some(result) = ports.replies.result_body(&record, epoch, outcome, changes_false) {
        let kept =
            ports.journal.run(move |journal| journal.finish(job_id, attempt, result, fresh_id())).await;
        match kept {
            Ok(Some(_)) => results.send_soon(job_id),
            Ok(None) => tracing::info!("the result counts for nothing: the job was taken over or purged"),
            Err(error) => {
                tracing::error!(error = %Chain(&error), "failed to journal a result; the job runs again at the next start");
            }
        }
    }
    if control.lease().is_some() {
        ports.lease_keeper.release(job_id, attempt).await;
    }
}

/// Does the work on a task of its own: its panic fails this job, loudly, and no other.
async fn work(record: &JobRecord, again: bool, job: Job) -> Outcome {
    let (_, work) = handlers::parse(&record.command_type, &record.command)
        .expect("the command was parsed before it was journalled");
    let task = tokio::spawn(
        async move { if again { work.run_again(&job).await } else { work.run(&job).await } }
            .in_current_span(),
    );
    let outcome = match task.await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => Err(Halt::failed(Failure::new(
            ErrorClass::Bug,
            "JOB_PANICKED",
            "the datamover met a bug in itself; its log says where. Report it.",
        ))),
        Err(error) => resume_unwind(error.into_panic()),
    };
    // Only the first run of the first attempt can prove that nothing of the effect exists.
    outcome.map_err(|halt| match halt {
        Halt::Failed { failure, effect_free } => {
            Halt::Failed { failure, effect_free: effect_free && !again && record.attempt == 1 }
        }
        stopped @ Halt::Stopped(_) => stopped,
    })
}

fn log(outcome: &Outcome) {
    match outcome {
        Ok(_) => tracing::info!("the job succeeded"),
        Err(Halt::Stopped(reason)) => tracing::info!(?reason, "the job was stopped"),
        Err(Halt::Failed { failure, .. }) if failure.class == ErrorClass::Bug => {
            tracing::error!(%failure, "the job failed");
        }
        Err(Halt::Failed { failure, .. }) => tracing::warn!(%failure, "the job failed"),
    }
}
