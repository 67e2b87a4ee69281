//! The saga engine: everything that is not pure. It loads a saga, asks the pure machine what follows from an event, and
//! writes event, state, jobs, timers and outgoing messages in one transaction; safety is the compare-and-swap on the
//! saga row's version, so any controller may handle any event.
//!
//! It knows no bus: the outbox relay publishes what it wrote. Called by the app, by the intake, and by the actors that
//! bring replies, timers and lapsed leases.
//!
//! How app code starts a saga, in its own transaction, so that the request and its saga exist together or not at all:
//! ```text
//! let saga_id = state.engine.new_saga_id();
//! // insert the snapshot row (creating, with saga_id), lock the workload with saga_id ...
//! state.engine.start::<SnapshotCreate>(&mut tx, saga_id, &order).await?;
//! tx.commit().await?;
//! state.engine.wake();                       // publish at once rather than at the next tick
//! ```

mod error;
mod event;
mod object;

mod run;

mod catalog_ops;
mod dispatch;
mod fact;
mod progress;
mod whole;

mod replies;

use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, JobDirection, SagaRow, TimerKind, Tx};
use model::{SagaId, UserId};
use runtime::{Entropy, RetryPolicy};
use saga::{Direction, Ignored, OperatorVerb, Phase, SagaState, Shape};
use service_kit::drill;
use tokio::sync::Notify;

pub(crate) use catalog_ops::refused_releases;
pub use error::Error;
pub(crate) use event::kind as event_kind;
pub use event::{At, Decision, Incoming};
pub use fact::{Became, News};
pub use object::{Object, Ordered};
pub use replies::{Accepted, Beat, JobResult, Outcome, Verdict, Worker};

/// Which bases are needless.
pub use crate::sagas::base_release::{BaseRelease, NeedlessBase, Params as BaseReleaseOrder};
/// Which workload is reset or deleted; it is locked by the same saga.
pub use crate::sagas::clearing::Params as ClearingOrder;
/// What was found on hosts.
pub use crate::sagas::leftover_sweep::hosts::{Facts as HostReport, HostLeftover};
/// Where leftovers are looked for, and what was found.
pub use crate::sagas::leftover_sweep::{Facts as LeftoverReport, LeftoverSweep, Params as LeftoverOrder};
/// What is to be brought back; the restore row (`restoring`) exists.
pub use crate::sagas::restore_new::{Params as RestoreOrder, RestoreInstance, RestoreNew};
/// What a snapshot is to be made of; the snapshot row (`creating`) exists, and the workload is locked by the same saga.
pub use crate::sagas::snapshot_create::{Params as SnapshotOrder, SnapshotCreate};
pub use crate::sagas::workload_delete::WorkloadDelete;
pub use crate::sagas::workload_reset::WorkloadReset;

use run::{Definitions, Run};

/// The code of a saga that a user stopped.
pub(crate) const CANCELLED: &str = "CANCELLED";
/// The code of a saga that turned back because it took too long.
const SAGA_DEADLINE_PASSED: &str = "SAGA_DEADLINE_PASSED";

/// For steps whose definition has no deadline: those are done by the catalog, at once.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(600);

/// How often an event is tried when other controllers are faster.
const CONFLICTS_MAX: u32 = 50;

/// Drives all sagas. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    core: Arc<Core>,
}

/// What the engine works with.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) catalog: Catalog,
    definitions: Definitions,
    entropy: Entropy,
    retry: RetryPolicy,
    timing: Timing,
    wake: Notify,
}

/// What an operator sets.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub retry_base: Duration,
    pub retry_cap: Duration,
    pub lease_ttl: Duration,
    /// Caps the deadlines of steps.
    pub step_deadline_max: Duration,
    /// Caps the deadlines of sagas.
    pub saga_deadline_max: Duration,
    /// Between tries of a stuck saga: first this long, then twice as long, up to `stuck_retry_cap`.
    pub stuck_retry_base: Duration,
    pub stuck_retry_cap: Duration,
}

/// Runs `$work` in a transaction of its own and commits; again from its start when another controller was faster.
/// `$work` must return from nowhere but its end.
macro_rules! in_transaction {
    ($core:expr, |$tx:ident| $work:expr) => {{
        let mut conflicts = 0;
        loop {
            let mut transaction = $core.catalog.begin().await?;
            let $tx = &mut transaction;
            let outcome: Result<_, $crate::engine::Error> = $work.await;
            let outcome = match outcome {
                Ok(value) => $crate::engine::commit(transaction).await.map(|()| value),
                Err(error) => {
                    transaction.rollback().await;
                    Err(error)
                }
            };
            match outcome {
                Err(error) if error.is_conflict() && conflicts < $crate::engine::CONFLICTS_MAX => {
                    conflicts += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(2) * conflicts).await;
                }
                other => break other,
            }
        }
    }};
}
use in_transaction;

impl Engine {
    /// An engine with all definitions of this program.
    ///
    /// Panics: when a definition is no saga; a test makes one.
    #[must_use]
    pub fn new(catalog: Catalog, timing: Timing) -> Self {
        let definitions = Definitions::new()
            .with::<SnapshotCreate>()
            .and_then(saga::Registry::with::<RestoreNew>)
            .and_then(saga::Registry::with::<WorkloadReset>)
            .and_then(saga::Registry::with::<WorkloadDelete>)
            .and_then(saga::Registry::with::<BaseRelease>)
            .and_then(saga::Registry::with::<LeftoverSweep>)
            .expect("the definitions are checked by tests");
        let retry = RetryPolicy { base: timing.retry_base, cap: timing.retry_cap, attempts_max: None };
        let core = Core { catalog, definitions, entropy: Entropy, retry, timing, wake: Notify::new() };
        Self { core: Arc::new(core) }
    }

    /// Draws the id of a saga to come.
    #[must_use]
    pub fn new_saga_id(&self) -> SagaId {
        SagaId::from_uuid(self.core.entropy.uuid())
    }

    /// The shape of a definition, for people: which steps there are.
    #[must_use]
    pub fn shape(&self, kind: &str, version: u32) -> Option<&Shape> {
        self.core.definitions.get(kind, version).map(saga::ErasedSaga::shape)
    }

    /// The shapes of all definitions.
    pub fn shapes(&self) -> impl Iterator<Item = &Shape> {
        self.core.definitions.iter().map(saga::ErasedSaga::shape)
    }

    /// Starts a saga within the caller's transaction. Call `wake` after the commit.
    ///
    /// Errors: the catalog's; roll back then.
    pub async fn start<S: Ordered>(
        &self,
        tx: &mut Tx,
        saga_id: SagaId,
        order: &S::Params,
    ) -> Result<(), Error> {
        let object = S::object(saga_id, order);
        let unreadable = |reason: String| Error::Unreadable { saga_id, reason };
        let encode = |error: serde_json::Error| unreadable(error.to_string());
        let state = SagaState::new();
        let row = SagaRow {
            id: saga_id,
            kind: S::KIND.to_owned(),
            definition_version: S::VERSION,
            object_id: object.object_id,
            workload_id: object.workload_id,
            project_id: object.project_id,
            params: serde_json::to_string(order).map_err(encode)?,
            facts: serde_json::to_string(&S::Facts::default()).map_err(encode)?,
            state: serde_json::to_string(&state).map_err(encode)?,
            phase: state.phase().as_str().to_owned(),
            version: 0,
            error_code: None,
            error_message: None,
            created_at: tx.now(),
            updated_at: tx.now(),
            finished_at: None,
        };
        tx.insert_saga(&row).await?;
        let deadline = S::DEADLINE.min(self.core.timing.saga_deadline_max);
        tx.upsert_timer(&whole::timer(saga_id, TimerKind::SagaDeadline, tx.now().after(deadline))).await?;
        tracing::info!(%saga_id, kind = S::KIND, object_id = %row.object_id, "a saga starts");
        self.announce(tx, &fact::news_of(&row, Became::Saga(saga_id, state.phase()))).await?;
        // A new saga takes its start: nothing came before.
        let _ = Run::resume(&self.core, tx, row, 0)?.apply(Incoming::Started).await?;
        Ok(())
    }

    /// Tells subscribers of a change, within the transaction that makes it. Call `wake` after the commit.
    ///
    /// Errors: the catalog's; roll back then.
    pub async fn announce(&self, tx: &mut Tx, news: &News<'_>) -> Result<(), catalog::Error> {
        fact::insert(tx, self.core.entropy, news).await
    }

    /// Asks a saga to stop and take back what it did. Own transaction. Cancelling twice is as cancelling once.
    ///
    /// Errors: `CancelTooLate` after the pivot or the end.
    pub async fn request_cancel(&self, saga_id: SagaId, by: &UserId) -> Result<(), Error> {
        match self.handle(saga_id, Incoming::CancelRequested { by: by.clone() }).await? {
            Ok(_) | Err(Ignored::TurnedBack) => Ok(()),
            Err(_) => Err(Error::CancelTooLate(saga_id)),
        }
    }

    /// Settles a stuck saga by an operator's decision. Own transaction. Abandoning twice is as abandoning once.
    ///
    /// Errors: `NotStuck`.
    pub async fn operate(&self, saga_id: SagaId, decision: Decision) -> Result<(), Error> {
        let verb = decision.verb;
        if self.handle(saga_id, Incoming::Operator(decision)).await?.is_ok() {
            return Ok(());
        }
        let row = self.core.catalog.read().await?.get_saga(saga_id).await?;
        let phase = row.ok_or(Error::NoSuchSaga(saga_id))?.phase;
        if verb == OperatorVerb::Abandon && phase == Phase::Abandoned.as_str() {
            return Ok(());
        }
        Err(Error::NotStuck { saga_id, phase })
    }

    /// Takes one event of a saga in a transaction of its own, and wakes the relay. `Err(Ignored)`: it means nothing (any
    /// more), which is no failure.
    pub async fn handle(&self, saga_id: SagaId, incoming: Incoming) -> Result<Result<Phase, Ignored>, Error> {
        let outcome = in_transaction!(self.core, |tx| self.apply(tx, saga_id, incoming.clone()))?;
        self.wake();
        Ok(outcome)
    }

    /// Tells the relay that a commit left something to publish. Harmless at any time.
    pub fn wake(&self) {
        self.core.wake.notify_one();
    }

    /// Resolves after a `wake`, also one from before.
    pub async fn woken(&self) {
        self.core.wake.notified().await;
    }

    /// Takes one event within the caller's transaction.
    async fn apply(
        &self,
        tx: &mut Tx,
        saga_id: SagaId,
        incoming: Incoming,
    ) -> Result<Result<Phase, Ignored>, Error> {
        Run::load(&self.core, tx, saga_id).await?.apply(incoming).await
    }
}

async fn commit(transaction: Tx) -> Result<(), Error> {
    drill::maybe_kill(drill::BEFORE_COMMIT);
    transaction.commit().await?;
    drill::maybe_kill(drill::AFTER_COMMIT);
    Ok(())
}

const fn job_direction(direction: Direction) -> JobDirection {
    match direction {
        Direction::Action => JobDirection::Action,
        Direction::Undo => JobDirection::Undo,
    }
}

const fn direction_of(direction: JobDirection) -> Direction {
    match direction {
        JobDirection::Action => Direction::Action,
        JobDirection::Undo => Direction::Undo,
    }
}
