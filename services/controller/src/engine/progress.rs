//! How far a job is, as users see it: on the rows of its snapshot or restore.

use catalog::{DiskProgress, JobProgress, JobRow, SagaRow, Tx};
use model::{ByteCount, DiskId, InstanceId, InvalidId, RestoreId, SnapshotId};
use prost::{Message as _, Name as _};
use proto::cmd::v1 as cmd;

use crate::sagas::restore_new::RestoreNew;
use crate::sagas::snapshot_create::SnapshotCreate;
use saga::Saga as _;

/// Shows which step is at work.
pub(super) async fn show_step(tx: &mut Tx, saga: &SagaRow, step: &str) -> Result<(), catalog::Error> {
    let message = step.replace('_', " ");
    if saga.kind == SnapshotCreate::KIND {
        let id = SnapshotId::from_uuid(saga.object_id);
        let Some(row) = tx.get_snapshot(id).await? else { return Ok(()) };
        tx.update_snapshot_progress(id, &message, row.bytes_read, row.bytes_stored).await?;
    } else if saga.kind == RestoreNew::KIND {
        tx.update_restore_progress(RestoreId::from_uuid(saga.object_id), &message).await?;
    }
    Ok(())
}

/// Shows how many bytes of a disk moved.
pub(super) async fn show_bytes(
    tx: &mut Tx,
    job: &JobRow,
    progress: JobProgress,
) -> Result<(), catalog::Error> {
    let Some(disk) = Disk::of(job) else { return Ok(()) };
    let of_disk = DiskProgress {
        bytes_total: progress.bytes_total,
        bytes_done: progress.bytes_done,
        bytes_read: progress.bytes_read,
        bytes_moved: progress.bytes_stored,
    };
    match disk.of {
        Of::Snapshot(id) => {
            tx.update_snapshot_disk_progress(id, disk.instance_id, &disk.disk_id, of_disk).await?;
            show_snapshot(tx, id).await
        }
        Of::Restore(id) => {
            tx.update_restore_disk_progress(id, disk.instance_id, &disk.disk_id, of_disk).await?;
            show_restore(tx, id).await
        }
    }
}

async fn show_snapshot(tx: &mut Tx, id: SnapshotId) -> Result<(), catalog::Error> {
    let disks = tx.list_snapshot_disks(id).await?;
    let sum = |of: fn(&catalog::SnapshotDiskRow) -> ByteCount| disks.iter().map(of).sum::<ByteCount>();
    let message = share(sum(|disk| disk.bytes_done), sum(|disk| disk.bytes_total));
    let (read, stored) = (sum(|disk| disk.bytes_read), sum(|disk| disk.bytes_stored));
    tx.update_snapshot_progress(id, &format!("transfer disks: {message}"), read, stored).await
}

async fn show_restore(tx: &mut Tx, id: RestoreId) -> Result<(), catalog::Error> {
    let disks = tx.list_restore_disks(id).await?;
    let sum = |of: fn(&catalog::RestoreDiskRow) -> ByteCount| disks.iter().map(of).sum::<ByteCount>();
    let message = share(sum(|disk| disk.bytes_done), sum(|disk| disk.bytes_total));
    tx.update_restore_progress(id, &format!("write disks: {message}")).await
}

fn share(done: ByteCount, total: ByteCount) -> String {
    let percent = (u128::from(done.0) * 100).checked_div(u128::from(total.0)).unwrap_or(0);
    format!("{percent} % ({done} of {total})")
}

/// Which disk a job moves.
struct Disk {
    of: Of,
    instance_id: InstanceId,
    disk_id: DiskId,
}

enum Of {
    Snapshot(SnapshotId),
    Restore(RestoreId),
}

impl Disk {
    /// `None` for jobs that move no disk.
    fn of(job: &JobRow) -> Option<Self> {
        if job.command_type == cmd::TransferDisk::full_name() {
            let command = cmd::TransferDisk::decode(job.command_body.as_slice()).ok()?;
            let of = command.snapshot_id.parse().map(Of::Snapshot);
            Self::parse(of, &command.instance_id, &command.disk_id).ok()
        } else if job.command_type == cmd::WriteDisk::full_name() {
            let command = cmd::WriteDisk::decode(job.command_body.as_slice()).ok()?;
            let of = command.restore_id.parse().map(Of::Restore);
            Self::parse(of, &command.instance_id, &command.disk_id).ok()
        } else {
            None
        }
    }

    fn parse(of: Result<Of, InvalidId>, instance_id: &str, disk_id: &str) -> Result<Self, InvalidId> {
        Ok(Self { of: of?, instance_id: instance_id.parse()?, disk_id: disk_id.parse()? })
    }
}
