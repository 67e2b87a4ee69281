//! The catalog's part of `restore_new`.

use std::time::Duration;

use catalog::{PartStatus, RestoreDiskRow, RestoreInstanceRow, RestoreRow, SnapshotDiskRow};
use cloud::InstanceDescription;
use model::{ByteCount, ErrorClass, Failure, RestoreEvent, RestoreId, SnapshotEvent, SnapshotId};

use super::{OpCtx, OpError, OpResult, not_found};
use crate::sagas::catalog_op::{
    CatalogAnswer, PinnedDisk, PinnedInstance, RestoreRecord, RestoredDisk, SnapshotPinned,
};
use crate::sagas::restore_new::{Params, RestoreInstance};

pub(super) async fn pin(ctx: &mut OpCtx<'_>, params: &Params) -> OpResult {
    let workload = ctx.tx.get_workload(params.workload_id).await?;
    let workload = workload.ok_or_else(|| not_found("workload", params.workload_id))?;
    ctx.tx.pin_snapshot(params.snapshot_id).await?;
    ctx.move_snapshot(params.snapshot_id, SnapshotEvent::Pin).await?;
    let captured = ctx.tx.list_snapshot_instances(params.snapshot_id).await?;
    let disks = ctx.tx.list_snapshot_disks(params.snapshot_id).await?;
    let mut instances = Vec::new();
    for wanted in &params.instances {
        let row = captured.iter().find(|row| row.instance_id == wanted.instance_id);
        let row = row.ok_or_else(|| not_found("instance of the snapshot", wanted.instance_id))?;
        let description: InstanceDescription = serde_json::from_str(&row.description_json)
            .map_err(|error| unreadable(params.snapshot_id, &error.to_string()))?;
        instances.push(pinned_instance(params, wanted, description, &disks)?);
    }
    write_parts(ctx, params.restore_id, &instances).await?;
    let mut row = get_restore(ctx, params.restore_id).await?;
    row.size_bytes = instances.iter().flat_map(|instance| &instance.disks).map(|disk| disk.size).sum();
    ctx.tx.update_restore(&row).await?;
    let pinned = SnapshotPinned { workload_user_id: workload.user_id, instances };
    Ok(CatalogAnswer::SnapshotPinned(pinned))
}

fn pinned_instance(
    params: &Params,
    wanted: &RestoreInstance,
    mut description: InstanceDescription,
    rows: &[SnapshotDiskRow],
) -> Result<PinnedInstance, OpError> {
    if description.disks.first().is_some_and(|disk| disk.is_excluded) {
        return Err(OpError::Refused(Failure::permanent(
            "BOOT_DISK_EXCLUDED",
            format!(
                "the boot disk of instance {} was excluded from the snapshot, so no instance can be made of it",
                description.name
            ),
        )));
    }
    description.disks.retain(|disk| !disk.is_excluded);
    let mut disks = Vec::new();
    for disk in &description.disks {
        let row = rows.iter().find(|row| row.instance_id == wanted.instance_id && row.disk_id == disk.id);
        let row = row.ok_or_else(|| {
            unreadable(
                params.snapshot_id,
                &format!("disk {} of {} is missing", disk.device, description.name),
            )
        })?;
        disks.push(PinnedDisk {
            disk_id: disk.id.clone(),
            device: disk.device.clone(),
            lineage_id: row.lineage_id,
            size: row.size_bytes,
            format: row.format,
            volume_type: disk.volume_type.clone(),
            bootable: disk.bootable,
            image_properties: description.image_properties(disk).clone(),
        });
    }
    Ok(PinnedInstance {
        instance_id: wanted.instance_id,
        new_name: wanted.new_name.clone(),
        description,
        disks,
    })
}

/// The rows in which the restore's progress is shown; those that the request made stay.
async fn write_parts(
    ctx: &mut OpCtx<'_>,
    restore_id: RestoreId,
    instances: &[PinnedInstance],
) -> Result<(), OpError> {
    let known = ctx.tx.list_restore_instances(restore_id).await?;
    let known_disks = ctx.tx.list_restore_disks(restore_id).await?;
    for instance in instances {
        if !known.iter().any(|row| row.instance_id == instance.instance_id) {
            ctx.tx.insert_restore_instance(&instance_row(restore_id, instance)).await?;
        }
        for disk in &instance.disks {
            let is_row =
                |row: &RestoreDiskRow| row.instance_id == instance.instance_id && row.disk_id == disk.disk_id;
            if !known_disks.iter().any(is_row) {
                ctx.tx.insert_restore_disk(&disk_row(restore_id, instance, disk)).await?;
            }
        }
    }
    Ok(())
}

pub(super) async fn end(ctx: &mut OpCtx<'_>, params: &Params, is_pinned: bool) -> OpResult {
    let (event, part) = if ctx.is_cancelled() {
        (RestoreEvent::Cancel, PartStatus::Cancelled)
    } else {
        (RestoreEvent::Fail, PartStatus::Error)
    };
    let mut row = get_restore(ctx, params.restore_id).await?;
    if row.status.next(event).is_ok() {
        ctx.move_restore(params.restore_id, event).await?;
        row.error_code.clone_from(&ctx.saga.error_code);
        row.error_message.clone_from(&ctx.saga.error_message);
        row.progress_message = String::new();
        row.finished_at = Some(ctx.tx.now());
        ctx.tx.update_restore(&row).await?;
        settle_parts(ctx, params.restore_id, part).await?;
    }
    if is_pinned {
        unpin(ctx, params.snapshot_id).await?;
    }
    Ok(CatalogAnswer::Done)
}

pub(super) async fn record(ctx: &mut OpCtx<'_>, params: &Params, record: &RestoreRecord) -> OpResult {
    for mut row in ctx.tx.list_restore_instances(params.restore_id).await? {
        let of_row = record.instances.iter().find(|(original, _)| *original == row.instance_id);
        row.new_instance_id = of_row.map(|(_, new)| *new);
        row.status = PartStatus::Available;
        ctx.tx.update_restore_instance(&row).await?;
    }
    for mut row in ctx.tx.list_restore_disks(params.restore_id).await? {
        let is_row =
            |disk: &&RestoredDisk| disk.instance_id == row.instance_id && disk.disk_id == row.disk_id;
        let disk = record.disks.iter().find(is_row);
        let disk = disk.ok_or_else(|| not_found("write of disk", &row.disk_id))?;
        fill_disk_row(&mut row, disk);
        ctx.tx.update_restore_disk(&row).await?;
    }
    ctx.move_restore(params.restore_id, RestoreEvent::Commit).await?;
    let mut row = get_restore(ctx, params.restore_id).await?;
    row.progress_message = String::new();
    row.finished_at = Some(ctx.tx.now());
    ctx.tx.update_restore(&row).await?;
    Ok(CatalogAnswer::Done)
}

pub(super) async fn release(ctx: &mut OpCtx<'_>, params: &Params) -> OpResult {
    unpin(ctx, params.snapshot_id).await?;
    Ok(CatalogAnswer::Done)
}

/// Takes the pin out; with the last one the snapshot is available again.
async fn unpin(ctx: &mut OpCtx<'_>, id: SnapshotId) -> Result<(), OpError> {
    if ctx.tx.unpin_snapshot(id).await? == 0 {
        ctx.move_snapshot(id, SnapshotEvent::Unpin).await?;
    }
    Ok(())
}

async fn settle_parts(ctx: &mut OpCtx<'_>, id: RestoreId, status: PartStatus) -> Result<(), OpError> {
    for mut row in ctx.tx.list_restore_instances(id).await? {
        row.status = status;
        ctx.tx.update_restore_instance(&row).await?;
    }
    for mut row in ctx.tx.list_restore_disks(id).await? {
        row.status = status;
        ctx.tx.update_restore_disk(&row).await?;
    }
    Ok(())
}

async fn get_restore(ctx: &mut OpCtx<'_>, id: RestoreId) -> Result<RestoreRow, OpError> {
    ctx.tx.get_restore(id).await?.ok_or_else(|| not_found("restore", id))
}

fn unreadable(id: SnapshotId, reason: &str) -> OpError {
    OpError::Refused(Failure::new(
        ErrorClass::Bug,
        "SNAPSHOT_UNREADABLE",
        format!("the catalog's description of snapshot {id} cannot be used: {reason}"),
    ))
}

fn instance_row(restore_id: RestoreId, instance: &PinnedInstance) -> RestoreInstanceRow {
    RestoreInstanceRow {
        restore_id,
        instance_id: instance.instance_id,
        new_name: instance.new_name.clone(),
        new_instance_id: None,
        status: PartStatus::Pending,
    }
}

fn disk_row(restore_id: RestoreId, instance: &PinnedInstance, disk: &PinnedDisk) -> RestoreDiskRow {
    RestoreDiskRow {
        restore_id,
        instance_id: instance.instance_id,
        disk_id: disk.disk_id.clone(),
        volume_id: None,
        size_bytes: disk.size,
        status: PartStatus::Pending,
        bytes_total: disk.size,
        bytes_done: ByteCount(0),
        bytes_read: ByteCount(0),
        bytes_written: ByteCount(0),
        duration: Duration::ZERO,
    }
}

fn fill_disk_row(row: &mut RestoreDiskRow, disk: &RestoredDisk) {
    row.status = PartStatus::Available;
    row.volume_id = Some(disk.volume_id);
    row.bytes_total = disk.written.size;
    row.bytes_done = disk.written.size;
    row.bytes_read = disk.written.bytes_fetched;
    row.bytes_written = disk.written.bytes_written;
    row.duration = Duration::from_millis(disk.written.duration_ms);
}
