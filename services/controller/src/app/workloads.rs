//! Workloads: creating, listing, showing, resetting, deleting.

use std::collections::BTreeSet;

use catalog::{
    NotificationRow, SnapshotFilter, SnapshotRow, Tx, VolumeLeftRow, WorkloadFilter, WorkloadInstanceRow,
    WorkloadRow,
};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{
    Failure, InstanceId, KeepBase, Owner, SagaId, VolumeId, WorkloadId, WorkloadState, WorkloadType,
};

use super::retrying::retrying;
use super::text::{check_description, check_name, shown};
use super::{Caller, Error, trusts};
use crate::engine::{Became, ClearingOrder, News, WorkloadDelete, WorkloadReset};
use crate::state::{AppState, TargetInfo};

/// A snapshot freezes its instances at one time: more are better several workloads.
const INSTANCE_COUNT_MAX: usize = 256;
/// Questions to the cloud at a time.
const DESCRIBE_CONCURRENCY: usize = 8;

/// Of those that are kept.
const NOTIFICATIONS_SHOWN: u32 = 20;

/// What to protect.
#[derive(Debug, Clone, Default)]
pub struct Request {
    pub name: Option<String>,
    pub description: Option<String>,
    pub instance_ids: Vec<InstanceId>,
    /// Name or id of a target; `None`: the first of the configuration.
    pub target: Option<String>,
    pub keep_base: KeepBase,
    pub allow_partial: bool,
    pub workload_type: WorkloadType,
}

/// What to have otherwise; `None`: as before.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub name: Option<String>,
    pub description: Option<String>,
    pub keep_base: Option<KeepBase>,
    pub allow_partial: Option<bool>,
    pub workload_type: Option<WorkloadType>,
}

/// A workload with what belongs to it.
#[derive(Debug, Clone)]
pub struct Parts {
    pub row: WorkloadRow,
    pub instances: Vec<WorkloadInstanceRow>,
    pub snapshots: Vec<SnapshotRow>,
    /// What the cloud told of its instances and volumes, the newest first.
    pub notifications: Vec<NotificationRow>,
    /// Which their cloud meant to delete, and could not because of us.
    pub volumes_left: Vec<VolumeLeftRow>,
}

/// Which way all that is kept for a workload goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clearing {
    /// The next snapshot is full.
    Reset,
    /// So does the workload. `database_only`: what is kept elsewhere stays there.
    Delete { database_only: bool },
}

/// A clearing that began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    pub saga_id: SagaId,
    /// What is not removed, in words: the sweep of leftovers finds it.
    pub stays: Vec<String>,
}

/// Creates a workload.
///
/// Errors: `NO_INSTANCES`, `TOO_MANY_INSTANCES`, `INSTANCE_DUPLICATE`, `TARGET_NOT_FOUND`, `INSTANCE_NOT_FOUND`,
/// `INSTANCE_ALREADY_PROTECTED`.
pub async fn create(state: &AppState, caller: &Caller, request: &Request) -> Result<Parts, Error> {
    let name = check_name(request.name.as_deref(), "workload")?;
    let description = check_description(request.description.as_deref())?;
    check_instance_ids(&request.instance_ids)?;
    let target = choose_target(state, request.target.as_deref())?;
    // Outside of the transaction: the cloud may take its time.
    trusts::secure(state, caller, &caller.owner()).await?;
    let names = describe_all(state, &caller.owner(), &request.instance_ids).await?;
    let now = state.clock.now();
    let row = WorkloadRow {
        id: WorkloadId::from_uuid(state.entropy.uuid()),
        project_id: caller.project.clone(),
        user_id: caller.user.clone(),
        name,
        description,
        status: WorkloadState::Available,
        saga_id: None,
        target_id: target.id,
        created_at: now,
        updated_at: now,
        error_message: None,
        keep_base: request.keep_base,
        allow_partial: request.allow_partial,
        workload_type: request.workload_type,
    };
    let workload_id = row.id;
    let instances: Vec<WorkloadInstanceRow> = (0..)
        .zip(names)
        .map(|(position, (instance_id, name))| WorkloadInstanceRow {
            instance_id,
            workload_id,
            name,
            position,
        })
        .collect();
    retrying(|| insert(state, &row, &instances)).await?;
    tracing::info!(workload_id = %row.id, instance_count = instances.len(), "workload created");
    Ok(Parts { row, instances, snapshots: Vec::new(), notifications: Vec::new(), volumes_left: Vec::new() })
}

/// Changes a workload, from its next snapshot on.
///
/// Errors: `WORKLOAD_NOT_FOUND`.
pub async fn change(
    state: &AppState,
    caller: &Caller,
    id: WorkloadId,
    change: &Change,
) -> Result<Parts, Error> {
    retrying(|| write_change(state, caller, id, change)).await?;
    tracing::info!(workload_id = %id, "workload changed");
    show(state, caller, id).await
}

async fn write_change(
    state: &AppState,
    caller: &Caller,
    id: WorkloadId,
    change: &Change,
) -> Result<(), Error> {
    let mut tx = state.catalog.begin().await?;
    let mut row = require(&mut tx, caller, id).await?;
    if change.name.is_some() {
        row.name = check_name(change.name.as_deref(), "workload")?;
    }
    if change.description.is_some() {
        row.description = check_description(change.description.as_deref())?;
    }
    row.keep_base = change.keep_base.unwrap_or(row.keep_base);
    row.allow_partial = change.allow_partial.unwrap_or(row.allow_partial);
    row.workload_type = change.workload_type.unwrap_or(row.workload_type);
    tx.update_workload(&row).await?;
    Ok(tx.commit().await?)
}

/// Lists the workloads of the caller's project, the newest first.
pub async fn list(state: &AppState, caller: &Caller) -> Result<Vec<WorkloadRow>, Error> {
    let filter = WorkloadFilter { project_id: Some(caller.project.clone()), ..WorkloadFilter::default() };
    Ok(state.catalog.read().await?.list_workloads(&filter).await?)
}

/// Shows a workload.
///
/// Errors: `WORKLOAD_NOT_FOUND`.
pub async fn show(state: &AppState, caller: &Caller, id: WorkloadId) -> Result<Parts, Error> {
    let mut tx = state.catalog.read().await?;
    let row = require(&mut tx, caller, id).await?;
    let instances = tx.list_workload_instances(id).await?;
    let filter = SnapshotFilter { workload_id: Some(id), ..SnapshotFilter::default() };
    let snapshots = tx.list_snapshots(&filter).await?;
    let notifications = tx.list_notifications(id, NOTIFICATIONS_SHOWN).await?;
    let volumes_left = tx.list_volumes_left(Some(id)).await?;
    Ok(Parts { row, instances, snapshots, notifications, volumes_left })
}

/// Starts the reset or the deletion of a workload; gives its saga.
///
/// Errors: `WORKLOAD_NOT_FOUND`, `WORKLOAD_LOCKED`, `WORKLOAD_BROKEN`, `WORKLOAD_HAS_SNAPSHOTS`.
pub async fn clear(
    state: &AppState,
    caller: &Caller,
    id: WorkloadId,
    how: Clearing,
) -> Result<Cleared, Error> {
    let mut tx = state.catalog.read().await?;
    let owner = require_free(&mut tx, caller, id).await?.owner();
    drop(tx);
    // Outside of any transaction: the cloud may take its time.
    if how != (Clearing::Delete { database_only: true }) {
        trusts::secure(state, caller, &owner).await?;
    }
    let cleared = retrying(|| start_clearing(state, caller, id, how)).await?;
    state.engine.wake();
    tracing::info!(workload_id = %id, saga_id = %cleared.saga_id, ?how, "workload clearing accepted");
    Ok(cleared)
}

async fn start_clearing(
    state: &AppState,
    caller: &Caller,
    id: WorkloadId,
    how: Clearing,
) -> Result<Cleared, Error> {
    let mut tx = state.catalog.begin().await?;
    let workload = require_free(&mut tx, caller, id).await?;
    if how != Clearing::Reset {
        refuse_snapshots(&mut tx, &workload).await?;
    }
    // Before the saga starts: it may be over at once.
    let stays = match how {
        Clearing::Delete { database_only: true } => what_stays(&mut tx, id).await?,
        Clearing::Reset | Clearing::Delete { .. } => Vec::new(),
    };
    let saga_id = state.engine.new_saga_id();
    tx.lock_workload(id, saga_id).await?;
    let news = News {
        project_id: &workload.project_id,
        workload_id: id,
        saga_id: Some(saga_id),
        became: Became::Workload(id, WorkloadState::Locked),
        reason: None,
    };
    state.engine.announce(&mut tx, &news).await?;
    let project_id = workload.project_id.clone();
    let order = |database_only| ClearingOrder { project_id, workload_id: id, database_only };
    match how {
        Clearing::Reset => state.engine.start::<WorkloadReset>(&mut tx, saga_id, &order(false)).await?,
        Clearing::Delete { database_only } => {
            state.engine.start::<WorkloadDelete>(&mut tx, saga_id, &order(database_only)).await?;
        }
    }
    tx.commit().await?;
    Ok(Cleared { saga_id, stays })
}

/// What a workload keeps for its next snapshot, in words.
async fn what_stays(tx: &mut Tx, id: WorkloadId) -> Result<Vec<String>, Error> {
    let bases = tx.list_kept_bases(Some(id)).await?.into_iter().map(|row| {
        let (volume, instance) = (row.disk_id, row.instance_id);
        let snapshot = row.base.volume_snapshot_id;
        format!("volume snapshot {snapshot} of volume {volume}, which instance {instance} had")
    });
    // A local disk is known by its device, a volume by its id.
    let local = tx.list_lineages(id).await?.into_iter();
    let local = local.filter(|lineage| lineage.disk_id.as_str().parse::<VolumeId>().is_err());
    let instances: BTreeSet<InstanceId> = local.map(|lineage| lineage.instance_id).collect();
    let records = instances.into_iter().map(|instance| {
        format!("the record of what changed on the local disks of instance {instance}, on its host")
    });
    Ok(bases.chain(records).collect())
}

async fn refuse_snapshots(tx: &mut Tx, workload: &WorkloadRow) -> Result<(), Error> {
    let filter = SnapshotFilter { workload_id: Some(workload.id), ..SnapshotFilter::default() };
    let snapshots = tx.list_snapshots(&filter).await?;
    let held: Vec<&SnapshotRow> = snapshots.iter().filter(|row| row.status.holds_data()).collect();
    let Some(first) = held.first() else { return Ok(()) };
    let message = format!(
        "workload {} has {} snapshots, as {} ({}): delete them first",
        workload.name,
        held.len(),
        first.name,
        first.id
    );
    Err(Error::conflict("WORKLOAD_HAS_SNAPSHOTS", message))
}

/// Reads a workload of the caller's project.
pub(super) async fn require(tx: &mut Tx, caller: &Caller, id: WorkloadId) -> Result<WorkloadRow, Error> {
    tx.get_workload(id)
        .await?
        .filter(|row| row.project_id == caller.project && row.status != WorkloadState::Deleted)
        .ok_or_else(|| Error::not_found("WORKLOAD_NOT_FOUND", "workload", &id))
}

/// Reads the names of instances, and with that proves that they exist in the owner's project.
pub(super) async fn describe_all(
    state: &AppState,
    owner: &Owner,
    ids: &[InstanceId],
) -> Result<Vec<(InstanceId, String)>, Error> {
    let describe = |id: InstanceId| async move {
        // An administrator's rights show other projects' instances too: what is not the owner's is not there.
        let unknown = || {
            let message = format!("there is no instance {id} in project {}", owner.project_id);
            Error::Cloud(Failure::permanent("INSTANCE_NOT_FOUND", message))
        };
        match state.cloud.describe_instance(owner, id).await {
            Ok(description) if description.project_id == owner.project_id => Ok((id, description.name)),
            Ok(_) => Err(unknown()),
            Err(failure) if failure.code == "INSTANCE_NOT_FOUND" => Err(unknown()),
            Err(failure) => Err(Error::Cloud(failure)),
        }
    };
    stream::iter(ids.to_vec()).map(describe).buffered(DESCRIBE_CONCURRENCY).try_collect().await
}

async fn insert(state: &AppState, row: &WorkloadRow, instances: &[WorkloadInstanceRow]) -> Result<(), Error> {
    let mut tx = state.catalog.begin().await?;
    tx.insert_workload(row).await?;
    for instance in instances {
        match tx.insert_workload_instance(instance).await {
            Err(catalog::Error::InstanceTaken { held_by, .. }) => {
                return Err(refuse_taken(&mut tx, row, instance, held_by).await?);
            }
            outcome => outcome?,
        }
    }
    let news = News {
        project_id: &row.project_id,
        workload_id: row.id,
        saga_id: None,
        became: Became::Workload(row.id, row.status),
        reason: None,
    };
    state.engine.announce(&mut tx, &news).await?;
    tx.commit().await?;
    state.engine.wake();
    Ok(())
}

/// Names the other workload, unless it belongs to another project.
async fn refuse_taken(
    tx: &mut Tx,
    row: &WorkloadRow,
    instance: &WorkloadInstanceRow,
    held_by: WorkloadId,
) -> Result<Error, Error> {
    let holder = tx.get_workload(held_by).await?.filter(|holder| holder.project_id == row.project_id);
    let holder = holder.map_or_else(
        || "a workload of another project".to_owned(),
        |holder| format!("workload {} ({held_by})", holder.name),
    );
    let message = format!(
        "instance {} ({}) is already protected by {holder}: an instance belongs to one workload at most",
        instance.name, instance.instance_id
    );
    Ok(Error::conflict("INSTANCE_ALREADY_PROTECTED", message))
}

fn check_instance_ids(ids: &[InstanceId]) -> Result<(), Error> {
    if ids.is_empty() {
        return Err(Error::invalid(
            "NO_INSTANCES",
            "a workload needs at least one instance: name it in instances",
        ));
    }
    if ids.len() > INSTANCE_COUNT_MAX {
        let message =
            format!("{} instances are too many: at most {INSTANCE_COUNT_MAX} per workload", ids.len());
        return Err(Error::invalid("TOO_MANY_INSTANCES", message));
    }
    let mut seen = BTreeSet::new();
    match ids.iter().find(|id| !seen.insert(**id)) {
        Some(id) => Err(Error::invalid("INSTANCE_DUPLICATE", format!("instance {id} is named twice"))),
        None => Ok(()),
    }
}

fn choose_target<'a>(state: &'a AppState, wanted: Option<&str>) -> Result<&'a TargetInfo, Error> {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else {
        let none =
            || Error::conflict("NO_TARGET", "this service has no backup target: an operator must add one");
        return state.targets.first().ok_or_else(none);
    };
    let found = state.targets.iter().find(|target| target.name == wanted || target.id.to_string() == wanted);
    found.ok_or_else(|| {
        let wanted = shown(wanted, 80);
        let known: Vec<&str> = state.targets.iter().map(|target| target.name.as_str()).collect();
        let message = format!("there is no backup target {wanted:?}; there are: {}", known.join(", "));
        Error::invalid("TARGET_NOT_FOUND", message)
    })
}

/// Reads a workload that no job holds.
pub(super) async fn require_free(tx: &mut Tx, caller: &Caller, id: WorkloadId) -> Result<WorkloadRow, Error> {
    let workload = require(tx, caller, id).await?;
    match workload.status {
        WorkloadState::Available => Ok(workload),
        WorkloadState::Locked => Err(refuse_locked(tx, &workload).await?),
        WorkloadState::Error | WorkloadState::Deleted => {
            let saga = workload.saga_id.map_or_else(|| "a saga".to_owned(), |id| format!("saga {id}"));
            let message = format!(
                "workload {} is in error: {saga} is stuck on it, and an operator must settle it first",
                workload.name
            );
            Err(Error::conflict("WORKLOAD_BROKEN", message))
        }
    }
}

/// Names the job that holds the workload.
async fn refuse_locked(tx: &mut Tx, workload: &WorkloadRow) -> Result<Error, Error> {
    let holder = match workload.saga_id {
        Some(saga_id) => tx.get_saga(saga_id).await?,
        None => None,
    };
    let (job, how) = match holder {
        None => ("another job".to_owned(), ""),
        Some(saga) if saga.object_id == workload.id.uuid() => {
            (format!("its {} (saga {})", saga.kind.replace('_', " "), saga.id), " (holdfast saga cancel)")
        }
        Some(saga) => {
            (format!("snapshot {} (saga {})", saga.object_id, saga.id), " (holdfast snapshot cancel)")
        }
    };
    let message =
        format!("workload {} is locked by {job}: wait for its end, or cancel it{how}", workload.name);
    Ok(Error::conflict("WORKLOAD_LOCKED", message))
}
