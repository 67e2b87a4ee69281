//! A session: the broker as a service sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::ErrorKind;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use runtime::{Entropy, RetryPolicy};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::connect::ConnectError;
use crate::link::{Link, RPC_TIMEOUT};
use crate::{BusConfig, Consume, Consumer, DeadLetters, Error, Listen, Listener, Publisher};

/// Confirms come in batches: one message in flight gave 343 per second on a quorum queue, 100 gave 10 800. More than 200
/// only waits longer. Source: docs/benchmarks.md, "Bus".
pub(crate) const WINDOW: usize = 200;
/// Full jitter between 0.2 and 10 s: a restarted broker is found again at once, and a hundred services do not storm it.
const RECONNECT: RetryPolicy =
    RetryPolicy { base: Duration::from_millis(400), cap: Duration::from_secs(10), attempts_max: None };
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(200);
/// Beyond two goodbyes of `RPC_TIMEOUT` nobody waits.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(12);

/// Where the session stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    /// No broker answered yet, or the connection was lost. Tried again for ever.
    Connecting { last_error: Option<String> },
    /// Connected; the number grows with each reconnect, from 1.
    Ready { number: u64 },
    /// A broker answered and does not want us: wrong password or vhost. Tried again too, since passwords get corrected.
    Refused { reason: String },
    /// `close` was called.
    Closed,
}

/// What a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueCounts {
    /// Ready, not yet given to a consumer.
    pub messages: u32,
    pub consumers: u32,
}

/// The connection to the bus. Cheap to clone; works from any runtime, and an arbiter that is busy does not harm it.
/// When the last of its clones, publishers and consumers is dropped, the connections are closed.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

/// What a session's parts know of it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: BusConfig,
    pub(crate) handle: Handle,
    pub(crate) link: watch::Sender<Option<Arc<Link>>>,
    /// One permit per message that the broker has not confirmed.
    pub(crate) window: Semaphore,
    state: watch::Sender<SessionState>,
    closing: watch::Sender<bool>,
}

/// Keeps the threads alive.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Option<(Runtime, JoinHandle<()>)>>,
}

impl Session {
    /// Starts connecting in the background.
    ///
    /// Errors: `NoBroker`, `InvalidBroker`, `Threads`. An unreachable or refusing broker is a state, not an error.
    pub fn start(config: BusConfig) -> Result<Self, Error> {
        config.check()?;
        // lapin's heartbeats are tasks: on an actor's thread that is busy for 25 s they would stop, and the broker hang up.
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("bus")
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        let shared = Arc::new(Shared {
            config,
            handle: runtime.handle().clone(),
            link: watch::Sender::new(None),
            window: Semaphore::new(WINDOW),
            state: watch::Sender::new(SessionState::Connecting { last_error: None }),
            closing: watch::Sender::new(false),
        });
        let supervisor = runtime.spawn(supervise(Arc::clone(&shared)));
        Ok(Self { inner: Arc::new(Inner { shared, threads: Mutex::new(Some((runtime, supervisor))) }) })
    }

    /// Tells where the session stands, now and from now on.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SessionState> {
        self.inner.shared.state.subscribe()
    }

    /// Waits until connected.
    ///
    /// Errors: `Refused` at once when a broker does not want us; `NotConnected` after `deadline`; `Closed`.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<(), Error> {
        let mut state = self.state();
        let settled = state.wait_for(|state| !matches!(state, SessionState::Connecting { .. }));
        let settled = match timeout(deadline, settled).await {
            Ok(Ok(settled)) => settled.clone(),
            Ok(Err(_)) => SessionState::Closed,
            Err(_) => self.inner.shared.state.borrow().clone(),
        };
        match settled {
            SessionState::Ready { .. } => Ok(()),
            SessionState::Refused { reason } => Err(Error::Refused { reason }),
            SessionState::Closed => Err(Error::Closed),
            SessionState::Connecting { .. } => {
                Err(Error::NotConnected { reason: self.inner.shared.why_not_connected() })
            }
        }
    }

    /// The user's name on the broker.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.inner.shared.config.user
    }

    /// A publisher that goes on over reconnects.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.inner))
    }

    /// A consumer that goes on over reconnects. A queue that is missing or forbidden is tried again for ever:
    /// see [`Consumer::problem`].
    #[must_use]
    pub fn consume(&self, consume: Consume) -> Consumer {
        Consumer::start(Arc::clone(&self.inner), consume)
    }

    /// Listens at a broker that is not ours, over reconnects.
    #[must_use]
    pub fn listen(&self, listen: Listen) -> Listener {
        Listener::start(Arc::clone(&self.inner), listen)
    }

    /// The dead letters. Only the controllers may read them.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(Arc::clone(&self.inner))
    }

    /// Counts what a queue holds and who consumes it; `None`: there is no such queue. Needs no right on the queue.
    ///
    /// Errors: `NotConnected`, `Inspect`.
    pub async fn inspect_queue(&self, name: &str) -> Result<Option<QueueCounts>, Error> {
        let shared = &self.inner.shared;
        let Some(link) = shared.current_link() else {
            return Err(Error::NotConnected { reason: shared.why_not_connected() });
        };
        let failed = |source| Error::Inspect { queue: name.to_owned(), source };
        // A channel of its own: the broker closes the channel on which one asks for a queue that is not there.
        let inspect = async {
            let channel = link.publishing.create_channel().await.map_err(failed)?;
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let Ok(short_name) = ShortString::try_new(name) else { return Ok(None) };
            match channel.queue_declare(short_name, passive, FieldTable::default()).await {
                Ok(queue) => {
                    let counts =
                        QueueCounts { messages: queue.message_count(), consumers: queue.consumer_count() };
                    Ok(Some(counts))
                }
                Err(error) if amqp_error_id(&error) == Some(404) => Ok(None),
                Err(error) => Err(failed(error)),
            }
        };
        timeout(RPC_TIMEOUT, inspect).await.unwrap_or_else(|_| {
            Err(Error::NotConnected { reason: format!("the broker did not answer in {RPC_TIMEOUT:?}") })
        })
    }

    /// Closes both connections; consumers end, publishers fail. What was not acked comes again.
    pub async fn close(&self) {
        self.inner.shared.closing.send_replace(true);
        let mut state = self.state();
        let closed = state.wait_for(|state| *state == SessionState::Closed);
        if timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::debug!("the session did not close in time");
        }
    }
}

/// The pauses between attempts at something that goes on over links; they grow until one lasted longer than the longest.
#[derive(Debug)]
pub(crate) struct Pauses {
    policy: RetryPolicy,
    failure_count: u32,
}

impl Pauses {
    /// Whatever they grow from, so that a link which breaks at once is not pressed.
    const MIN: Duration = Duration::from_millis(200);

    /// From `policy`, with nothing failed yet.
    pub(crate) const fn new(policy: RetryPolicy) -> Self {
        Self { policy, failure_count: 0 }
    }

    /// The pause after an attempt that lasted this long.
    pub(crate) fn after(&mut self, lasted: Duration) -> Duration {
        self.failure_count = if lasted > self.policy.cap { 1 } else { self.failure_count.saturating_add(1) };
        self.policy.delay(self.failure_count, Entropy.fraction()).max(Self::MIN)
    }
}

/// Waits for a link. Cancel safe: yes.
pub(crate) async fn next_link(shared: &Shared) -> Arc<Link> {
    let mut links = shared.link.subscribe();
    match links.wait_for(Option::is_some).await.map(|link| link.clone()) {
        Ok(Some(link)) => link,
        // The sender is in `shared`, and the condition held.
        _ => std::future::pending().await,
    }
}

impl Shared {
    pub(crate) fn current_link(&self) -> Option<Arc<Link>> {
        self.link.borrow().clone()
    }

    pub(crate) fn current_number(&self) -> Option<u64> {
        self.link.borrow().as_ref().map(|link| link.number)
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Returns when `close` was called. Cancel safe: yes.
    pub(crate) async fn closing(&self) {
        let mut closing = self.closing.subscribe();
        // An error would mean that the sender is gone; it is in `self`.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    pub(crate) fn why_not_connected(&self) -> String {
        match &*self.state.borrow() {
            SessionState::Connecting { last_error } => {
                last_error.clone().unwrap_or_else(|| "no broker has answered yet".to_owned())
            }
            SessionState::Ready { .. } => "the connection is being made anew".to_owned(),
            SessionState::Refused { reason } => reason.clone(),
            SessionState::Closed => "the session is closed".to_owned(),
        }
    }
}

impl Drop for Inner {
    /// Lets the supervisor say goodbye to the broker, on a thread of its own: this may run on a thread that must not block.
    fn drop(&mut self) {
        self.shared.closing.send_replace(true);
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some((runtime, supervisor)) = threads else { return };
        let shut_down = move || {
            let goodbye = async { timeout(CLOSE_TIMEOUT, supervisor).await };
            if runtime.block_on(goodbye).is_err() {
                tracing::debug!("the session did not close in time");
            }
            runtime.shutdown_background();
        };
        if let Err(error) = std::thread::Builder::new().name("bus-close".to_owned()).spawn(shut_down) {
            tracing::debug!(%error, "failed to start a thread for the close");
        }
    }
}

/// The number of an AMQP error: 403 refused, 404 not found, 406 not as agreed.
pub(crate) fn amqp_error_id(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// Connects, keeps, and connects again, until the close. Tells by the state, which the service logs.
async fn supervise(shared: Arc<Shared>) {
    let mut number = 0;
    let mut failure_count = 0;
    while !shared.is_closing() {
        let opened = tokio::select! {
            biased; // both branches may be dropped at any point
            () = shared.closing() => break,
            opened = Link::open(&shared.config, number + 1) => opened,
        };
        match opened {
            Ok(link) => {
                number += 1;
                failure_count = 0;
                let reason = keep(&shared, Arc::new(link)).await;
                tracing::debug!(reason, number, "the session with the broker ended");
                shared.state.send_replace(SessionState::Connecting { last_error: Some(reason) });
            }
            Err(ConnectError::Refused { reason }) => {
                tracing::debug!(reason, "the broker refuses us");
                shared.state.send_replace(SessionState::Refused { reason });
            }
            Err(ConnectError::Failed { reason }) => {
                tracing::debug!(reason, "not connected to a broker, will retry");
                shared.state.send_replace(SessionState::Connecting { last_error: Some(reason) });
            }
        }
        failure_count += 1;
        let pause = RECONNECT.delay(failure_count, Entropy.fraction()).max(RECONNECT_PAUSE_MIN);
        tokio::select! {
            biased; // both branches may be dropped at any point
            () = shared.closing() => break,
            () = sleep(pause) => {}
        }
    }
    shared.state.send_replace(SessionState::Closed);
}

/// Lends the link to publishers and consumers until it breaks or the session closes.
async fn keep(shared: &Arc<Shared>, link: Arc<Link>) -> String {
    tracing::debug!(number = link.number, user = shared.config.user, "connected to the broker");
    shared.link.send_replace(Some(Arc::clone(&link)));
    shared.state.send_replace(SessionState::Ready { number: link.number });
    let reason = tokio::select! {
        biased; // both branches may be dropped at any point
        () = shared.closing() => "the session is closed".to_owned(),
        reason = link.keep() => reason,
    };
    shared.link.send_replace(None);
    link.close().await;
    reason
}
