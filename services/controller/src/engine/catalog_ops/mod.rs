//! Carries out the steps that the catalog does, within the transaction of the event that led to them.
//!
//! A refusal is an answer to the saga; trouble with the database is not: it takes back the whole transaction, and the
//! event comes again.

mod host_leftovers;
mod leaving;
mod leftovers;
mod restore;
mod snapshot;

pub(crate) use leaving::refused_releases;

use catalog::{SagaRow, Tx};
use model::{
    Failure, RestoreEvent, RestoreId, SnapshotEvent, SnapshotId, SnapshotState, VolumeFact, VolumeId,
};
use runtime::Entropy;

use super::fact::{self, Became, News};
use crate::sagas::catalog_op::{CatalogAnswer, CatalogOp};

/// Why an operation did not happen.
#[derive(Debug)]
pub(super) enum OpError {
    /// The saga is told.
    Refused(Failure),
    /// The transaction is lost.
    Catalog(catalog::Error),
}

impl From<Failure> for OpError {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure)
    }
}

impl From<catalog::Error> for OpError {
    fn from(error: catalog::Error) -> Self {
        use catalog::Error as E;
        match error {
            E::Held { .. }
            | E::Pinned { .. }
            | E::Fenced { .. }
            | E::NotFound { .. }
            | E::IllegalTransition(_)
            | E::InstanceTaken { .. } => Self::Refused(error.failure()),
            other => Self::Catalog(other),
        }
    }
}

type OpResult = Result<CatalogAnswer, OpError>;

/// What every operation works with.
pub(super) struct OpCtx<'a> {
    pub(super) tx: &'a mut Tx,
    pub(super) saga: &'a SagaRow,
    pub(super) entropy: Entropy,
}

/// Does `op`. What a refused operation wrote is taken back.
///
/// Errors: the transaction is lost.
pub(super) async fn run(
    ctx: &mut OpCtx<'_>,
    op: &CatalogOp,
) -> Result<Result<CatalogAnswer, Failure>, catalog::Error> {
    ctx.tx.savepoint().await?;
    match dispatch(ctx, op).await {
        Ok(answer) => {
            ctx.tx.release_savepoint().await?;
            Ok(Ok(answer))
        }
        Err(OpError::Refused(failure)) => {
            ctx.tx.rollback_to_savepoint().await?;
            ctx.tx.release_savepoint().await?;
            Ok(Err(failure))
        }
        Err(OpError::Catalog(error)) => Err(error),
    }
}

async fn dispatch(ctx: &mut OpCtx<'_>, op: &CatalogOp) -> OpResult {
    match op {
        CatalogOp::BeginSnapshot(params) => snapshot::begin(ctx, params).await,
        CatalogOp::EndSnapshot { params, failures } => snapshot::end(ctx, params, failures).await,
        CatalogOp::AcquireLineages { params, instances } => snapshot::acquire(ctx, params, instances).await,
        CatalogOp::AcquireLineagesAgain { params, instances } => {
            snapshot::acquire_again(ctx, params, instances).await
        }
        CatalogOp::ReleaseLineages(params) => snapshot::release_lineages(ctx, params).await,
        CatalogOp::CheckInstance { params, before, after, when_changed } => {
            let change = snapshot::change_of_disks(before, after);
            snapshot::check_instance(ctx, params, &before.name, change, *when_changed).await
        }
        CatalogOp::RecordSnapshot { params, record } => snapshot::record(ctx, params, record).await,
        CatalogOp::ForgetOrphanedBases { params, disks } => leaving::forget_orphans(ctx, params, disks).await,
        CatalogOp::ReleaseSnapshot { params, stays } => snapshot::release(ctx, params, stays).await,
        CatalogOp::PinSnapshot(params) => restore::pin(ctx, params).await,
        CatalogOp::EndRestore { params, is_pinned } => restore::end(ctx, params, *is_pinned).await,
        CatalogOp::RecordRestore { params, record } => restore::record(ctx, params, record).await,
        CatalogOp::ReleaseRestore(params) => restore::release(ctx, params).await,
        CatalogOp::BeginClearing(params) => leaving::begin(ctx, params).await,
        CatalogOp::EndClearing(params) => leaving::end(ctx, params).await,
        CatalogOp::RecordReset(params) => leaving::record_reset(ctx, params).await,
        CatalogOp::RecordDelete(params) => leaving::record_delete(ctx, params).await,
        CatalogOp::LeaseBases(params) => leaving::lease_bases(ctx, params).await,
        CatalogOp::JudgeLeftovers { age_min_seconds, is_by_itself, found } => {
            leftovers::judge(ctx, *age_min_seconds, *is_by_itself, found).await
        }
        CatalogOp::JudgeHostLeftovers { age_min_seconds, is_by_itself, found } => {
            host_leftovers::judge(ctx, *age_min_seconds, *is_by_itself, found).await
        }
        CatalogOp::TellRemoved(removed) => {
            for what in removed {
                tracing::info!(saga_id = %ctx.saga.id, what, "a leftover was removed");
            }
            Ok(CatalogAnswer::Done)
        }
        CatalogOp::ReleaseBaseLeases(params) => leaving::release_base_leases(ctx, params).await,
        CatalogOp::RecordBaseRelease { params, gone } => leaving::record_release(ctx, params, gone).await,
    }
}

impl OpCtx<'_> {
    /// Tells subscribers, in the same transaction.
    async fn announce(&mut self, became: Became) -> Result<(), catalog::Error> {
        fact::insert(self.tx, self.entropy, &fact::news_of(self.saga, became)).await
    }

    /// Tells what became of a user's volume, with code and message.
    async fn announce_volume(
        &mut self,
        id: VolumeId,
        what: VolumeFact,
        reason: (&str, &str),
    ) -> Result<(), catalog::Error> {
        let news = fact::news_of(self.saga, Became::Volume(id, what));
        fact::insert(self.tx, self.entropy, &News { reason: Some(reason), ..news }).await
    }

    /// Moves a snapshot, and tells of it when it has another status by that: a second restore pins what is pinned.
    async fn move_snapshot(
        &mut self,
        id: SnapshotId,
        event: SnapshotEvent,
    ) -> Result<SnapshotState, catalog::Error> {
        let before = self.tx.get_snapshot(id).await?.map(|row| row.status);
        let status = self.tx.apply_snapshot_event(id, event).await?;
        if before != Some(status) {
            self.announce(Became::Snapshot(id, status)).await?;
        }
        Ok(status)
    }

    /// Moves a restore, and tells of it.
    async fn move_restore(&mut self, id: RestoreId, event: RestoreEvent) -> Result<(), catalog::Error> {
        let status = self.tx.apply_restore_event(id, event).await?;
        self.announce(Became::Restore(id, status)).await
    }

    /// Whether the saga turned back because a user asked for it.
    fn is_cancelled(&self) -> bool {
        self.saga.error_code.as_deref() == Some(super::CANCELLED)
    }
}

fn not_found(noun: &'static str, id: impl ToString) -> OpError {
    OpError::from(catalog::Error::NotFound { noun, id: id.to_string() })
}
