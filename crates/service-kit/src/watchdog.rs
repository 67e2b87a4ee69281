//! Watches the actors of a process. actix does not supervise panics: the actor is gone and nobody is told. So risky
//! work runs as a supervised task, actors are pinged from a thread of their own, and when one is dead the process ends
//! with code 70 and a line that names it; systemd starts it anew and everything resumes from what is durable.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, MailboxError, Message};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::Exit;

/// How often actors are pinged.
const PING_INTERVAL: Duration = Duration::from_millis(500);
/// An actor that does not answer for so many of these blocks its arbiter: as good as dead. They are counted, not measured as
/// one: a process that was stopped for a while, with its host or by a signal, has passed one of them and no more.
const PONG_SLICE: Duration = Duration::from_secs(1);
const PONG_SLICE_COUNT_MAX: u32 = 15;

/// "Are you there?" Every watched actor answers it with `()`.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Ping;

/// Ends the process when an actor is dead. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Watchdog {
    shared: Arc<Shared>,
}

struct Shared {
    alive: Mutex<BTreeMap<String, bool>>,
    watched: Mutex<Vec<(String, PingFn)>>,
    draining: AtomicBool,
    on_death: Box<dyn Fn(&str) + Send + Sync>,
}

type PingFn = Arc<dyn Fn() -> BoxFuture<'static, Result<(), MailboxError>> + Send + Sync>;

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watchdog").field("alive", &self.alive).finish_non_exhaustive()
    }
}

impl Watchdog {
    /// A watchdog that ends the process with code 70. Starts its thread.
    #[must_use]
    pub fn start() -> Self {
        Self::with_reaction(|_| std::process::exit(i32::from(Exit::ActorDied.code())))
    }

    /// A watchdog that calls `on_death` with the actor's name; for tests.
    #[must_use]
    pub fn with_reaction(on_death: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            alive: Mutex::default(),
            watched: Mutex::default(),
            draining: AtomicBool::new(false),
            on_death: Box::new(on_death),
        });
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || ping_forever(&weak))
            .expect("a process that cannot start a thread cannot run a service");
        Self { shared }
    }

    /// Runs `work` as a task of the multi-thread runtime. Its panic, or its end outside a drain, is the actor's death.
    ///
    /// Panics: outside a tokio runtime.
    pub fn supervise<F>(&self, actor: impl Into<String>, work: F) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let actor = actor.into();
        self.set_alive(&actor, true);
        let watchdog = self.clone();
        let task = tokio::spawn(work);
        tokio::spawn(async move {
            match task.await {
                Err(error) if error.is_panic() => watchdog.died(&actor, "it panicked"),
                Ok(()) if !watchdog.is_draining() => watchdog.died(&actor, "its work ended"),
                Ok(()) | Err(_) => watchdog.set_alive(&actor, false),
            }
        })
    }

    /// Watches an OS thread: its panic, or its end outside a drain, is the actor's death.
    ///
    /// Errors: the operating system refuses the thread.
    pub fn supervise_thread(
        &self,
        actor: impl Into<String>,
        work: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        let actor = actor.into();
        self.set_alive(&actor, true);
        let watchdog = self.clone();
        std::thread::Builder::new().name(actor.clone()).spawn(move || {
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
                Err(_) => watchdog.died(&actor, "it panicked"),
                Ok(()) if !watchdog.is_draining() => watchdog.died(&actor, "its work ended"),
                Ok(()) => watchdog.set_alive(&actor, false),
            }
        })
    }

    /// Pings an actix actor from now on; one that is gone or silent is dead.
    pub fn watch<A>(&self, actor: impl Into<String>, address: &Addr<A>)
    where
        A: Actor + Handler<Ping>,
        A::Context: ToEnvelope<A, Ping>,
    {
        let actor = actor.into();
        self.set_alive(&actor, true);
        let address = address.clone();
        let ping: PingFn = Arc::new(move || address.send(Ping).boxed());
        self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner).push((actor, ping));
    }

    /// The actors that were ever supervised or watched, and whether each is alive.
    #[must_use]
    pub fn actors(&self) -> BTreeMap<String, bool> {
        self.shared.alive.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on actors may end. Their panics are deaths still.
    pub fn begin_drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
    }

    fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::SeqCst)
    }

    fn set_alive(&self, actor: &str, alive: bool) {
        let mut actors = self.shared.alive.lock().unwrap_or_else(PoisonError::into_inner);
        actors.insert(actor.to_owned(), alive);
    }

    fn died(&self, actor: &str, reason: &str) {
        self.set_alive(actor, false);
        tracing::error!(
            actor,
            reason,
            "an actor died, the process ends and resumes when it is started again"
        );
        (self.shared.on_death)(actor);
    }
}

/// The loop of the watchdog's thread. Ends when the watchdog is dropped.
fn ping_forever(shared: &std::sync::Weak<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a process that cannot make a runtime cannot run a service");
    runtime.block_on(async {
        loop {
            tokio::time::sleep(PING_INTERVAL).await;
            let Some(shared) = shared.upgrade() else { return };
            let watchdog = Watchdog { shared };
            if watchdog.is_draining() {
                return;
            }
            let watched = watchdog.shared.watched.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let pings = watched.into_iter().map(|(actor, ping)| async move {
                let reason = match wait_in_slices(ping(), PONG_SLICE, PONG_SLICE_COUNT_MAX).await {
                    Some(Ok(())) => return None,
                    Some(Err(MailboxError::Closed)) => "it is gone: it panicked or stopped",
                    Some(Err(MailboxError::Timeout)) | None => "it does not answer",
                };
                Some((actor, reason))
            });
            for (actor, reason) in futures::future::join_all(pings).await.into_iter().flatten() {
                if !watchdog.is_draining() {
                    watchdog.died(&actor, reason);
                }
            }
        }
    });
}

/// Waits for `work`; `None`: so many slices passed.
async fn wait_in_slices<T>(work: impl Future<Output = T>, slice: Duration, count: u32) -> Option<T> {
    let mut work = std::pin::pin!(work);
    for _ in 0..count {
        if let Ok(done) = tokio::time::timeout(slice, &mut work).await {
            return Some(done);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: Duration = Duration::from_millis(20);
    const COUNT: u32 = 10;

    fn run(work: impl Future<Output = ()>) -> Option<()> {
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        clock.unwrap().block_on(wait_in_slices(work, SLICE, COUNT))
    }

    #[test]
    fn who_does_not_answer_is_given_up() {
        assert_eq!(run(std::future::pending()), None);
    }

    #[test]
    fn a_process_that_was_stopped_gives_its_actors_time_to_answer() {
        let answered_after_a_stop = async {
            tokio::task::yield_now().await;
            // As SIGSTOP does: no time is left of all the slices together, if they were measured as one.
            tokio::time::advance(SLICE * COUNT * 2).await;
            tokio::time::sleep(SLICE * 2).await;
        };
        assert_eq!(run(answered_after_a_stop), Some(()));
    }
}
