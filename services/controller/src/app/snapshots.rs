//! Snapshots: taking, listing, showing, cancelling.

use catalog::{
    SnapshotDiskRow, SnapshotFilter, SnapshotInstanceRow, SnapshotRow, Tx, WorkloadInstanceRow, WorkloadRow,
};
use model::{
    ByteCount, InstanceId, SagaId, SnapshotId, SnapshotKind, SnapshotState, WorkloadId, WorkloadState,
};

use super::retrying::retrying;
use super::text::{check_description, check_name};
use super::{Caller, Error, IntakeKey, Started, trusts, workloads};
use crate::engine::{Became, News, SnapshotCreate, SnapshotOrder};
use crate::state::AppState;

/// Said when an incremental snapshot was asked for and cannot be.
const BECAME_FULL: &str = "there is no earlier snapshot to build on: this one is full";

/// Said when an incremental snapshot was asked for after a reset.
const FULL_AFTER_RESET: &str = "the workload was reset: this snapshot is full";

/// What to take.
#[derive(Debug, Clone)]
pub struct Request {
    pub workload_id: WorkloadId,
    pub kind: SnapshotKind,
    pub name: Option<String>,
    pub description: Option<String>,
}

/// A snapshot with what belongs to it.
#[derive(Debug, Clone)]
pub struct Parts {
    pub row: SnapshotRow,
    /// Those of the workload while the snapshot has none of its own yet.
    pub expected: Vec<WorkloadInstanceRow>,
    pub instances: Vec<SnapshotInstanceRow>,
    pub disks: Vec<SnapshotDiskRow>,
}

/// Which snapshots to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    pub workload_id: Option<WorkloadId>,
}

/// Starts a snapshot. With an intake key, the same key gives the same snapshot.
///
/// Errors: `WORKLOAD_NOT_FOUND`, `WORKLOAD_LOCKED`, `WORKLOAD_BROKEN`, `WORKLOAD_EMPTY`, `TARGET_NOT_CONFIGURED`,
/// `INSTANCE_NOT_FOUND`, `IDEMPOTENCY_KEY_REUSED`.
pub async fn create(
    state: &AppState,
    caller: &Caller,
    request: &Request,
    intake: Option<&IntakeKey>,
) -> Result<Started<SnapshotId>, Error> {
    let name = check_name(request.name.as_deref(), "snapshot")?;
    let description = check_description(request.description.as_deref())?;
    let (workload, instance_ids) = match check(state, caller, request, intake).await? {
        Checked::Duplicate(started) => return Ok(started),
        Checked::Free { workload, instance_ids } => (workload, instance_ids),
    };
    let owner = workload.owner();
    // Outside of any transaction: the cloud may take its time. A missing instance would fail the saga later, unless it may
    // be left out.
    trusts::secure(state, caller, &owner).await?;
    if !workload.allow_partial {
        workloads::describe_all(state, &owner, &instance_ids).await?;
    }
    let now = state.clock.now();
    let row = SnapshotRow {
        id: SnapshotId::from_uuid(state.entropy.uuid()),
        workload_id: request.workload_id,
        project_id: caller.project.clone(),
        user_id: caller.user.clone(),
        name,
        description,
        kind: request.kind,
        status: SnapshotState::Creating,
        saga_id: state.engine.new_saga_id(),
        parent_snapshot_id: None,
        consistency: None,
        pins: 0,
        size_bytes: ByteCount(0),
        bytes_read: ByteCount(0),
        bytes_stored: ByteCount(0),
        progress_message: "accepted".to_owned(),
        error_code: None,
        error_message: None,
        warning_message: None,
        created_at: now,
        updated_at: now,
        finished_at: None,
    };
    let started = retrying(|| insert(state, caller, row.clone(), intake)).await?;
    state.engine.wake();
    if !started.duplicate {
        tracing::info!(snapshot_id = %started.id, saga_id = %started.saga_id, workload_id = %row.workload_id, "snapshot accepted");
    }
    Ok(started)
}

/// Lists the snapshots of the caller's project, the newest first; without instances, with disks while they move.
///
/// Errors: `WORKLOAD_NOT_FOUND`.
pub async fn list(state: &AppState, caller: &Caller, filter: Filter) -> Result<Vec<Parts>, Error> {
    let mut tx = state.catalog.read().await?;
    if let Some(id) = filter.workload_id {
        workloads::require(&mut tx, caller, id).await?;
    }
    let filter = SnapshotFilter {
        project_id: Some(caller.project.clone()),
        workload_id: filter.workload_id,
        ..SnapshotFilter::default()
    };
    let mut all = Vec::new();
    for row in tx.list_snapshots(&filter).await? {
        let disks = match row.finished_at {
            None => tx.list_snapshot_disks(row.id).await?,
            Some(_) => Vec::new(),
        };
        all.push(Parts { row, expected: Vec::new(), instances: Vec::new(), disks });
    }
    Ok(all)
}

/// Shows a snapshot.
///
/// Errors: `SNAPSHOT_NOT_FOUND`.
pub async fn show(state: &AppState, caller: &Caller, id: SnapshotId) -> Result<Parts, Error> {
    let mut tx = state.catalog.read().await?;
    let row = require(&mut tx, caller, id).await?;
    let instances = tx.list_snapshot_instances(id).await?;
    let disks = tx.list_snapshot_disks(id).await?;
    let expected = match instances.as_slice() {
        [] => tx.list_workload_instances(row.workload_id).await?,
        _ => Vec::new(),
    };
    Ok(Parts { row, expected, instances, disks })
}

/// Asks a running snapshot to stop; its saga takes back what was done.
///
/// Errors: `SNAPSHOT_NOT_FOUND`, `CANCEL_TOO_LATE`.
pub async fn cancel(state: &AppState, caller: &Caller, id: SnapshotId) -> Result<Parts, Error> {
    let row = require(&mut state.catalog.read().await?, caller, id).await?;
    match row.status {
        SnapshotState::Creating | SnapshotState::Executing | SnapshotState::Uploading => {
            state.engine.request_cancel(row.saga_id, &caller.user).await?;
            tracing::info!(snapshot_id = %id, saga_id = %row.saga_id, "snapshot cancel asked for");
        }
        // Cancelling twice is as cancelling once.
        SnapshotState::Cancelled => {}
        status => {
            let message = format!("snapshot {} ({id}) is {status} already: nothing was cancelled", row.name);
            return Err(Error::conflict("CANCEL_TOO_LATE", message));
        }
    }
    show(state, caller, id).await
}

/// Reads a snapshot of the caller's project.
pub(super) async fn require(tx: &mut Tx, caller: &Caller, id: SnapshotId) -> Result<SnapshotRow, Error> {
    tx.get_snapshot(id)
        .await?
        .filter(|row| row.project_id == caller.project && row.status != SnapshotState::Deleted)
        .ok_or_else(|| Error::not_found("SNAPSHOT_NOT_FOUND", "snapshot", &id))
}

enum Checked {
    Duplicate(Started<SnapshotId>),
    /// The workload, and its instances to be snapshot.
    Free {
        workload: Box<WorkloadRow>,
        instance_ids: Vec<InstanceId>,
    },
}

/// Refuses early what would be refused in the transaction, so that the cloud is not asked for nothing.
async fn check(
    state: &AppState,
    caller: &Caller,
    request: &Request,
    intake: Option<&IntakeKey>,
) -> Result<Checked, Error> {
    let mut tx = state.catalog.read().await?;
    if let Some(key) = intake
        && let Some(held) = key.find(&mut tx).await?
    {
        return Ok(Checked::Duplicate(duplicate(held.object_id, held.saga_id)));
    }
    let workload = workloads::require_free(&mut tx, caller, request.workload_id).await?;
    if state.target(workload.target_id).is_none() {
        let message = format!(
            "the backup target {} of workload {} is not in this service's config: an operator must add it",
            workload.target_id, workload.name
        );
        return Err(Error::conflict("TARGET_NOT_CONFIGURED", message));
    }
    let instances = tx.list_workload_instances(workload.id).await?;
    if instances.is_empty() {
        return Err(Error::conflict(
            "WORKLOAD_EMPTY",
            format!("workload {} has no instances", workload.name),
        ));
    }
    let instance_ids = instances.into_iter().map(|instance| instance.instance_id).collect();
    Ok(Checked::Free { workload: Box::new(workload), instance_ids })
}

/// The one transaction: key, row, lock and saga, or nothing.
async fn insert(
    state: &AppState,
    caller: &Caller,
    mut row: SnapshotRow,
    intake: Option<&IntakeKey>,
) -> Result<Started<SnapshotId>, Error> {
    let mut tx = state.catalog.begin().await?;
    if let Some(key) = intake
        && let Some(held) = key.claim(&mut tx, row.saga_id, row.id.uuid()).await?
    {
        return Ok(duplicate(held.object_id, held.saga_id));
    }
    let workload = workloads::require_free(&mut tx, caller, row.workload_id).await?;
    let instances = tx.list_workload_instances(workload.id).await?;
    let has_parent =
        tx.list_lineages(workload.id).await?.iter().any(|lineage| lineage.latest_snapshot_id.is_some());
    let why_full = match (has_parent, tx.is_workload_reset(workload.id).await?) {
        (false, _) => Some(BECAME_FULL),
        (true, true) => Some(FULL_AFTER_RESET),
        (true, false) => None,
    };
    let warning = why_full.filter(|_| row.kind == SnapshotKind::Incremental).map(str::to_owned);
    if let Some(warning) = &warning {
        row.kind = SnapshotKind::Full;
        row.progress_message.clone_from(warning);
    }
    tx.insert_snapshot(&row).await?;
    tx.lock_workload(workload.id, row.saga_id).await?;
    for became in [Became::Snapshot(row.id, row.status), Became::Workload(workload.id, WorkloadState::Locked)]
    {
        let (project_id, saga_id) = (&row.project_id, Some(row.saga_id));
        let news = News { project_id, workload_id: workload.id, saga_id, became, reason: None };
        state.engine.announce(&mut tx, &news).await?;
    }
    let order = SnapshotOrder {
        project_id: row.project_id.clone(),
        workload_id: workload.id,
        snapshot_id: row.id,
        target_id: workload.target_id,
        kind: row.kind,
        instance_ids: instances.iter().map(|instance| instance.instance_id).collect(),
    };
    state.engine.start::<SnapshotCreate>(&mut tx, row.saga_id, &order).await?;
    tx.commit().await?;
    Ok(Started { id: row.id, saga_id: row.saga_id, duplicate: false, warning })
}

fn duplicate(object_id: uuid::Uuid, saga_id: SagaId) -> Started<SnapshotId> {
    Started { id: SnapshotId::from_uuid(object_id), saga_id, duplicate: true, warning: None }
}
