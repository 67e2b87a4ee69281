//! The requests that wait for an answer, and the end of the connection: the only state that callers and the connection
//! share.
//!
//! The connection ends once, for one reason. From then on every call, waiting or new, gets that reason: the senders of
//! pending calls are dropped, and whoever waits for one then reads the reason, which was set before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use crate::Error;
use crate::answer::{Answer, Content};

/// One request that was sent, or is about to be.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) answer: Answer,
    pub(crate) caller: oneshot::Sender<Result<Content, Error>>,
    /// Held until the answer is complete, even if the caller is gone: it is the server that is busy.
    pub(crate) slot: OwnedSemaphorePermit,
    pub(crate) since: Instant,
}

#[derive(Debug)]
struct State {
    /// By cookie. `None`: the connection has ended.
    pending: Option<BTreeMap<u64, Pending>>,
    cookie_next: u64,
    /// A disconnect was sent: the end of the stream is what we want.
    closing: bool,
}

/// What callers and the connection share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) slots: Arc<Semaphore>,
    ended: watch::Sender<Option<Error>>,
}

impl Shared {
    pub(crate) fn new(slot_count: usize) -> Self {
        let state = State { pending: Some(BTreeMap::new()), cookie_next: 1, closing: false };
        Self {
            state: Mutex::new(state),
            slots: Arc::new(Semaphore::new(slot_count)),
            ended: watch::Sender::new(None),
        }
    }

    /// Enters a request under a fresh cookie, which `make` gets.
    pub(crate) fn register(&self, make: impl FnOnce(u64) -> Pending) -> Result<(), Error> {
        let mut state = self.lock();
        let cookie = state.cookie_next;
        let Some(pending) = &mut state.pending else {
            drop(state);
            return Err(self.end_reason());
        };
        pending.insert(cookie, make(cookie));
        state.cookie_next += 1;
        Ok(())
    }

    /// Takes a request out to complete its answer.
    pub(crate) fn take(&self, cookie: u64) -> Option<Pending> {
        self.lock().pending.as_mut()?.remove(&cookie)
    }

    /// Puts back a request whose answer is not complete.
    pub(crate) fn put_back(&self, request: Pending) {
        if let Some(pending) = &mut self.lock().pending {
            pending.insert(request.answer.cookie(), request);
        }
    }

    /// Whether the server has owed an answer for `limit`.
    pub(crate) fn has_overdue(&self, limit: Duration) -> bool {
        let now = Instant::now();
        let overdue = |request: &Pending| now.duration_since(request.since) >= limit;
        self.lock().pending.as_ref().is_some_and(|pending| pending.values().any(overdue))
    }

    pub(crate) fn set_closing(&self) {
        self.lock().closing = true;
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    /// Ends the connection for `reason`; only the first reason counts.
    pub(crate) fn end(&self, reason: Error) {
        let mut state = self.lock();
        let Some(orphans) = state.pending.take() else { return };
        self.ended.send_replace(Some(reason));
        drop(state);
        self.slots.close();
        drop(orphans); // after the reason is set: their callers wake up and read it
    }

    /// Waits for the end, and says why. Cancel safe: yes.
    pub(crate) async fn wait_for_end(&self) -> Error {
        let mut ended = self.ended.subscribe();
        let reason = ended.wait_for(Option::is_some).await;
        reason.ok().and_then(|reason| reason.clone()).unwrap_or(Error::Closed)
    }

    /// Why it ended; `Closed` while it has not: a call came after `close`.
    pub(crate) fn end_reason(&self) -> Error {
        self.ended.borrow().clone().unwrap_or(Error::Closed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
