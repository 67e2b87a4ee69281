//! Restores: bringing back, listing, showing, cancelling.

use std::collections::BTreeMap;

use catalog::{
    PartStatus, RestoreDiskRow, RestoreFilter, RestoreInstanceRow, RestoreKind, RestoreRow,
    SnapshotInstanceRow, SnapshotRow, Tx,
};
use model::{
    ByteCount, InstanceId, Owner, RestoreId, RestoreState, SagaId, SnapshotId, SnapshotState, TargetId,
};

use super::retrying::retrying;
use super::text::{check_description, check_name};
use super::{Caller, Error, IntakeKey, Started, snapshots, trusts, workloads};
use crate::engine::{Became, News, RestoreInstance, RestoreNew, RestoreOrder};
use crate::state::AppState;

/// What to bring back.
#[derive(Debug, Clone)]
pub struct Request {
    pub snapshot_id: SnapshotId,
    pub name: Option<String>,
    pub description: Option<String>,
    pub selection: Selection,
    /// Kept to be shown again; JSON.
    pub options_json: String,
    /// Options that were asked for and have no effect.
    pub warning: Option<String>,
}

/// Which instances, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All, under their old names; the originals must be gone.
    OneClick,
    /// These, beside the originals.
    Chosen(Vec<Chosen>),
}

/// One instance of a selective restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub instance_id: InstanceId,
    /// `None`: the original's.
    pub new_name: Option<String>,
}

/// A restore with what belongs to it.
#[derive(Debug, Clone)]
pub struct Parts {
    pub row: RestoreRow,
    pub instances: Vec<RestoreInstanceRow>,
    pub disks: Vec<RestoreDiskRow>,
}

/// What the checks found out.
struct Plan {
    snapshot: SnapshotRow,
    /// Of the workload: on whose behalf it is restored.
    owner: Owner,
    target_id: TargetId,
    instances: Vec<RestoreInstance>,
    size: ByteCount,
}

/// Starts a restore. With an intake key, the same key gives the same restore.
///
/// Errors: `SNAPSHOT_NOT_FOUND`, `SNAPSHOT_NOT_AVAILABLE`, `TARGET_NOT_CONFIGURED`, `RESTORE_SELECTION_EMPTY`,
/// `INSTANCE_NOT_IN_SNAPSHOT`, `INSTANCE_DUPLICATE`, `NAME_DUPLICATE`, `ORIGINAL_EXISTS`, `IDEMPOTENCY_KEY_REUSED`.
pub async fn create(
    state: &AppState,
    caller: &Caller,
    request: &Request,
    intake: Option<&IntakeKey>,
) -> Result<Started<RestoreId>, Error> {
    let name = check_name(request.name.as_deref(), "restore")?;
    let description = check_description(request.description.as_deref())?;
    let mut tx = state.catalog.read().await?;
    if let Some(key) = intake
        && let Some(held) = key.find(&mut tx).await?
    {
        return Ok(duplicate(held.object_id, held.saga_id));
    }
    let plan = make_plan(state, caller, request, &mut tx).await?;
    drop(tx);
    trusts::secure(state, caller, &plan.owner).await?;
    if request.selection == Selection::OneClick {
        require_originals_gone(state, &plan.owner, &plan.instances).await?;
    }
    let now = state.clock.now();
    let row = RestoreRow {
        id: RestoreId::from_uuid(state.entropy.uuid()),
        snapshot_id: plan.snapshot.id,
        workload_id: plan.snapshot.workload_id,
        project_id: caller.project.clone(),
        user_id: caller.user.clone(),
        name,
        description,
        kind: match request.selection {
            Selection::OneClick => RestoreKind::OneClick,
            Selection::Chosen(_) => RestoreKind::Selective,
        },
        status: RestoreState::Restoring,
        saga_id: state.engine.new_saga_id(),
        options_json: request.options_json.clone(),
        size_bytes: plan.size,
        progress_message: "accepted".to_owned(),
        error_code: None,
        error_message: None,
        created_at: now,
        updated_at: now,
        finished_at: None,
    };
    let mut started = retrying(|| insert(state, caller, &row, &plan, intake)).await?;
    state.engine.wake();
    if !started.duplicate {
        started.warning.clone_from(&request.warning);
        tracing::info!(restore_id = %row.id, saga_id = %row.saga_id, snapshot_id = %row.snapshot_id, "restore accepted");
    }
    Ok(started)
}

/// Lists the restores of the caller's project, the newest first; without instances, with disks while they move.
///
/// Errors: `SNAPSHOT_NOT_FOUND`.
pub async fn list(
    state: &AppState,
    caller: &Caller,
    snapshot_id: Option<SnapshotId>,
) -> Result<Vec<Parts>, Error> {
    let mut tx = state.catalog.read().await?;
    if let Some(id) = snapshot_id {
        snapshots::require(&mut tx, caller, id).await?;
    }
    let filter =
        RestoreFilter { project_id: Some(caller.project.clone()), snapshot_id, ..RestoreFilter::default() };
    let mut all = Vec::new();
    for row in tx.list_restores(&filter).await? {
        let disks = match row.finished_at {
            None => tx.list_restore_disks(row.id).await?,
            Some(_) => Vec::new(),
        };
        all.push(Parts { row, instances: Vec::new(), disks });
    }
    Ok(all)
}

/// Shows a restore.
///
/// Errors: `RESTORE_NOT_FOUND`.
pub async fn show(state: &AppState, caller: &Caller, id: RestoreId) -> Result<Parts, Error> {
    let mut tx = state.catalog.read().await?;
    let row = require(&mut tx, caller, id).await?;
    let instances = tx.list_restore_instances(id).await?;
    let disks = tx.list_restore_disks(id).await?;
    Ok(Parts { row, instances, disks })
}

/// Asks a running restore to stop; its saga takes back what was made.
///
/// Errors: `RESTORE_NOT_FOUND`, `CANCEL_TOO_LATE`.
pub async fn cancel(state: &AppState, caller: &Caller, id: RestoreId) -> Result<Parts, Error> {
    let row = require(&mut state.catalog.read().await?, caller, id).await?;
    match row.status {
        RestoreState::Restoring => {
            state.engine.request_cancel(row.saga_id, &caller.user).await?;
            tracing::info!(restore_id = %id, saga_id = %row.saga_id, "restore cancel asked for");
        }
        // Cancelling twice is as cancelling once.
        RestoreState::Cancelled => {}
        status => {
            let message = format!("restore {} ({id}) is {status} already: nothing was cancelled", row.name);
            return Err(Error::conflict("CANCEL_TOO_LATE", message));
        }
    }
    show(state, caller, id).await
}

async fn require(tx: &mut Tx, caller: &Caller, id: RestoreId) -> Result<RestoreRow, Error> {
    tx.get_restore(id)
        .await?
        .filter(|row| row.project_id == caller.project)
        .ok_or_else(|| Error::not_found("RESTORE_NOT_FOUND", "restore", &id))
}

async fn make_plan(state: &AppState, caller: &Caller, request: &Request, tx: &mut Tx) -> Result<Plan, Error> {
    let snapshot = require_available(tx, caller, request.snapshot_id).await?;
    let workload = workloads::require(tx, caller, snapshot.workload_id).await?;
    if state.target(workload.target_id).is_none() {
        let message = format!(
            "the backup target {} of snapshot {} is not in this service's config: an operator must add it",
            workload.target_id, snapshot.id
        );
        return Err(Error::conflict("TARGET_NOT_CONFIGURED", message));
    }
    let mut known = tx.list_snapshot_instances(snapshot.id).await?;
    // Those that were left out are listed with their errors, and cannot be brought back.
    known.retain(|one| one.status == PartStatus::Available);
    let instances = match &request.selection {
        Selection::OneClick => known
            .iter()
            .map(|one| RestoreInstance { instance_id: one.instance_id, new_name: one.name.clone() })
            .collect(),
        Selection::Chosen(chosen) => choose(snapshot.id, &known, chosen)?,
    };
    let disks = tx.list_snapshot_disks(snapshot.id).await?;
    let is_chosen = |id: InstanceId| instances.iter().any(|one| one.instance_id == id);
    let size = disks.iter().filter(|disk| is_chosen(disk.instance_id)).map(|disk| disk.size_bytes).sum();
    Ok(Plan { snapshot, owner: workload.owner(), target_id: workload.target_id, instances, size })
}

/// Reads a snapshot that is committed.
async fn require_available(tx: &mut Tx, caller: &Caller, id: SnapshotId) -> Result<SnapshotRow, Error> {
    let row = snapshots::require(tx, caller, id).await?;
    if matches!(row.status, SnapshotState::Available | SnapshotState::Restoring) {
        return Ok(row);
    }
    let advice = match row.status {
        SnapshotState::Error | SnapshotState::Cancelled => "it holds no data: choose another one",
        _ => "wait until it is available",
    };
    let message = format!("snapshot {} ({id}) is {} and cannot be restored: {advice}", row.name, row.status);
    Err(Error::conflict("SNAPSHOT_NOT_AVAILABLE", message))
}

/// Matches what was chosen with what is in the snapshot.
fn choose(
    snapshot_id: SnapshotId,
    known: &[SnapshotInstanceRow],
    chosen: &[Chosen],
) -> Result<Vec<RestoreInstance>, Error> {
    if chosen.is_empty() {
        let message =
            "no instance was chosen: name at least one of the snapshot's instances, with include true";
        return Err(Error::invalid("RESTORE_SELECTION_EMPTY", message));
    }
    let mut by_id: BTreeMap<InstanceId, RestoreInstance> = BTreeMap::new();
    let mut names: BTreeMap<String, InstanceId> = BTreeMap::new();
    for Chosen { instance_id, new_name } in chosen {
        let original = known.iter().find(|one| one.instance_id == *instance_id).ok_or_else(|| {
            let message =
                format!("instance {instance_id} is not in snapshot {snapshot_id}: choose from its instances");
            Error::invalid("INSTANCE_NOT_IN_SNAPSHOT", message)
        })?;
        let new_name = check_name(new_name.as_deref(), &original.name)?;
        if let Some(other) = names.insert(new_name.clone(), *instance_id).filter(|other| other != instance_id)
        {
            let message =
                format!("instances {other} and {instance_id} would both be named {new_name:?}: rename one");
            return Err(Error::invalid("NAME_DUPLICATE", message));
        }
        let instance = RestoreInstance { instance_id: *instance_id, new_name };
        if by_id.insert(*instance_id, instance).is_some() {
            return Err(Error::invalid(
                "INSTANCE_DUPLICATE",
                format!("instance {instance_id} is chosen twice"),
            ));
        }
    }
    Ok(by_id.into_values().collect())
}

/// A one-click restore replaces what is gone. The saga checks once more, right before it makes anything.
async fn require_originals_gone(
    state: &AppState,
    owner: &Owner,
    instances: &[RestoreInstance],
) -> Result<(), Error> {
    for instance in instances {
        match state.cloud.describe_instance(owner, instance.instance_id).await {
            Ok(original) => {
                let message = format!(
                    "instance {} ({}) still exists: delete it first, or restore selectively under a new name",
                    original.name, original.id
                );
                return Err(Error::conflict("ORIGINAL_EXISTS", message));
            }
            Err(failure) if failure.code == "INSTANCE_NOT_FOUND" => {}
            Err(failure) => return Err(Error::Cloud(failure)),
        }
    }
    Ok(())
}

/// The one transaction: key, rows and saga, or nothing.
async fn insert(
    state: &AppState,
    caller: &Caller,
    row: &RestoreRow,
    plan: &Plan,
    intake: Option<&IntakeKey>,
) -> Result<Started<RestoreId>, Error> {
    let mut tx = state.catalog.begin().await?;
    if let Some(key) = intake
        && let Some(held) = key.claim(&mut tx, row.saga_id, row.id.uuid()).await?
    {
        return Ok(duplicate(held.object_id, held.saga_id));
    }
    require_available(&mut tx, caller, row.snapshot_id).await?;
    tx.insert_restore(row).await?;
    let news = News {
        project_id: &row.project_id,
        workload_id: row.workload_id,
        saga_id: Some(row.saga_id),
        became: Became::Restore(row.id, row.status),
        reason: None,
    };
    state.engine.announce(&mut tx, &news).await?;
    for instance in &plan.instances {
        let instance = RestoreInstanceRow {
            restore_id: row.id,
            instance_id: instance.instance_id,
            new_name: instance.new_name.clone(),
            new_instance_id: None,
            status: PartStatus::Pending,
        };
        tx.insert_restore_instance(&instance).await?;
    }
    let order = RestoreOrder {
        project_id: row.project_id.clone(),
        workload_id: row.workload_id,
        snapshot_id: row.snapshot_id,
        restore_id: row.id,
        target_id: plan.target_id,
        one_click: row.kind == RestoreKind::OneClick,
        instances: plan.instances.clone(),
    };
    state.engine.start::<RestoreNew>(&mut tx, row.saga_id, &order).await?;
    tx.commit().await?;
    Ok(Started { id: row.id, saga_id: row.saga_id, duplicate: false, warning: None })
}

fn duplicate(object_id: uuid::Uuid, saga_id: SagaId) -> Started<RestoreId> {
    Started { id: RestoreId::from_uuid(object_id), saga_id, duplicate: true, warning: None }
}
