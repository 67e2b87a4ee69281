//! Beats for all leased jobs, and takes the extensions. On a thread and runtime of its own: no hashing, no hanging target
//! and no busy arbiter delays a beat.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Envelope, Publisher};
use bus_config::{exchange, key};
use model::{HostName, JobId};
use prost::Message as _;
use proto::hb::v1::{Heartbeat, JobBeat};
use runtime::{Clock, Entropy};
use service_kit::{Service, StartError, drill};
use tokio::sync::mpsc;

use crate::lease::{Lease, SentBeats};
use crate::pipeline::Progress;
use crate::replies::fresh_id;

const NAME: &str = "lease_keeper";

/// A host runs a handful of transfers: 256 messages are more than all of them make between two beats.
const MAILBOX_CAPACITY: usize = 256;

/// How to reach it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LeaseKeeper {
    to: mpsc::Sender<Order>,
    held: Arc<Mutex<BTreeSet<JobId>>>,
}

/// An answer to a beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    pub sequence: u64,
    pub ttl: Duration,
    /// Job, attempt, epoch.
    pub jobs: Vec<(JobId, u32, u64)>,
}

/// What beats are made of.
#[derive(Debug)]
pub struct Beats {
    pub host: HostName,
    pub boot_id: String,
    pub publisher: Publisher,
    pub clock: Arc<dyn Clock>,
    pub interval: Duration,
    pub margin: Duration,
}

/// The other end, before the thread runs.
#[derive(Debug)]
pub struct LeaseOrders(mpsc::Receiver<Order>);

#[derive(Debug)]
enum Order {
    Hold { job_id: JobId, held: Held },
    Release { job_id: JobId, attempt: u32 },
    Extend(Extension),
}

#[derive(Debug)]
struct Held {
    attempt: u32,
    lease: Arc<Lease>,
    progress: Arc<Progress>,
}

impl LeaseKeeper {
    /// Makes both ends.
    #[must_use]
    pub fn new() -> (Self, LeaseOrders) {
        let (to, from) = mpsc::channel(MAILBOX_CAPACITY);
        (Self { to, held: Arc::default() }, LeaseOrders(from))
    }

    /// Beats for a job from now on, and at once.
    pub async fn hold(&self, job_id: JobId, attempt: u32, lease: Arc<Lease>, progress: Arc<Progress>) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(job_id);
        self.order(Order::Hold { job_id, held: Held { attempt, lease, progress } }).await;
    }

    /// Beats for it no more.
    pub async fn release(&self, job_id: JobId, attempt: u32) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&job_id);
        self.order(Order::Release { job_id, attempt }).await;
    }

    /// Takes an extension.
    pub async fn extend(&self, extension: Extension) {
        self.order(Order::Extend(extension)).await;
    }

    /// Whether a job is granted and beaten for.
    #[must_use]
    pub fn holds(&self, job_id: JobId) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).contains(&job_id)
    }

    /// How many jobs are beaten for.
    #[must_use]
    pub fn held_count(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    async fn order(&self, order: Order) {
        // An error: the thread is dead, and the watchdog ends the process.
        let _ = self.to.send(order).await;
    }
}

impl LeaseOrders {
    /// Starts the thread. It beats until the process ends: also in a drain, while transfers come to their end.
    ///
    /// Errors: the operating system refuses a thread.
    pub fn start(self, service: &Service, beats: Beats) -> Result<(), StartError> {
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the process made a runtime before");
            runtime.block_on(keep(self.0, beats));
        };
        match service.watchdog().supervise_thread(NAME, run) {
            Ok(_) => Ok(()),
            Err(error) => Err(StartError::failed(format!("failed to start the thread {NAME}: {error}"))),
        }
    }
}

async fn keep(mut orders: mpsc::Receiver<Order>, beats: Beats) {
    // Above the numbers of every earlier process on this host: see `SentBeats::starting_at`.
    let mut sent = SentBeats::starting_at(u64::try_from(beats.clock.now().0).unwrap_or(1));
    let mut held: BTreeMap<JobId, Held> = BTreeMap::new();
    let mut pause = Duration::ZERO;
    loop {
        let order = tokio::select! {
            biased; // both are cancel safe
            order = orders.recv() => order,
            () = tokio::time::sleep(pause) => {
                drill::maybe_panic(NAME);
                beat(&mut sent, &held, &beats);
                pause = jittered(beats.interval);
                continue;
            }
        };
        match order {
            None => return,
            Some(Order::Hold { job_id, held: job }) => {
                held.insert(job_id, job);
                beat(&mut sent, &held, &beats);
            }
            Some(Order::Release { job_id, attempt }) => {
                if held.get(&job_id).is_some_and(|job| job.attempt == attempt) {
                    held.remove(&job_id);
                }
            }
            Some(Order::Extend(extension)) => extend(&sent, &held, &extension, beats.margin),
        }
    }
}

/// A beat that waits for its confirm must not hold up the next: it is published on a task of this thread.
fn beat(sent: &mut SentBeats, held: &BTreeMap<JobId, Held>, beats: &Beats) {
    let sequence = sent.send(beats.clock.monotonic());
    let jobs = held
        .iter()
        .map(|(job_id, job)| {
            let progress = job.progress.values();
            JobBeat {
                job_id: job_id.to_string(),
                attempt: job.attempt,
                epoch: job.lease.epoch(),
                bytes_done: progress.bytes_done,
                bytes_total: progress.bytes_total,
                bytes_read: progress.bytes_read,
                bytes_stored: progress.bytes_stored,
            }
        })
        .collect();
    let body = Heartbeat { host: beats.host.to_string(), boot_id: beats.boot_id.clone(), sequence, jobs };
    let envelope = Envelope::new(fresh_id(), "holdfast.hb.v1.Heartbeat", body.encode_to_vec());
    let (publisher, routing_key) = (beats.publisher.clone(), key::heartbeat(&beats.host));
    let deadline = beats.interval;
    tokio::spawn(async move {
        let published =
            tokio::time::timeout(deadline, publisher.publish(exchange::HB, &routing_key, &envelope)).await;
        match published {
            Ok(Ok(())) => tracing::trace!(sequence, "a beat is sent"),
            Ok(Err(error)) => tracing::debug!(sequence, %error, "a beat was not sent"),
            Err(_) => tracing::debug!(sequence, "a beat was not confirmed in time"),
        }
    });
}

fn extend(sent: &SentBeats, held: &BTreeMap<JobId, Held>, extension: &Extension, margin: Duration) {
    let Some(sent_at) = sent.sent_at(extension.sequence) else {
        tracing::debug!(sequence = extension.sequence, "an extension answers a beat that is forgotten");
        return;
    };
    for (job_id, attempt, epoch) in &extension.jobs {
        let Some(job) = held.get(job_id) else { continue };
        if job.attempt == *attempt && job.lease.epoch() == *epoch {
            job.lease.extend(sent_at, extension.ttl, margin);
        }
    }
}

/// Between 90 and 110 percent: the hosts of a cloud must not beat in step.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * Entropy.fraction())
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use runtime::ManualClock;

    use super::*;

    const TTL: Duration = Duration::from_secs(90);

    #[test]
    fn an_extension_counts_from_its_beat_and_only_for_its_attempt_and_epoch() {
        let clock = ManualClock::starting_at(Timestamp(1));
        let (job_id, other) = (JobId::from_uuid(Entropy.uuid()), JobId::from_uuid(Entropy.uuid()));
        let lease = Lease::new(clock.clone(), 4);
        let held = BTreeMap::from([(
            job_id,
            Held { attempt: 2, lease: Arc::clone(&lease), progress: Arc::default() },
        )]);
        let mut sent = SentBeats::starting_at(7);
        let sequence = sent.send(clock.monotonic());
        let answer =
            |sequence, jobs| extend(&sent, &held, &Extension { sequence, ttl: TTL, jobs }, Duration::ZERO);
        answer(sequence, vec![(job_id, 1, 4), (job_id, 2, 3), (other, 2, 4)]);
        answer(sequence + 1, vec![(job_id, 2, 4)]);
        assert!(!lease.may_write());
        clock.advance(TTL / 2);
        answer(sequence, vec![(other, 2, 4), (job_id, 2, 4)]);
        assert!(lease.may_write());
        clock.advance(TTL / 2);
        assert!(!lease.may_write());
    }
}
