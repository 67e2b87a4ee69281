//! Owns the jobs that run, and those that wait for a grant. One job runs once: a later attempt, an abort or a purge waits
//! until the earlier run has really ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext as _, Context, Handler, Message, ResponseFuture};
use model::JobId;
use service_kit::{Ping, Service, drill};
use tokio::sync::watch;

use super::ResultSender;
use super::running::{Run, run_job};
use crate::lease::Lease;
use crate::outcome::StopReason;
use crate::pipeline::{Control, Stopper};
use crate::ports::Ports;

const NAME: &str = "transfer_supervisor";

/// The actor.
#[derive(Debug)]
pub struct TransferSupervisor {
    ports: Arc<Ports>,
    results: ResultSender,
    waiting: BTreeMap<JobId, Waiting>,
    running: BTreeMap<JobId, Running>,
    draining: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    attempt: u32,
    /// When the first announcement was sent: a grant counts from then.
    sent_at: Instant,
    again: bool,
}

#[derive(Debug)]
struct Running {
    attempt: u32,
    stopper: Stopper,
    lease: Option<Arc<Lease>>,
    ended: watch::Receiver<bool>,
}

/// A journalled job under a lease is about to be announced: expect its grant.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Expect {
    pub job_id: JobId,
    pub attempt: u32,
    pub sent_at: Instant,
}

/// The controller lends a job to this worker.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Grant {
    pub job_id: JobId,
    pub attempt: u32,
    pub epoch: u64,
    pub ttl: Duration,
}

/// Runs a journalled job that needs no lease.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Begin {
    pub job_id: JobId,
    pub attempt: u32,
    /// It ran before a restart of the process.
    pub again: bool,
}

/// Stops a job up to an attempt; answered when nothing of it runs any more.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Stop {
    pub job_id: JobId,
    pub attempt_max: u32,
    pub reason: StopReason,
}

/// Stops leased jobs, lets short ones end; answered when none runs any more. No job starts afterwards.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Drain;

#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
struct Ended {
    job_id: JobId,
    attempt: u32,
}

impl TransferSupervisor {
    /// Starts it with the jobs of an earlier process: unfinished short ones go on, leased ones are announced again.
    pub fn start(service: &Service, ports: Arc<Ports>, results: ResultSender) -> Addr<Self> {
        let unfinished: Vec<_> =
            ports.journal.blocking().jobs().into_iter().filter(|job| !job.is_finished()).collect();
        let sent_at = ports.clock.monotonic();
        let mut actor =
            Self { ports, results, waiting: BTreeMap::new(), running: BTreeMap::new(), draining: false };
        let mut short = Vec::new();
        for job in unfinished {
            match crate::handlers::parse(&job.command_type, &job.command) {
                Ok((_, work)) if work.needs_lease() => {
                    let waiting = Waiting { attempt: job.attempt, sent_at, again: true };
                    actor.waiting.insert(job.job_id, waiting);
                }
                Ok(_) => short.push(Begin { job_id: job.job_id, attempt: job.attempt, again: true }),
                Err(refusal) => {
                    tracing::error!(job_id = %job.job_id, %refusal, "a job of the journal makes no sense and is left alone");
                }
            }
        }
        let address = Actor::start(actor);
        service.watchdog().watch(NAME, &address);
        let to = address.clone();
        tokio::spawn(async move {
            for begin in short {
                // An error: the supervisor is dead, and the watchdog tells.
                let _ = to.send(begin).await;
            }
        });
        address
    }

    fn run(&mut self, begin: Begin, lease: Option<Arc<Lease>>, ctx: &Context<Self>) {
        let Begin { job_id, attempt, again } = begin;
        let (stopper, control) = Control::new(lease.clone());
        let (ended_tx, ended) = watch::channel(false);
        let previous = self.running.remove(&job_id).map(|running| {
            running.stopper.stop(StopReason::Superseded);
            running.ended
        });
        self.running.insert(job_id, Running { attempt, stopper, lease, ended });
        let run = Run {
            job_id,
            attempt,
            again,
            control,
            ports: Arc::clone(&self.ports),
            stop: ctx.address().recipient(),
        };
        let (results, to) = (self.results.clone(), ctx.address());
        tokio::spawn(async move {
            wait_ended(previous).await;
            run_job(run, &results).await;
            ended_tx.send_replace(true);
            // An error: the supervisor is dead, and the watchdog tells.
            let _ = to.send(Ended { job_id, attempt }).await;
        });
    }
}

async fn wait_ended(ended: Option<watch::Receiver<bool>>) {
    if let Some(mut ended) = ended {
        // An error: its task is gone, so it does not run.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Actor for TransferSupervisor {
    type Context = Context<Self>;
}

impl Handler<Expect> for TransferSupervisor {
    type Result = ();
    fn handle(&mut self, expect: Expect, _ctx: &mut Self::Context) {
        drill::maybe_panic(NAME);
        let Expect { job_id, attempt, sent_at } = expect;
        let runs = self.running.get(&job_id).is_some_and(|running| running.attempt == attempt);
        let waits = self.waiting.get(&job_id).is_some_and(|waiting| waiting.attempt == attempt);
        if !self.draining && !runs && !waits {
            self.waiting.insert(job_id, Waiting { attempt, sent_at, again: false });
        }
    }
}

impl Handler<Grant> for TransferSupervisor {
    type Result = ();
    fn handle(&mut self, grant: Grant, ctx: &mut Self::Context) {
        let Grant { job_id, attempt, epoch, ttl } = grant;
        if self.draining {
            return;
        }
        if let Some(waiting) = self.waiting.get(&job_id).copied().filter(|waiting| waiting.attempt == attempt)
        {
            self.waiting.remove(&job_id);
            let lease = Lease::new(Arc::clone(&self.ports.clock), epoch);
            lease.extend(waiting.sent_at, ttl, self.ports.settings.lease_margin);
            tracing::info!(%job_id, attempt, epoch, "a job is granted");
            self.run(Begin { job_id, attempt, again: waiting.again }, Some(lease), ctx);
        } else if let Some(running) = self.running.get(&job_id).filter(|running| running.attempt == attempt) {
            // The announcement came twice. The right to write grows by beats under the new epoch only.
            if let Some(lease) = &running.lease {
                lease.raise_epoch(epoch);
            }
        } else {
            tracing::debug!(%job_id, attempt, epoch, "a grant for no job of ours");
        }
    }
}

impl Handler<Begin> for TransferSupervisor {
    type Result = ();
    fn handle(&mut self, begin: Begin, ctx: &mut Self::Context) {
        drill::maybe_panic(NAME);
        let runs = self.running.get(&begin.job_id).is_some_and(|running| running.attempt == begin.attempt);
        if !self.draining && !runs {
            self.run(begin, None, ctx);
        }
    }
}

impl Handler<Stop> for TransferSupervisor {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, stop: Stop, _ctx: &mut Self::Context) -> Self::Result {
        if self.waiting.get(&stop.job_id).is_some_and(|waiting| waiting.attempt <= stop.attempt_max) {
            self.waiting.remove(&stop.job_id);
        }
        let ended = self.running.get(&stop.job_id).filter(|running| running.attempt <= stop.attempt_max).map(
            |running| {
                running.stopper.stop(stop.reason);
                running.ended.clone()
            },
        );
        Box::pin(wait_ended(ended))
    }
}

impl Handler<Drain> for TransferSupervisor {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, _: Drain, _ctx: &mut Self::Context) -> Self::Result {
        self.draining = true;
        self.waiting.clear();
        let ended: Vec<_> = self
            .running
            .values()
            .map(|running| {
                if running.lease.is_some() {
                    running.stopper.stop(StopReason::Draining);
                }
                running.ended.clone()
            })
            .collect();
        Box::pin(async move {
            for ended in ended {
                wait_ended(Some(ended)).await;
            }
        })
    }
}

impl Handler<Ended> for TransferSupervisor {
    type Result = ();
    fn handle(&mut self, ended: Ended, _ctx: &mut Self::Context) {
        if self.running.get(&ended.job_id).is_some_and(|running| running.attempt == ended.attempt) {
            self.running.remove(&ended.job_id);
        }
    }
}

impl Handler<Ping> for TransferSupervisor {
    type Result = ();
    fn handle(&mut self, _: Ping, _ctx: &mut Self::Context) {}
}
