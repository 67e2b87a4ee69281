//! The life of a service: an actix system on a multi-thread runtime, until a signal drains it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::{Exit, Health, Watchdog, telemetry};

/// A drain that takes longer ends anyway: everything resumes from what is durable. systemd kills after 90 s.
const DRAIN_TIMEOUT_MAX: Duration = Duration::from_secs(20);

/// A service that cannot start, or must not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct StartError {
    pub exit: Exit,
    pub reason: String,
}

impl StartError {
    /// Something failed.
    #[must_use]
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, reason: reason.into() }
    }
    /// The config makes no sense together with what is there.
    #[must_use]
    pub fn usage(reason: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, reason: reason.into() }
    }
    /// A needed service refused us.
    #[must_use]
    pub fn refused(reason: impl Into<String>) -> Self {
        Self { exit: Exit::Refused, reason: reason.into() }
    }
}

/// Whether the service is to take no more work. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Drain(watch::Receiver<bool>);

impl Drain {
    /// Resolves when the drain begins. Cancel safe: yes.
    pub async fn begun(&mut self) {
        if self.0.wait_for(|draining| *draining).await.is_err() {
            // The service is gone, and with it all work.
        }
    }

    /// Whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }
}

/// What a service's parts share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Service {
    name: &'static str,
    watchdog: Watchdog,
    health: Health,
    drain: Drain,
    end: watch::Sender<Option<StartError>>,
    hooks: Hooks,
}

#[derive(Clone, Default)]
struct Hooks(Arc<Mutex<Vec<Hook>>>);

/// What is awaited in a drain, and its name for the log.
type Hook = (String, BoxFuture<'static, ()>);

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks")
    }
}

impl Service {
    /// The service's name, for example `holdfast-datamover`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
    /// The watchdog over its actors.
    #[must_use]
    pub const fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }
    /// What it says of itself.
    #[must_use]
    pub const fn health(&self) -> &Health {
        &self.health
    }
    /// Whether it drains.
    #[must_use]
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }
    /// Runs `work` as `Watchdog::supervise` does.
    pub fn supervise<F>(&self, actor: impl Into<String>, work: F) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.watchdog.supervise(actor, work)
    }
    /// Adds work to be awaited in a drain. The last added is awaited first: what was started last stops first.
    pub fn on_drain(&self, what: impl Into<String>, work: impl Future<Output = ()> + Send + 'static) {
        self.hooks.0.lock().unwrap_or_else(PoisonError::into_inner).push((what.into(), work.boxed()));
    }
    /// Ends the process with an error that a running service cannot outlive, such as a refused password.
    pub fn fail(&self, error: StartError) {
        self.end.send_replace(Some(error));
    }
}

/// Runs a service: telemetry, system, `start`, then until SIGTERM or SIGINT, then the drain.
///
/// `start` wires the actors and returns; it runs within the actix system (so `Actor::start` works) and within the
/// multi-thread runtime (so `tokio::spawn` does not land on the arbiter).
pub fn run<F, R>(service: &'static str, start: F) -> Exit
where
    F: FnOnce(Service) -> R,
    R: Future<Output = Result<(), StartError>>,
{
    telemetry::init(service);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "failed to make the runtime");
            return Exit::Failed;
        }
    };
    let system = actix::System::with_tokio_rt(|| runtime);
    let exit = system.block_on(live(service, start));
    // Dropping a runtime waits for its blocking calls, and one on a hanging target never ends. The process ends now.
    std::mem::forget(system);
    tracing::info!(service, code = exit.code(), "ends");
    exit
}

async fn live<F, R>(name: &'static str, start: F) -> Exit
where
    F: FnOnce(Service) -> R,
    R: Future<Output = Result<(), StartError>>,
{
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "failed to listen to signals");
                return Exit::Failed;
            }
        };
    let watchdog = Watchdog::start();
    let (drain_tx, drain_rx) = watch::channel(false);
    let (end_tx, mut end_rx) = watch::channel(None);
    let service = Service {
        name,
        health: Health::new(name, watchdog.clone()),
        watchdog,
        drain: Drain(drain_rx),
        end: end_tx,
        hooks: Hooks::default(),
    };
    let started = tokio::select! {
        biased; // a signal during the start ends it; dropping `start` is safe: nothing was acked yet
        _ = terminate.recv() => return Exit::Done,
        _ = interrupt.recv() => return Exit::Done,
        started = start(service.clone()) => started,
    };
    if let Err(error) = started {
        service.watchdog.begin_drain();
        return report(&error);
    }
    tracing::info!(service = name, version = env!("CARGO_PKG_VERSION"), "runs");
    tokio::select! {
        biased; // all branches are cancel safe
        ended = end_rx.wait_for(Option::is_some) => {
            service.watchdog.begin_drain();
            if let Ok(Some(error)) = ended.as_deref() {
                return report(error);
            }
            return Exit::Failed;
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(service = name, "drains");
    service.watchdog.begin_drain();
    service.health.set_draining();
    drain_tx.send_replace(true);
    drain(&service.hooks).await;
    Exit::Done
}

async fn drain(hooks: &Hooks) {
    let mut work = std::mem::take(&mut *hooks.0.lock().unwrap_or_else(PoisonError::into_inner));
    let all = async {
        while let Some((what, hook)) = work.pop() {
            tracing::debug!(what, "drains");
            hook.await;
        }
    };
    if tokio::time::timeout(DRAIN_TIMEOUT_MAX, all).await.is_err() {
        tracing::warn!("the drain took too long and is cut short; the rest resumes at the next start");
    }
}

fn report(error: &StartError) -> Exit {
    tracing::error!(reason = %error.reason, code = error.exit.code(), "the service cannot run");
    error.exit
}
