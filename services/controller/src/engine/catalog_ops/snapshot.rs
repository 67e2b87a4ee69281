//! The catalog's part of `snapshot_create`.

use std::time::Duration;

use catalog::{
    LineageBaseRow, NewLineage, PartStatus, SnapshotDiskRow, SnapshotFilter, SnapshotInstanceRow, SnapshotRow,
};
use cloud::{DiskDescription, InstanceDescription};
use model::{
    ByteCount, DiskId, Failure, LineageId, SnapshotEvent, SnapshotId, SnapshotKind, SnapshotState,
    WorkloadId, WorkloadState,
};

use super::{Became, OpCtx, OpError, OpResult, not_found};
use crate::sagas::catalog_op::{
    CatalogAnswer, Checked, DiskRecord, InstanceFailure, KeptBase, LineageLease, LineagesAcquired,
    SnapshotBegun, SnapshotRecord, WhenChanged,
};
use crate::sagas::snapshot_create::Params;

/// Of new lineages; fixed for their life. Source: docs/target-format.md.
const CHUNK_SIZE: ByteCount = ByteCount::mib(1);

pub(super) async fn begin(ctx: &mut OpCtx<'_>, params: &Params) -> OpResult {
    let workload = ctx.tx.get_workload(params.workload_id).await?;
    let workload = workload.ok_or_else(|| not_found("workload", params.workload_id))?;
    let snapshot = get_snapshot(ctx, params.snapshot_id).await?;
    let instances = ctx.tx.list_workload_instances(params.workload_id).await?;
    ctx.move_snapshot(params.snapshot_id, SnapshotEvent::Begin).await?;
    Ok(CatalogAnswer::SnapshotBegun(SnapshotBegun {
        workload_user_id: workload.user_id,
        workload_name: workload.name,
        workload_description: workload.description,
        workload_created_at: workload.created_at,
        workload_updated_at: workload.updated_at,
        keep_base: workload.keep_base,
        allow_partial: workload.allow_partial,
        workload_type: workload.workload_type,
        instance_names: instances.into_iter().map(|row| (row.instance_id, row.name)).collect(),
        snapshot_user_id: snapshot.user_id,
        snapshot_name: snapshot.name,
        snapshot_description: snapshot.description,
        snapshot_created_at: snapshot.created_at,
    }))
}

pub(super) async fn end(ctx: &mut OpCtx<'_>, params: &Params, failures: &[InstanceFailure]) -> OpResult {
    let (event, part) = if ctx.is_cancelled() {
        (SnapshotEvent::Cancel, PartStatus::Cancelled)
    } else {
        (SnapshotEvent::Fail, PartStatus::Error)
    };
    let mut row = get_snapshot(ctx, params.snapshot_id).await?;
    if row.status.next(event).is_ok() {
        ctx.move_snapshot(params.snapshot_id, event).await?;
        row.error_code.clone_from(&ctx.saga.error_code);
        row.error_message.clone_from(&ctx.saga.error_message);
        row.progress_message = String::new();
        row.finished_at = Some(ctx.tx.now());
        ctx.tx.update_snapshot(&row).await?;
        settle_parts(ctx, params.snapshot_id, part).await?;
        for failure in failures {
            write_failure(ctx, params.snapshot_id, failure).await?;
        }
    }
    give_back_lineages(ctx, params).await?;
    free_workload(ctx, params.workload_id).await?;
    Ok(CatalogAnswer::Done)
}

pub(super) async fn acquire(
    ctx: &mut OpCtx<'_>,
    params: &Params,
    instances: &[InstanceDescription],
) -> OpResult {
    ctx.tx.delete_snapshot_parts(params.snapshot_id).await?;
    let leases = acquire_parts(ctx, params, instances).await?;
    let parent = leases.iter().find_map(|lease| lease.parent_snapshot_id);
    let kind = if parent.is_some() { SnapshotKind::Incremental } else { SnapshotKind::Full };
    let mut row = get_snapshot(ctx, params.snapshot_id).await?;
    row.kind = kind;
    row.parent_snapshot_id = parent;
    row.size_bytes =
        instances.iter().flat_map(InstanceDescription::disks_to_back_up).map(|disk| disk.size).sum();
    ctx.tx.update_snapshot(&row).await?;
    let workload_is_new = !has_committed_snapshot(ctx, params).await?;
    Ok(CatalogAnswer::LineagesAcquired(LineagesAcquired { disks: leases, kind, workload_is_new }))
}

pub(super) async fn acquire_again(
    ctx: &mut OpCtx<'_>,
    params: &Params,
    instances: &[InstanceDescription],
) -> OpResult {
    for instance in instances {
        ctx.tx.delete_snapshot_parts_of(params.snapshot_id, instance.id).await?;
    }
    let disks = acquire_parts(ctx, params, instances).await?;
    let kind = get_snapshot(ctx, params.snapshot_id).await?.kind;
    let workload_is_new = !has_committed_snapshot(ctx, params).await?;
    Ok(CatalogAnswer::LineagesAcquired(LineagesAcquired { disks, kind, workload_is_new }))
}

/// The rows of instances and disks, and the lease of each disk.
async fn acquire_parts(
    ctx: &mut OpCtx<'_>,
    params: &Params,
    instances: &[InstanceDescription],
) -> Result<Vec<LineageLease>, OpError> {
    let mut leases = Vec::new();
    for instance in instances {
        ctx.tx.insert_snapshot_instance(&instance_row(params.snapshot_id, instance)).await?;
        for disk in instance.disks_to_back_up() {
            let lease = acquire_one(ctx, params, instance, disk).await?;
            ctx.tx.insert_snapshot_disk(&disk_row(params.snapshot_id, instance, disk, &lease)).await?;
            leases.push(lease);
        }
    }
    Ok(leases)
}

async fn acquire_one(
    ctx: &mut OpCtx<'_>,
    params: &Params,
    instance: &InstanceDescription,
    disk: &DiskDescription,
) -> Result<LineageLease, OpError> {
    let new = NewLineage {
        id: LineageId::from_uuid(ctx.entropy.uuid()),
        workload_id: params.workload_id,
        instance_id: instance.id,
        disk_id: disk.id.clone(),
        target_id: params.target_id,
        chunk_size_bytes: CHUNK_SIZE,
    };
    let lineage = ctx.tx.get_or_create_lineage(&new).await?;
    let epoch = ctx.tx.acquire_lineage_lease(lineage.id, ctx.saga.id).await?;
    let latest = lineage.latest_snapshot_id;
    let base = ctx.tx.get_lineage_base(lineage.id).await?.map(|row| KeptBase {
        snapshot_id: row.snapshot_id,
        volume_snapshot_id: row.volume_snapshot_id,
        tag: row.tag,
        is_false: row.is_false,
    });
    Ok(LineageLease {
        lineage_id: lineage.id,
        epoch,
        chunk_size: lineage.chunk_size_bytes,
        parent_snapshot_id: latest.filter(|_| params.kind == SnapshotKind::Incremental),
        is_new: latest.is_none(),
        base,
    })
}

pub(super) async fn release_lineages(ctx: &mut OpCtx<'_>, params: &Params) -> OpResult {
    give_back_lineages(ctx, params).await?;
    Ok(CatalogAnswer::Done)
}

pub(super) async fn check_instance(
    ctx: &mut OpCtx<'_>,
    params: &Params,
    name: &str,
    change: Option<String>,
    when_changed: WhenChanged,
) -> OpResult {
    if get_snapshot(ctx, params.snapshot_id).await?.status == SnapshotState::Executing {
        ctx.move_snapshot(params.snapshot_id, SnapshotEvent::Upload).await?;
    }
    let Some(change) = change else { return Ok(CatalogAnswer::InstanceChecked(Checked::Same)) };
    let message =
        format!("instance {name} changed while it was being cut, twice: {change}; make the snapshot again");
    let twice = Failure::permanent("INSTANCE_CHANGED", message);
    match when_changed {
        WhenChanged::CutAgain => Ok(CatalogAnswer::InstanceChecked(Checked::Changed(change))),
        WhenChanged::LeaveOut => Ok(CatalogAnswer::InstanceChecked(Checked::LeftOut(twice))),
        WhenChanged::Refuse => Err(OpError::Refused(twice)),
    }
}

/// Says in words what is different between the sets of disks.
pub(super) fn change_of_disks(before: &InstanceDescription, after: &InstanceDescription) -> Option<String> {
    let find = |instance: &InstanceDescription, id: &DiskId| {
        instance.disks_to_back_up().find(|it| it.id == *id).map(|it| it.size)
    };
    if let Some(disk) = before.disks_to_back_up().find(|disk| find(after, &disk.id).is_none()) {
        return Some(format!("disk {} was detached", disk.device));
    }
    if let Some(disk) = after.disks_to_back_up().find(|disk| find(before, &disk.id).is_none()) {
        return Some(format!("disk {} was attached", disk.device));
    }
    let is_resized = |disk: &&DiskDescription| find(before, &disk.id).is_some_and(|size| size != disk.size);
    after.disks_to_back_up().find(is_resized).map(|disk| format!("disk {} was resized", disk.device))
}

pub(super) async fn record(ctx: &mut OpCtx<'_>, params: &Params, record: &SnapshotRecord) -> OpResult {
    // Each may have been left out while the others still stood.
    if record.consistencies.is_empty() {
        let reasons = warning_of(&record.left_out).unwrap_or_default();
        let message = format!("no instance is left to save: {reasons}");
        return Err(OpError::Refused(Failure::permanent("NO_INSTANCE_LEFT", message)));
    }
    if let Some(disk) = record.misread.first() {
        let message = format!(
            "{disk} was read by a record of changes that another disk of its instance then proved false, and its instance was \
             cut twice already: make the snapshot again, it will read all of it"
        );
        return Err(OpError::Refused(Failure::permanent("CHANGE_RECORD_FALSE", message)));
    }
    for disk in &record.disks {
        check_disk(ctx, params, disk).await?;
    }
    for failure in &record.left_out {
        ctx.tx.delete_snapshot_parts_of(params.snapshot_id, failure.instance_id).await?;
        write_failure(ctx, params.snapshot_id, failure).await?;
    }
    for mut row in ctx.tx.list_snapshot_disks(params.snapshot_id).await? {
        let disk = record.disks.iter().find(|it| it.lease.lineage_id == row.lineage_id);
        let disk = disk.ok_or_else(|| not_found("transfer of lineage", row.lineage_id))?;
        fill_disk_row(&mut row, disk);
        ctx.tx.update_snapshot_disk(&row).await?;
    }
    for mut row in ctx.tx.list_snapshot_instances(params.snapshot_id).await? {
        let of_row = record.consistencies.iter().find(|(id, _)| *id == row.instance_id);
        let Some((_, consistency)) = of_row else { continue };
        row.consistency = Some(*consistency);
        row.status = PartStatus::Available;
        ctx.tx.update_snapshot_instance(&row).await?;
    }
    ctx.move_snapshot(params.snapshot_id, SnapshotEvent::Commit).await?;
    // The next snapshot of an instance that is not in this one must still build on nothing.
    if record.left_out.is_empty() {
        ctx.tx.delete_workload_reset(params.workload_id).await?;
    }
    let committed_at = ctx.tx.now();
    let mut row = get_snapshot(ctx, params.snapshot_id).await?;
    row.consistency = Some(record.consistency);
    row.size_bytes = record.disks.iter().map(|disk| disk.transferred.size).sum();
    row.bytes_read = record.disks.iter().map(|disk| disk.transferred.bytes_read).sum();
    row.bytes_stored = record.disks.iter().map(|disk| disk.transferred.bytes_stored).sum();
    row.progress_message = String::new();
    row.warning_message = warning_of(&record.left_out);
    row.finished_at = Some(committed_at);
    ctx.tx.update_snapshot(&row).await?;
    Ok(CatalogAnswer::SnapshotCommitted(committed_at))
}

/// Names the instances that are not in the snapshot, and why.
fn warning_of(left_out: &[InstanceFailure]) -> Option<String> {
    let one =
        |it: &InstanceFailure| format!("instance {} is not in it: {} [{}]", it.name, it.message, it.code);
    let all: Vec<String> = left_out.iter().map(one).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Says of an instance how it failed; also of one that has no row yet.
async fn write_failure(
    ctx: &mut OpCtx<'_>,
    id: SnapshotId,
    failure: &InstanceFailure,
) -> Result<(), OpError> {
    let row = SnapshotInstanceRow {
        snapshot_id: id,
        instance_id: failure.instance_id,
        name: failure.name.clone(),
        status: PartStatus::Error,
        consistency: None,
        description_json: serde_json::to_string(&failure.description).expect("a description is plain data"),
        error_code: Some(failure.code.clone()),
        error_message: Some(failure.message.clone()),
    };
    let known = ctx.tx.list_snapshot_instances(id).await?;
    match known.iter().any(|it| it.instance_id == row.instance_id) {
        true => ctx.tx.update_snapshot_instance(&row).await?,
        false => ctx.tx.insert_snapshot_instance(&row).await?,
    }
    Ok(())
}

/// The fence: only who holds the lineage under this epoch makes its newest snapshot.
async fn check_disk(ctx: &mut OpCtx<'_>, params: &Params, disk: &DiskRecord) -> Result<(), OpError> {
    if disk.verified_digest.is_empty() || disk.transferred.manifest_digest != disk.verified_digest {
        return Err(OpError::Refused(Failure::permanent(
            "MANIFEST_MISMATCH",
            format!(
                "the manifest of {} on the target is not the one that was transferred: look at the target, then make the \
                 snapshot again",
                disk.subject
            ),
        )));
    }
    let LineageLease { lineage_id, epoch, .. } = disk.lease;
    let latest = Some(params.snapshot_id);
    match ctx.tx.set_lineage_latest(lineage_id, ctx.saga.id, epoch, latest).await {
        Err(catalog::Error::Fenced { .. }) => {
            return Err(OpError::Refused(Failure::permanent(
                "LINEAGE_LEASE_LOST",
                format!("the lease of {} went to another job: make the snapshot again", disk.subject),
            )));
        }
        other => other?,
    }
    match &disk.kept_base {
        Some(base) => ctx.tx.set_lineage_base(&base_row(lineage_id, base)).await?,
        // What was kept until now goes after the pivot.
        None => ctx.tx.delete_lineage_base(lineage_id).await?,
    }
    Ok(())
}

pub(super) async fn release(ctx: &mut OpCtx<'_>, params: &Params, stays: &[String]) -> OpResult {
    if !stays.is_empty() {
        let mut row = get_snapshot(ctx, params.snapshot_id).await?;
        let warnings = row.warning_message.iter().chain(stays);
        row.warning_message = Some(warnings.map(String::as_str).collect::<Vec<_>>().join("; "));
        ctx.tx.update_snapshot(&row).await?;
    }
    give_back_lineages(ctx, params).await?;
    free_workload(ctx, params.workload_id).await?;
    Ok(CatalogAnswer::Done)
}

/// Gives back what this saga holds; a lineage that never had a snapshot goes away.
async fn give_back_lineages(ctx: &mut OpCtx<'_>, params: &Params) -> Result<(), OpError> {
    for lineage in ctx.tx.list_lineages(params.workload_id).await? {
        if lineage.holder_saga_id != Some(ctx.saga.id) {
            continue;
        }
        if lineage.latest_snapshot_id.is_none() {
            ctx.tx.delete_lineage(lineage.id, ctx.saga.id).await?;
        } else {
            ctx.tx.release_lineage_lease(lineage.id, ctx.saga.id).await?;
        }
    }
    Ok(())
}

/// Gives the workload back, also one that was marked broken while this saga was stuck.
pub(super) async fn free_workload(ctx: &mut OpCtx<'_>, id: WorkloadId) -> Result<(), OpError> {
    let Some(workload) = ctx.tx.get_workload(id).await? else { return Ok(()) };
    if workload.saga_id != Some(ctx.saga.id) {
        return Ok(());
    }
    if workload.status == WorkloadState::Error {
        ctx.tx.repair_workload(id).await?;
    } else {
        ctx.tx.unlock_workload(id, ctx.saga.id).await?;
    }
    ctx.announce(Became::Workload(id, WorkloadState::Available)).await?;
    Ok(())
}

async fn has_committed_snapshot(ctx: &mut OpCtx<'_>, params: &Params) -> Result<bool, OpError> {
    let filter = SnapshotFilter { workload_id: Some(params.workload_id), ..SnapshotFilter::default() };
    let snapshots = ctx.tx.list_snapshots(&filter).await?;
    let is_committed =
        |row: &SnapshotRow| matches!(row.status, SnapshotState::Available | SnapshotState::Restoring);
    Ok(snapshots.iter().any(is_committed))
}

async fn settle_parts(ctx: &mut OpCtx<'_>, id: SnapshotId, status: PartStatus) -> Result<(), OpError> {
    for mut row in ctx.tx.list_snapshot_instances(id).await? {
        row.status = status;
        ctx.tx.update_snapshot_instance(&row).await?;
    }
    for mut row in ctx.tx.list_snapshot_disks(id).await? {
        row.status = status;
        ctx.tx.update_snapshot_disk(&row).await?;
    }
    Ok(())
}

async fn get_snapshot(ctx: &mut OpCtx<'_>, id: SnapshotId) -> Result<SnapshotRow, OpError> {
    ctx.tx.get_snapshot(id).await?.ok_or_else(|| not_found("snapshot", id))
}

fn instance_row(snapshot_id: SnapshotId, instance: &InstanceDescription) -> SnapshotInstanceRow {
    SnapshotInstanceRow {
        snapshot_id,
        instance_id: instance.id,
        name: instance.name.clone(),
        status: PartStatus::Pending,
        consistency: None,
        description_json: serde_json::to_string(instance).expect("a description is plain data"),
        error_code: None,
        error_message: None,
    }
}

fn disk_row(
    snapshot_id: SnapshotId,
    instance: &InstanceDescription,
    disk: &DiskDescription,
    lease: &LineageLease,
) -> SnapshotDiskRow {
    SnapshotDiskRow {
        snapshot_id,
        instance_id: instance.id,
        disk_id: disk.id.clone(),
        lineage_id: lease.lineage_id,
        volume_id: disk.volume_id,
        device: disk.device.clone(),
        size_bytes: disk.size,
        format: disk.format,
        status: PartStatus::Pending,
        bytes_total: disk.size,
        bytes_done: ByteCount(0),
        bytes_read: ByteCount(0),
        bytes_stored: ByteCount(0),
        duration: Duration::ZERO,
        manifest_digest: None,
        parent_snapshot_id: lease.parent_snapshot_id,
    }
}

fn base_row(lineage_id: LineageId, base: &KeptBase) -> LineageBaseRow {
    LineageBaseRow {
        lineage_id,
        snapshot_id: base.snapshot_id,
        volume_snapshot_id: base.volume_snapshot_id,
        tag: base.tag.clone(),
        is_false: base.is_false,
    }
}

fn fill_disk_row(row: &mut SnapshotDiskRow, disk: &DiskRecord) {
    let figures = &disk.transferred;
    row.status = PartStatus::Available;
    row.size_bytes = figures.size;
    row.bytes_total = figures.size;
    row.bytes_done = figures.size;
    row.bytes_read = figures.bytes_read;
    row.bytes_stored = figures.bytes_stored;
    row.duration = Duration::from_millis(figures.duration_ms);
    row.manifest_digest = crate::sagas::manifest_digest_text(&figures.manifest_digest);
}
