//! Takes commands: journals them, says so, and only then lets go of the message.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use async_trait::async_trait;
use bus::{Envelope, header};
use model::Failure;
use proto::convert::Header;
use service_kit::actors::{Handled, MessageHandler};
use service_kit::telemetry::Chain;

use super::{Begin, Expect, ResultSender, Stop, TransferSupervisor};
use crate::handlers;
use crate::journal::{Acceptance, JobRecord, NewJob};
use crate::outcome::StopReason;
use crate::ports::Ports;

/// Handles the messages of the host's queue and of the pools' queues.
#[derive(Debug)]
pub struct CommandHandler {
    pub ports: Arc<Ports>,
    pub supervisor: Addr<TransferSupervisor>,
    pub results: ResultSender,
}

#[async_trait]
impl MessageHandler for CommandHandler {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        let (header, work) = match handlers::parse(&envelope.type_name, &envelope.body) {
            Ok(parsed) => parsed,
            Err(refusal) => return Handled::Dead(Chain(&refusal).to_string()),
        };
        let needs_lease = work.needs_lease();
        drop(work); // it is parsed again from the journal, as after a restart
        if let Some(late) = self.lateness(&header) {
            return self.refuse_late(&header, late).await;
        }
        let job = NewJob {
            job_id: header.key.job_id,
            saga_id: header.saga_id,
            attempt: header.key.attempt,
            epoch: header.key.epoch,
            command_type: envelope.type_name.clone(),
            command: envelope.body.to_vec(),
            traceparent: envelope.header(header::TRACEPARENT).map(str::to_owned),
        };
        let record = JobRecord::from(job.clone());
        match self.ports.journal.run(move |journal| journal.accept(job)).await {
            Ok(acceptance) => self.answer(acceptance, record, &header, needs_lease).await,
            Err(error) => {
                tracing::error!(job_id = %header.key.job_id, error = %Chain(&error), "failed to journal a job");
                Handled::Retry
            }
        }
    }
}

impl CommandHandler {
    /// By how much a command is past its deadline; `None` for one in time, and for one that the journal knows: what was
    /// accepted in time is done, and answered again.
    fn lateness(&self, header: &Header) -> Option<Duration> {
        let (deadline, now) = (header.deadline_at?, self.ports.clock.now());
        if now <= deadline {
            return None;
        }
        let known = self.ports.journal.blocking().job(header.key.job_id);
        let is_known = known.is_some_and(|record| record.attempt >= header.key.attempt);
        (!is_known).then(|| now.since(deadline))
    }

    /// The controllers have given the attempt up: nobody waits for it, and what was to be taken back may be by now.
    async fn refuse_late(&self, header: &Header, late: Duration) -> Handled {
        let (job_id, attempt) = (header.key.job_id, header.key.attempt);
        let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(%job_id, attempt, late_ms, "a command is past its deadline and is refused");
        let message = format!(
            "the command reached {} {late_ms} ms after its deadline; if that comes often, look at the clock of the host",
            self.ports.host_name
        );
        let failure = Failure::transient("COMMAND_EXPIRED", message);
        // An earlier attempt may have run here.
        match self.ports.replies.send_refused(header, &failure, attempt == 1).await {
            Ok(()) => Handled::Done,
            Err(_) => Handled::Retry,
        }
    }

    async fn answer(
        &self,
        acceptance: Acceptance,
        record: JobRecord,
        header: &Header,
        needs_lease: bool,
    ) -> Handled {
        let (job_id, attempt) = (record.job_id, record.attempt);
        match acceptance {
            // Known and unfinished: it runs, or waits; the supervisor knows which, and starts nothing twice.
            Acceptance::New | Acceptance::Again(_) => self.start(record, needs_lease).await,
            Acceptance::TakesOver { previous } => {
                tracing::info!(%job_id, attempt, previous, "a later attempt of a known job takes over");
                let stop = Stop { job_id, attempt_max: attempt - 1, reason: StopReason::Superseded };
                if self.supervisor.send(stop).await.is_err() {
                    return Handled::Retry; // the supervisor is dead, the process ends
                }
                self.start(record, needs_lease).await
            }
            Acceptance::Finished(record) => {
                self.results.send_soon(record.job_id);
                Handled::Done
            }
            Acceptance::Settled => {
                tracing::debug!(%job_id, attempt, "a job whose result was acknowledged was delivered again");
                Handled::Done
            }
            Acceptance::Stale { current } => {
                tracing::info!(%job_id, attempt, current, "an older attempt of a known job came late");
                Handled::Done
            }
            Acceptance::Barred => {
                tracing::info!(%job_id, attempt, "a barred job came late");
                match self.ports.replies.send_barred(header).await {
                    Ok(()) => Handled::Done,
                    Err(_) => Handled::Retry,
                }
            }
        }
    }

    /// The supervisor hears of a job under a lease before the controllers do: the grant may come at once.
    async fn start(&self, record: JobRecord, needs_lease: bool) -> Handled {
        tracing::info!(job_id = %record.job_id, attempt = record.attempt, command = record.command_type, "a job is accepted");
        let (job_id, attempt) = (record.job_id, record.attempt);
        if needs_lease {
            let expect = Expect { job_id, attempt, sent_at: self.ports.clock.monotonic() };
            if self.supervisor.send(expect).await.is_err() {
                return Handled::Retry;
            }
            self.tell_accepted(&record, true).await;
        } else {
            self.tell_accepted(&record, false).await;
            if self.supervisor.send(Begin { job_id, attempt, again: false }).await.is_err() {
                return Handled::Retry;
            }
        }
        Handled::Done
    }

    /// The journal has it: when the broker does not take the word now, `result_sender` says it again.
    async fn tell_accepted(&self, record: &JobRecord, needs_lease: bool) {
        if let Err(error) = self.ports.replies.send_accepted(record, needs_lease).await {
            tracing::warn!(job_id = %record.job_id, error = %Chain(&error), "failed to tell that a job is accepted, will try again");
        }
    }
}
