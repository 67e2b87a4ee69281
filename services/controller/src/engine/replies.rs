//! What workers tell: accepted, done, still at it, or nothing at all. Each is judged in one transaction against the job's
//! row, and only then told to the saga, which judges once more.
//!
//! The rules. A result counts for the current attempt only, and from the worker that holds the job. A lease goes to the
//! first worker that accepted; to another only after the saga gave the attempt up. Every result of a datamover is
//! acknowledged, also one that counts no more, so that its journal empties.

use std::time::Duration;

use catalog::{JobDirection, JobGrant, JobProgress, JobRow, JobState, OutboxRow, TimerKind, TimerRow, Tx};
use model::{ErrorClass, Failure, HostName, JobId, JobKey, LineageId, SagaId, SnapshotId};
use prost::{Message as _, Name as _};
use proto::cmd::v1 as cmd;
use proto::convert;

use super::dispatch::{Control, Dispatch};
use super::event::{At, Incoming};
use super::{Engine, Error, direction_of, in_transaction, progress};
use crate::sagas::Output;
use crate::sagas::answer::Answer;

/// Who says something, as the broker has proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worker {
    /// The datamover of a host.
    Mover(HostName),
    /// Could not place a command.
    Dmapi,
    /// A cloud worker of the controllers.
    Cloud,
}

/// A job in a worker's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub host: HostName,
    pub job_id: JobId,
    pub attempt: u32,
    /// As the worker sees it; the catalog's word counts where it knows the job.
    pub needs_lease: bool,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobResult {
    pub worker: Worker,
    pub job_id: JobId,
    pub attempt: u32,
    pub outcome: Outcome,
    /// Of a transfer, however it ended: what is recorded as changed since its base is false.
    pub changes_false: bool,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Succeeded(Answer),
    Failed { failure: Failure, effect_free: bool },
    Cancelled,
}

/// A sign of life of a job under a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    pub key: JobKey,
    pub progress: JobProgress,
}

/// What became of something a worker said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Taken,
    /// It counts no more: another attempt, another worker, or the saga went on.
    Stale,
}

impl Engine {
    /// A worker has a job durably: it gets the lease, or the refusal.
    pub async fn job_accepted(&self, accepted: &Accepted) -> Result<Verdict, Error> {
        let verdict = in_transaction!(self.core, |tx| self.take_accepted(tx, accepted))?;
        self.wake();
        Ok(verdict)
    }

    /// A job ended.
    pub async fn job_ended(&self, result: &JobResult) -> Result<Verdict, Error> {
        let verdict = in_transaction!(self.core, |tx| self.take_result(tx, result))?;
        self.wake();
        Ok(verdict)
    }

    /// Jobs of a host are still at it. Gives those whose leases were extended.
    pub async fn beat(&self, host: &HostName, beats: &[Beat]) -> Result<Vec<JobKey>, Error> {
        in_transaction!(self.core, |tx| self.take_beat(tx, host, beats))
    }

    /// A timer is due.
    pub async fn timer_due(&self, timer: TimerRow) -> Result<Verdict, Error> {
        let verdict = in_transaction!(self.core, |tx| self.take_timer(tx, timer))?;
        self.wake();
        Ok(verdict)
    }

    /// The lease of `job` ran out while nobody extended it.
    pub async fn lease_expired(&self, job: &JobRow) -> Result<Verdict, Error> {
        let verdict = in_transaction!(self.core, |tx| self.take_expiry(tx, job))?;
        self.wake();
        Ok(verdict)
    }

    /// The broker will not have `message`: it leaves the outbox, and its saga is told.
    pub async fn undeliverable(&self, message: &OutboxRow, failure: &Failure) -> Result<Verdict, Error> {
        let verdict = in_transaction!(self.core, |tx| self.take_back_message(tx, message, failure))?;
        self.wake();
        Ok(verdict)
    }

    /// A cloud worker has a command durably: gives the job, unless it is to be done no more.
    pub async fn cloud_job_accepted(&self, id: JobId, attempt: u32) -> Result<Option<JobRow>, Error> {
        in_transaction!(self.core, |tx| async {
            let Some(job) = current(tx, id, attempt).await? else { return Ok(None) };
            if !is_cloud_job(&job) {
                return Ok(None);
            }
            tx.accept_job(id, attempt, None, false).await?;
            Ok(Some(job))
        })
    }

    /// Whether a job's attempt still counts: asked right before an effect.
    pub async fn is_current(&self, id: JobId, attempt: u32) -> Result<bool, Error> {
        let mut tx = self.core.catalog.read().await?;
        Ok(current(&mut tx, id, attempt).await?.is_some())
    }

    /// How long a lease lasts.
    #[must_use]
    pub fn lease_ttl(&self) -> Duration {
        self.core.timing.lease_ttl
    }

    async fn take_accepted(&self, tx: &mut Tx, accepted: &Accepted) -> Result<Verdict, Error> {
        let Accepted { host, job_id, attempt, needs_lease } = accepted;
        let job = tx.get_job(*job_id).await?;
        let needs_lease = job.as_ref().map_or(*needs_lease, |job| job.needs_lease);
        let saga_id = job.as_ref().map(|job| job.saga_id);
        let refusal = refusal(job.as_ref(), host, *attempt);
        match (job, refusal) {
            (Some(job), None) if needs_lease => self.grant(tx, &job, host).await,
            (Some(job), None) => {
                tx.accept_job(job.id, *attempt, Some(host), false).await?;
                Ok(Verdict::Taken)
            }
            (_, reason) => {
                let reason = reason.unwrap_or("the controllers do not know this job");
                tracing::info!(%job_id, attempt, %host, reason, "a job is refused");
                if needs_lease {
                    let job_id = job_id.to_string();
                    let message = cmd::LeaseRefuse { job_id, attempt: *attempt, reason: reason.to_owned() };
                    let control = Control { host, verb: "lease_refuse", saga_id, message };
                    self.dispatch(tx).control(control).await?;
                }
                Ok(Verdict::Stale)
            }
        }
    }

    async fn grant(&self, tx: &mut Tx, job: &JobRow, host: &HostName) -> Result<Verdict, Error> {
        let lease_until = tx.now().after(self.core.timing.lease_ttl);
        let grant = JobGrant { key: job.key(), worker: host.clone(), lease_until };
        let epoch = tx.grant_job_lease(&grant).await?;
        // The lease watches from now on.
        tx.delete_timers_of_branch(job.branch_key()).await?;
        let message = cmd::LeaseGrant {
            job_id: job.id.to_string(),
            attempt: job.attempt,
            epoch,
            lease_ttl_ms: u32::try_from(self.core.timing.lease_ttl.as_millis()).unwrap_or(u32::MAX),
        };
        let control = Control { host, verb: "lease_grant", saga_id: Some(job.saga_id), message };
        self.dispatch(tx).control(control).await?;
        tracing::info!(saga_id = %job.saga_id, job_id = %job.id, attempt = job.attempt, epoch, %host, "a lease is granted");
        Ok(Verdict::Taken)
    }

    async fn take_result(&self, tx: &mut Tx, result: &JobResult) -> Result<Verdict, Error> {
        let JobResult { worker, job_id, attempt, outcome, changes_false } = result;
        let job = tx.get_job(*job_id).await?;
        if let Worker::Mover(host) = worker {
            let message = cmd::ResultAck { job_id: job_id.to_string(), attempt: *attempt };
            let saga_id = job.as_ref().map(|job| job.saga_id);
            self.dispatch(tx).control(Control { host, verb: "result_ack", saga_id, message }).await?;
        }
        if let Some(job) = job.as_ref().filter(|_| *changes_false) {
            // Also of an attempt that counts no more.
            distrust_base(tx, job).await?;
        }
        let Some(job) = job.filter(|job| may_end(job, worker, *attempt)) else {
            tracing::debug!(%job_id, attempt, ?worker, "a result counts no more");
            return Ok(Verdict::Stale);
        };
        let at = at(&job);
        let incoming = match outcome {
            Outcome::Succeeded(answer) => Incoming::Succeeded { at, output: Output::Remote(answer.clone()) },
            Outcome::Failed { failure, effect_free } => {
                Incoming::Failed { at, failure: failure.clone(), effect_free: *effect_free }
            }
            Outcome::Cancelled => {
                let message = "the worker had been told to stop it";
                let failure = Failure::new(ErrorClass::Cancelled, "JOB_CANCELLED", message);
                Incoming::Failed { at, failure, effect_free: false }
            }
        };
        self.end_attempt(tx, &job, incoming).await
    }

    async fn take_beat(&self, tx: &mut Tx, host: &HostName, beats: &[Beat]) -> Result<Vec<JobKey>, Error> {
        let keys: Vec<JobKey> = beats.iter().map(|beat| beat.key).collect();
        let lease_until = tx.now().after(self.core.timing.lease_ttl);
        let extended = tx.extend_job_leases(host, &keys, lease_until).await?;
        for beat in beats.iter().filter(|beat| extended.contains(&beat.key)) {
            let Some(job) = tx.get_job(beat.key.job_id).await? else { continue };
            if job.progress != beat.progress {
                tx.update_job_progress(beat.key, beat.progress).await?;
                progress::show_bytes(tx, &job, beat.progress).await?;
            }
        }
        Ok(extended)
    }

    async fn take_timer(&self, tx: &mut Tx, timer: TimerRow) -> Result<Verdict, Error> {
        if !tx.delete_timer(&timer).await? {
            return Ok(Verdict::Stale);
        }
        match timer.kind {
            TimerKind::Retry => {
                let TimerRow { step, branch, direction, attempt, .. } = timer;
                let at = At { step, branch, direction: direction_of(direction), attempt };
                self.tell(tx, timer.saga_id, Incoming::RetryDue { at }).await
            }
            TimerKind::Deadline => self.take_lateness(tx, &timer).await,
            TimerKind::SagaDeadline => self.tell(tx, timer.saga_id, Incoming::DeadlinePassed).await,
            TimerKind::StuckRetry => self.tell(tx, timer.saga_id, Incoming::StuckRetryDue).await,
        }
    }

    /// An attempt that nobody answered in time is lost: it may have happened.
    async fn take_lateness(&self, tx: &mut Tx, timer: &TimerRow) -> Result<Verdict, Error> {
        let job = tx.get_job_of_branch(timer.branch_key()).await?;
        let is_late = |job: &JobRow| {
            let is_leased = job.needs_lease && job.state == JobState::Running;
            job.attempt == timer.attempt && job.state != JobState::Done && !is_leased
        };
        let Some(job) = job.filter(is_late) else { return Ok(Verdict::Stale) };
        let by = job.worker.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
        let message = format!("no answer came in time; it was accepted by {by}");
        let failure = Failure::new(ErrorClass::Indeterminate, "JOB_TIMEOUT", message);
        let incoming = Incoming::Failed { at: at(&job), failure, effect_free: false };
        self.end_attempt(tx, &job, incoming).await
    }

    async fn take_expiry(&self, tx: &mut Tx, seen: &JobRow) -> Result<Verdict, Error> {
        let now = tx.now();
        let job = tx.get_job(seen.id).await?;
        let is_expired = |job: &JobRow| {
            job.key() == seen.key()
                && job.state == JobState::Running
                && job.lease_until.is_some_and(|until| until < now)
        };
        let Some(job) = job.filter(is_expired) else { return Ok(Verdict::Stale) };
        let host = job.worker.as_ref().map_or("a host", HostName::as_str);
        let message = format!("the datamover of {host} was not heard of for a whole lease");
        tracing::warn!(saga_id = %job.saga_id, job_id = %job.id, attempt = job.attempt, host, "a lease is lost");
        let failure = Failure::new(ErrorClass::Fenced, "LEASE_LOST", message);
        let incoming = Incoming::Failed { at: at(&job), failure, effect_free: false };
        self.end_attempt(tx, &job, incoming).await
    }

    async fn take_back_message(
        &self,
        tx: &mut Tx,
        message: &OutboxRow,
        failure: &Failure,
    ) -> Result<Verdict, Error> {
        tx.delete_outbox(&[message.id]).await?;
        let header = |name: &str| message.headers.get(name);
        let id = header(bus::header::JOB).and_then(|text| text.parse().ok());
        let attempt = header(bus::header::ATTEMPT).and_then(|text| text.parse().ok());
        let (Some(id), Some(attempt)) = (id, attempt) else { return Ok(Verdict::Stale) };
        let job = current(tx, id, attempt).await?;
        let Some(job) = job.filter(|job| job.state == JobState::Queued) else { return Ok(Verdict::Stale) };
        // The broker gave it to nobody.
        let incoming = Incoming::Failed { at: at(&job), failure: failure.clone(), effect_free: true };
        self.end_attempt(tx, &job, incoming).await
    }

    /// Ends the current attempt of a job, and tells its saga how.
    async fn end_attempt(&self, tx: &mut Tx, job: &JobRow, incoming: Incoming) -> Result<Verdict, Error> {
        if !tx.finish_job(job.id, job.attempt).await? {
            return Ok(Verdict::Stale);
        }
        tx.delete_timers_of_branch(job.branch_key()).await?;
        self.tell(tx, job.saga_id, incoming).await
    }

    async fn tell(&self, tx: &mut Tx, saga_id: SagaId, incoming: Incoming) -> Result<Verdict, Error> {
        match self.apply(tx, saga_id, incoming).await? {
            Ok(_) => Ok(Verdict::Taken),
            Err(_) => Ok(Verdict::Stale),
        }
    }

    fn dispatch<'a>(&self, tx: &'a mut Tx) -> Dispatch<'a> {
        Dispatch { tx, entropy: self.core.entropy, lease_ttl: self.core.timing.lease_ttl }
    }
}

/// Whatever host has the disk next, it does not begin with that base.
async fn distrust_base(tx: &mut Tx, job: &JobRow) -> Result<(), Error> {
    if job.command_type != cmd::TransferDisk::full_name() {
        return Ok(());
    }
    let Ok(command) = cmd::TransferDisk::decode(job.command_body.as_slice()) else { return Ok(()) };
    let lineage = convert::id::<LineageId>("lineage_id", &command.lineage_id);
    let parent = convert::id::<SnapshotId>("parent_snapshot_id", &command.parent_snapshot_id);
    let (Ok(lineage), Ok(parent)) = (lineage, parent) else { return Ok(()) };
    tracing::warn!(saga_id = %job.saga_id, %lineage, snapshot_id = %parent, "a record of changes was found to be false, nothing builds on it any more");
    Ok(tx.distrust_lineage_base(lineage, parent).await?)
}

/// The job, if this attempt of it still counts.
async fn current(tx: &mut Tx, id: JobId, attempt: u32) -> Result<Option<JobRow>, Error> {
    let job = tx.get_job(id).await?;
    Ok(job.filter(|job| job.attempt == attempt && job.state != JobState::Done))
}

/// Why `host` may not do this attempt; `None`: it may.
fn refusal(job: Option<&JobRow>, host: &HostName, attempt: u32) -> Option<&'static str> {
    let Some(job) = job else { return Some("the controllers do not know this job") };
    if is_cloud_job(job) {
        return Some("this job is not one of datamovers");
    }
    if job.attempt != attempt {
        return Some("another attempt is the current one");
    }
    if job.state == JobState::Done {
        return Some("this attempt was given up");
    }
    let is_held = job.worker.as_ref().is_some_and(|worker| worker != host);
    is_held.then_some("another host has this job")
}

/// Whether this worker's word on this attempt counts.
fn may_end(job: &JobRow, worker: &Worker, attempt: u32) -> bool {
    let is_current = job.attempt == attempt && job.state != JobState::Done;
    is_current
        && match worker {
            Worker::Cloud => is_cloud_job(job),
            Worker::Dmapi => !is_cloud_job(job) && job.state == JobState::Queued,
            // Replies may overtake each other: a result may come before its acceptance.
            Worker::Mover(host) => {
                !is_cloud_job(job) && job.worker.as_ref().is_none_or(|holder| holder == host)
            }
        }
}

fn is_cloud_job(job: &JobRow) -> bool {
    job.routing_key.starts_with("cloud.")
}

const fn at(job: &JobRow) -> At {
    At {
        step: job.step,
        branch: job.branch,
        direction: match job.direction {
            JobDirection::Action => saga::Direction::Action,
            JobDirection::Undo => saga::Direction::Undo,
        },
        attempt: job.attempt,
    }
}
