//! What a running job must ask, and what it tells while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::Failure;
use tokio::sync::watch;

use crate::lease::Lease;
use crate::outcome::{Halt, StopReason};

/// How often a parked job looks whether its lease is back.
const PARK_POLL: Duration = Duration::from_millis(100);
/// A job parked for longer ends: no controller has extended it for many leases.
const PARKED_MAX: Duration = Duration::from_secs(600);

/// The job's side. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    lease: Option<Arc<Lease>>,
    stop: watch::Receiver<Option<StopReason>>,
    progress: Arc<Progress>,
    parked: Arc<AtomicBool>,
    changes_false: Arc<AtomicBool>,
}

/// The supervisor's side.
#[derive(Debug)]
pub struct Stopper {
    stop: watch::Sender<Option<StopReason>>,
    lease: Option<Arc<Lease>>,
}

/// How far a job is, as heartbeats tell it.
#[derive(Debug, Default)]
pub struct Progress {
    pub bytes_done: AtomicU64,
    pub bytes_total: AtomicU64,
    pub bytes_read: AtomicU64,
    pub bytes_stored: AtomicU64,
}

/// `Progress` at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProgressValues {
    pub bytes_done: u64,
    pub bytes_total: u64,
    pub bytes_read: u64,
    pub bytes_stored: u64,
}

impl Control {
    /// Control of a job; without a lease it may always write.
    #[must_use]
    pub fn new(lease: Option<Arc<Lease>>) -> (Stopper, Self) {
        let (tx, rx) = watch::channel(None);
        let stopper = Stopper { stop: tx, lease: lease.clone() };
        let (progress, parked, changes_false) = Default::default();
        (stopper, Self { lease, stop: rx, progress, parked, changes_false })
    }

    /// Remembers that the record of changes since the parent was found to be false, for the job's result, whatever that is.
    pub fn note_false_changes(&self) {
        self.changes_false.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn changes_are_false(&self) -> bool {
        self.changes_false.load(Ordering::Relaxed)
    }

    /// Waits for the right to write: at once when the lease holds, parked while it does not.
    ///
    /// Errors: stopped, or parked for too long. Cancel safe: yes.
    pub async fn may_write(&self) -> Result<(), Halt> {
        let right = self.wait_for_right().await;
        self.parked.store(false, Ordering::SeqCst);
        right
    }

    async fn wait_for_right(&self) -> Result<(), Halt> {
        let mut parked = Duration::ZERO;
        loop {
            self.check_stopped()?;
            if self.holds() {
                return Ok(());
            }
            if !self.parked.swap(true, Ordering::SeqCst) {
                tracing::warn!("the lease ran out, the job waits for the controller to extend it");
            }
            if parked >= PARKED_MAX {
                return Err(Halt::lease_lost());
            }
            // It ends early when somebody stops the job.
            if let Ok(halt) = tokio::time::timeout(PARK_POLL, self.stopped()).await {
                return Err(halt);
            }
            parked += PARK_POLL;
        }
    }

    /// Resolves when the right to write is gone, if only for a moment. Cancel safe: yes.
    pub async fn right_lost(&self) {
        while self.check_stopped().is_ok() && self.holds() {
            // It ends early when somebody stops the job.
            let _ = tokio::time::timeout(PARK_POLL, self.stopped()).await;
        }
    }

    /// Why a target refused, when the job was stopped or lost its lease meanwhile; else `failure`.
    #[must_use]
    pub fn halt_of(&self, failure: Failure) -> Halt {
        match self.check_stopped() {
            Err(halt) => halt,
            Ok(()) if !self.holds() => Halt::lease_lost(),
            Ok(()) => Halt::failed(failure),
        }
    }

    fn holds(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.may_write())
    }

    /// Whether it waits for its lease.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.parked.load(Ordering::SeqCst)
    }

    /// Resolves when somebody stops the job. Cancel safe: yes.
    pub async fn stopped(&self) -> Halt {
        let mut stop = self.stop.clone();
        let reason = match stop.wait_for(Option::is_some).await {
            Ok(reason) => *reason,
            Err(_) => None,
        };
        // A stopper that is gone without a word: the supervisor is, and with it the process.
        Halt::Stopped(reason.unwrap_or(StopReason::Draining))
    }

    /// Errors: somebody stopped the job.
    pub fn check_stopped(&self) -> Result<(), Halt> {
        match *self.stop.borrow() {
            Some(reason) => Err(Halt::Stopped(reason)),
            None => Ok(()),
        }
    }

    /// What the job tells.
    #[must_use]
    pub const fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The lease under which it runs.
    #[must_use]
    pub const fn lease(&self) -> Option<&Arc<Lease>> {
        self.lease.as_ref()
    }
}

impl Stopper {
    /// Tells the job to stop, and takes its right to write. The first reason counts.
    pub fn stop(&self, reason: StopReason) {
        if let Some(lease) = &self.lease {
            lease.revoke();
        }
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            *stop = stop.or(Some(reason));
            first
        });
    }
}

impl Progress {
    /// Reads all values.
    #[must_use]
    pub fn values(&self) -> ProgressValues {
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        ProgressValues {
            bytes_done: read(&self.bytes_done),
            bytes_total: read(&self.bytes_total),
            bytes_read: read(&self.bytes_read),
            bytes_stored: read(&self.bytes_stored),
        }
    }
}
