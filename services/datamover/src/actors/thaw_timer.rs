//! No guest stays frozen: a thread and runtime of its own thaws each guest when its time is over, whatever else this
//! process does or fails to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloud::Host;
use model::{ErrorClass, InstanceId};
use runtime::Clock;
use service_kit::{Service, StartError, drill};
use tokio::sync::{mpsc, oneshot};

use crate::journal::JournalHandle;

const NAME: &str = "thaw_timer";

/// A host has some tens of instances: no more are frozen at a time.
const MAILBOX_CAPACITY: usize = 64;
/// One thaw may take so long before it is tried again.
const THAW_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// Between two tries.
const THAW_RETRY: Duration = Duration::from_secs(1);

/// How to reach it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ThawTimer {
    to: mpsc::Sender<Order>,
}

/// The other end, before the thread runs.
#[derive(Debug)]
pub struct ThawOrders(mpsc::Receiver<Order>, mpsc::Sender<Order>);

#[derive(Debug)]
enum Order {
    Arm {
        instance: InstanceId,
        after: Duration,
    },
    Disarm {
        instance: InstanceId,
        done: oneshot::Sender<()>,
    },
    IsArmed {
        instance: InstanceId,
        answer: oneshot::Sender<bool>,
    },
    /// The process drains: thaw all; answered when none is left.
    All {
        done: oneshot::Sender<()>,
    },
    Thawed {
        instance: InstanceId,
        turn: u64,
        gone: bool,
    },
}

/// A guest that may be frozen.
#[derive(Debug, Clone, Copy)]
struct Armed {
    due_at: std::time::Instant,
    /// Grows with each arming: the end of an earlier thaw disarms no later freeze.
    turn: u64,
    thawing: bool,
}

impl ThawTimer {
    /// Makes both ends.
    #[must_use]
    pub fn new() -> (Self, ThawOrders) {
        let (to, from) = mpsc::channel(MAILBOX_CAPACITY);
        (Self { to: to.clone() }, ThawOrders(from, to))
    }

    /// Thaws the guest `after` so long; an earlier arming of it counts no more.
    pub async fn arm(&self, instance: InstanceId, after: Duration) {
        self.order(Order::Arm { instance, after }).await;
    }

    /// Somebody else thawed it.
    pub async fn disarm(&self, instance: InstanceId) {
        let (done, wait) = oneshot::channel();
        self.order(Order::Disarm { instance, done }).await;
        let _ = wait.await;
    }

    /// Whether its time is not over yet.
    pub async fn is_armed(&self, instance: InstanceId) -> bool {
        let (answer, wait) = oneshot::channel();
        self.order(Order::IsArmed { instance, answer }).await;
        wait.await.unwrap_or(false)
    }

    /// Thaws all guests now and waits for it.
    pub async fn thaw_all(&self) {
        let (done, wait) = oneshot::channel();
        self.order(Order::All { done }).await;
        let _ = wait.await;
    }

    async fn order(&self, order: Order) {
        // An error: the thread is dead, the watchdog ends the process, and the next start thaws all.
        let _ = self.to.send(order).await;
    }
}

impl ThawOrders {
    /// Starts the thread, which first thaws every guest that the journal says may be frozen.
    ///
    /// Errors: the operating system refuses a thread.
    pub fn start(
        self,
        service: &Service,
        host: Arc<dyn Host>,
        journal: JournalHandle,
        clock: Arc<dyn Clock>,
    ) -> Result<(), StartError> {
        let Self(orders, to) = self;
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the process made a runtime before");
            let mut timer =
                Timer { armed: BTreeMap::new(), turn: 0, host, journal, clock, to, drained: Vec::new() };
            runtime.block_on(timer.run(orders));
        };
        match service.watchdog().supervise_thread(NAME, run) {
            Ok(_) => Ok(()),
            Err(error) => Err(StartError::failed(format!("failed to start the thread {NAME}: {error}"))),
        }
    }
}

struct Timer {
    armed: BTreeMap<InstanceId, Armed>,
    turn: u64,
    host: Arc<dyn Host>,
    journal: JournalHandle,
    clock: Arc<dyn Clock>,
    to: mpsc::Sender<Order>,
    drained: Vec<oneshot::Sender<()>>,
}

impl Timer {
    async fn run(&mut self, mut orders: mpsc::Receiver<Order>) {
        for instance in self.journal.blocking().frozen() {
            tracing::warn!(instance_id = %instance, "a guest may be frozen since before the restart and is thawed");
            self.arm(instance, Duration::ZERO);
        }
        loop {
            self.thaw_due();
            if self.armed.is_empty() {
                for done in self.drained.drain(..) {
                    let _ = done.send(());
                }
            }
            let now = self.clock.monotonic();
            let next = self.armed.values().filter(|armed| !armed.thawing).map(|armed| armed.due_at).min();
            let pause = next.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(now));
            match tokio::time::timeout(pause, orders.recv()).await {
                Ok(Some(order)) => self.obey(order),
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    fn obey(&mut self, order: Order) {
        drill::maybe_panic(NAME);
        match order {
            Order::Arm { instance, after } => self.arm(instance, after),
            Order::Disarm { instance, done } => {
                self.armed.remove(&instance);
                let _ = done.send(());
            }
            Order::IsArmed { instance, answer } => {
                let now = self.clock.monotonic();
                let armed =
                    self.armed.get(&instance).is_some_and(|armed| !armed.thawing && armed.due_at > now);
                let _ = answer.send(armed);
            }
            Order::All { done } => {
                let now = self.clock.monotonic();
                self.armed.values_mut().for_each(|armed| armed.due_at = now);
                self.drained.push(done);
            }
            Order::Thawed { instance, turn, gone } => self.thawed(instance, turn, gone),
        }
    }

    fn arm(&mut self, instance: InstanceId, after: Duration) {
        self.turn += 1;
        let due_at = self.clock.monotonic() + after;
        self.armed.insert(instance, Armed { due_at, turn: self.turn, thawing: false });
    }

    fn thaw_due(&mut self) {
        let now = self.clock.monotonic();
        for (instance, armed) in &mut self.armed {
            if armed.thawing || armed.due_at > now {
                continue;
            }
            armed.thawing = true;
            let (host, to, instance, turn) = (Arc::clone(&self.host), self.to.clone(), *instance, armed.turn);
            tokio::spawn(async move {
                let thawed = tokio::time::timeout(THAW_TIMEOUT_MAX, host.thaw(instance)).await;
                let gone = match thawed {
                    Ok(Ok(thawed)) => {
                        tracing::warn!(instance_id = %instance, count = thawed.count, "a guest was thawed by its timer");
                        true
                    }
                    Ok(Err(failure)) if failure.class == ErrorClass::Permanent => {
                        tracing::error!(instance_id = %instance, %failure, "a guest cannot be thawed");
                        true
                    }
                    Ok(Err(failure)) => {
                        tracing::error!(instance_id = %instance, %failure, "failed to thaw a guest, will try again");
                        false
                    }
                    Err(_) => {
                        tracing::error!(instance_id = %instance, "a thaw did not end in time, will try again");
                        false
                    }
                };
                let _ = to.send(Order::Thawed { instance, turn, gone }).await;
            });
        }
    }

    fn thawed(&mut self, instance: InstanceId, turn: u64, gone: bool) {
        let Some(armed) = self.armed.get_mut(&instance).filter(|armed| armed.turn == turn) else { return };
        if gone {
            self.armed.remove(&instance);
            if let Err(error) = self.journal.blocking().note_thaw(instance) {
                tracing::error!(instance_id = %instance, %error, "failed to journal a thaw; the guest is thawed once more at the next start");
            }
        } else {
            *armed = Armed { due_at: self.clock.monotonic() + THAW_RETRY, thawing: false, ..*armed };
        }
    }
}
