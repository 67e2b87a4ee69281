//! Runs accepted cloud jobs on a bounded number of tasks, and replies over the bus as any worker does. Jobs that a
//! process left behind are run again at its next start: their effects are found by tag.
//!
//! A job ends with its deadline: the saga has given it up by then, and its next attempt waits for its end. What an abandoned call
//! still does is found by its tag.
//!
//! A compensation waits for the action it takes back, where that still runs here; and an action that was given up
//! meanwhile does not start. So no effect comes after its undo.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{BODY_SIZE_MAX, Envelope, Publisher, Session, header};
use bus_config::{exchange, key};
use catalog::{Catalog, JobRow};
use model::{ErrorClass, Failure, MessageId, SagaId};
use prost::{Message as _, Name as _};
use proto::common::v1::JobHeader;
use proto::rep::v1 as rep;
use proto::rep::v1::job_succeeded::Result as Answer;
use runtime::{Clock, Entropy};
use service_kit::telemetry::Chain;
use service_kit::{Drain, Service, drill};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};

use crate::cloud_jobs::{CloudCommand, CloudJobs, JobError};
use crate::engine::Engine;

/// Clouds limit the rate of calls; their calls mostly wait.
const SLOT_COUNT: usize = 8;
/// Between attempts to publish a reply.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs cloud jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CloudWorker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    jobs: CloudJobs,
    publisher: Publisher,
    clock: Arc<dyn Clock>,
    slots: Arc<Semaphore>,
    /// One at a time per branch: an action and its compensation.
    branches: Mutex<BTreeMap<BranchId, Arc<AsyncMutex<()>>>>,
    drain: Drain,
}

type BranchId = (SagaId, u16, u16);

/// The right to run one job.
#[derive(Debug)]
pub struct Slot(#[allow(dead_code)] OwnedSemaphorePermit); // held, not read

/// Whether an earlier process may have run the same attempt.
#[derive(Debug, Clone, Copy)]
enum Run {
    First,
    Again,
}

impl Run {
    /// A run vouches for itself only, not for the one before it.
    fn vouch(self, outcome: Result<Answer, JobError>) -> Result<Answer, JobError> {
        outcome.map_err(|error| JobError {
            effect_free: error.effect_free && matches!(self, Self::First),
            ..error
        })
    }
}

impl CloudWorker {
    /// Makes the worker; in a drain the jobs that run are awaited.
    #[must_use]
    pub fn new(
        service: &Service,
        session: &Session,
        engine: Engine,
        (jobs, clock): (CloudJobs, Arc<dyn Clock>),
    ) -> Self {
        let slots = Arc::new(Semaphore::new(SLOT_COUNT));
        let all = Arc::clone(&slots);
        service.on_drain("cloud jobs", async move {
            let count = u32::try_from(SLOT_COUNT).unwrap_or(u32::MAX);
            drop(all.acquire_many(count).await);
        });
        let shared = Shared {
            engine,
            jobs,
            publisher: session.publisher(),
            clock,
            slots,
            branches: Mutex::default(),
            drain: service.drain(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Runs again what an earlier process accepted and did not finish.
    ///
    /// Errors: the catalog's.
    pub async fn resume(&self, catalog: &Catalog) -> Result<(), catalog::Error> {
        let jobs = catalog.read().await?.accepted_cloud_jobs().await?;
        if jobs.is_empty() {
            return Ok(());
        }
        tracing::info!(count = jobs.len(), "cloud jobs of an earlier process run again");
        let worker = self.clone();
        tokio::spawn(async move {
            for job in jobs {
                if worker.shared.drain.has_begun() {
                    return;
                }
                let slot = worker.slot().await;
                worker.start(job, slot, Run::Again);
            }
        });
        Ok(())
    }

    /// Waits until another job may run.
    ///
    /// Panics: never: nobody closes the semaphore.
    pub async fn slot(&self) -> Slot {
        let slots = Arc::clone(&self.shared.slots);
        Slot(slots.acquire_owned().await.expect("the semaphore is never closed"))
    }

    /// Runs an accepted job and replies.
    pub fn run(&self, job: JobRow, slot: Slot) {
        self.start(job, slot, Run::First);
    }

    fn start(&self, job: JobRow, slot: Slot, run: Run) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            shared.run(&job, run).await;
            drop(slot);
        });
    }
}

impl Shared {
    async fn run(&self, job: &JobRow, run: Run) {
        let id = (job.saga_id, job.step, job.branch);
        let guard = self.branch(id).lock_owned().await;
        match self.engine.is_current(job.id, job.attempt).await {
            Ok(true) => {
                let outcome = self.attempt(job).await;
                drop(guard); // a compensation need not wait for the reply
                self.reply(job, run.vouch(outcome)).await;
            }
            Ok(false) => tracing::debug!(job_id = %job.id, attempt = job.attempt, "a cloud job was given up"),
            // It stays accepted: its deadline makes another attempt.
            Err(error) => {
                tracing::warn!(job_id = %job.id, error = %Chain(&error), "a cloud job did not start")
            }
        }
        self.forget(id);
    }

    /// Does the job in a task of its own, so that its panic is an answer.
    async fn attempt(&self, job: &JobRow) -> Result<Answer, JobError> {
        let command = CloudCommand::decode(&job.command_type, &job.command_body)
            .map_err(|error| Failure::new(ErrorClass::Bug, "COMMAND_INVALID", error.to_string()))?;
        let jobs = self.jobs.clone();
        let task = tokio::spawn(async move {
            drill::maybe_panic("cloud_worker");
            jobs.run(&command).await
        });
        let stop = task.abort_handle();
        let Ok(ended) = tokio::time::timeout(self.time_left(job), task).await else {
            stop.abort();
            return Err(overdue(job).into());
        };
        ended.unwrap_or_else(|error| {
            tracing::error!(job_id = %job.id, command = job.command_type, "a cloud job panicked");
            Err(Failure::new(ErrorClass::Bug, "CLOUD_JOB_PANICKED", format!("{}: {error}", job.command_type))
                .into())
        })
    }

    /// Until the saga gives the attempt up.
    fn time_left(&self, job: &JobRow) -> Duration {
        job.deadline_at.since(self.clock.now())
    }

    async fn reply(&self, job: &JobRow, outcome: Result<Answer, JobError>) {
        let (mut kind, mut type_name, mut body) = encode(job, outcome);
        if body.len() > BODY_SIZE_MAX {
            let message = format!("the answer has {} bytes, more than the bus takes", body.len());
            let failure = Failure::new(ErrorClass::Bug, "REPLY_TOO_LARGE", message);
            (kind, type_name, body) = encode(job, Err(failure.into()));
        }
        let envelope = Envelope::new(MessageId::from_uuid(Entropy.uuid()), &type_name, body)
            .correlated(job.saga_id)
            .with_header(header::JOB, job.id)
            .with_header(header::ATTEMPT, job.attempt);
        while let Err(error) = self.publisher.publish(exchange::REP, &key::reply(kind), &envelope).await {
            if self.drain.has_begun() {
                return; // the job stays accepted, and runs again at the next start
            }
            tracing::debug!(job_id = %job.id, error = %Chain(&error), "a reply is published again");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn branch(&self, id: BranchId) -> Arc<AsyncMutex<()>> {
        let mut branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(branches.entry(id).or_default())
    }

    /// Lets go of a branch that nobody waits for.
    fn forget(&self, id: BranchId) {
        let mut branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
        if branches.get(&id).is_some_and(|branch| Arc::strong_count(branch) == 1) {
            branches.remove(&id);
        }
    }
}

/// The saga's own timer says the same of it, whoever is first.
fn overdue(job: &JobRow) -> Failure {
    tracing::info!(job_id = %job.id, command = job.command_type, "a cloud job did not end in time");
    let message = format!("{} did not end in time: the next attempt looks for what it did", job.command_type);
    Failure::new(ErrorClass::Indeterminate, "JOB_TIMEOUT", message)
}

fn encode(job: &JobRow, outcome: Result<Answer, JobError>) -> (&'static str, String, Vec<u8>) {
    let header = Some(JobHeader {
        job_id: job.id.to_string(),
        saga_id: job.saga_id.to_string(),
        attempt: job.attempt,
        epoch: job.epoch,
        deadline_at: job.deadline_at.0,
    });
    let host = String::new();
    match outcome {
        Ok(answer) => {
            let message = rep::JobSucceeded { header, host, result: Some(answer) };
            ("job_succeeded", rep::JobSucceeded::full_name(), message.encode_to_vec())
        }
        Err(JobError { failure, effect_free }) => {
            let error = Some((&failure).into());
            let message = rep::JobFailed { header, host, error, effect_free, ..Default::default() };
            ("job_failed", rep::JobFailed::full_name(), message.encode_to_vec())
        }
    }
}
