//! The instances and disks of a restore.

use std::time::Duration;

use model::{ByteCount, DiskId, InstanceId, RestoreId, VolumeId};

use crate::error::{Error, Result};
use crate::snapshot_parts::DiskProgress;
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};
use crate::words::PartStatus;

/// One row of `restore_instance`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreInstanceRow {
    pub restore_id: RestoreId,
    /// The instance of the snapshot.
    pub instance_id: InstanceId,
    pub new_name: String,
    pub new_instance_id: Option<InstanceId>,
    pub status: PartStatus,
}

/// One row of `restore_disk`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreDiskRow {
    pub restore_id: RestoreId,
    pub instance_id: InstanceId,
    pub disk_id: DiskId,
    /// The volume that is written.
    pub volume_id: Option<VolumeId>,
    pub size_bytes: ByteCount,
    pub status: PartStatus,
    pub bytes_total: ByteCount,
    pub bytes_done: ByteCount,
    pub bytes_read: ByteCount,
    pub bytes_written: ByteCount,
    /// Kept in milliseconds.
    pub duration: Duration,
}

statements! {
    INSERT_RESTORE_INSTANCE = "INSERT INTO restore_instance (restore_id, instance_id, new_name, new_instance_id, status) VALUES (?, ?, ?, ?, ?)";
    LIST_RESTORE_INSTANCES = "SELECT restore_id, instance_id, new_name, new_instance_id, status FROM restore_instance WHERE restore_id = ? ORDER BY instance_id";
    UPDATE_RESTORE_INSTANCE = "UPDATE restore_instance SET new_name = ?, new_instance_id = ?, status = ? WHERE restore_id = ? AND instance_id = ?";
    INSERT_RESTORE_DISK = "INSERT INTO restore_disk (restore_id, instance_id, disk_id, volume_id, size_bytes, status, bytes_total, bytes_done, bytes_read, bytes_written, duration_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    LIST_RESTORE_DISKS = "SELECT restore_id, instance_id, disk_id, volume_id, size_bytes, status, bytes_total, bytes_done, bytes_read, bytes_written, duration_ms FROM restore_disk WHERE restore_id = ? ORDER BY instance_id, disk_id";
    UPDATE_RESTORE_DISK = "UPDATE restore_disk SET volume_id = ?, size_bytes = ?, status = ?, bytes_total = ?, bytes_done = ?, bytes_read = ?, bytes_written = ?, duration_ms = ? WHERE restore_id = ? AND instance_id = ? AND disk_id = ?";
    UPDATE_RESTORE_DISK_PROGRESS = "UPDATE restore_disk SET status = 'running', bytes_total = ?, bytes_done = ?, bytes_read = ?, bytes_written = ? WHERE restore_id = ? AND instance_id = ? AND disk_id = ? AND status IN ('pending', 'running')";
    DELETE_RESTORE_INSTANCES = "DELETE FROM restore_instance WHERE restore_id = ?";
    DELETE_RESTORE_DISKS = "DELETE FROM restore_disk WHERE restore_id = ?";
}

impl Tx {
    pub async fn insert_restore_instance(&mut self, row: &RestoreInstanceRow) -> Result<()> {
        let values = values![row.restore_id, row.instance_id, &row.new_name, row.new_instance_id, row.status];
        self.execute(&INSERT_RESTORE_INSTANCE, values).await.map(drop)
    }

    pub async fn list_restore_instances(&mut self, id: RestoreId) -> Result<Vec<RestoreInstanceRow>> {
        let rows = self.fetch_all(&LIST_RESTORE_INSTANCES, values![id]).await?;
        rows.iter().map(RestoreInstanceRow::read).collect()
    }

    /// Writes all but the key.
    pub async fn update_restore_instance(&mut self, row: &RestoreInstanceRow) -> Result<()> {
        let values = values![&row.new_name, row.new_instance_id, row.status, row.restore_id, row.instance_id];
        match self.swap(&UPDATE_RESTORE_INSTANCE, values).await? {
            true => Ok(()),
            false => Err(Error::NotFound {
                noun: "instance of a restore",
                id: format!("{}/{}", row.restore_id, row.instance_id),
            }),
        }
    }

    pub async fn insert_restore_disk(&mut self, row: &RestoreDiskRow) -> Result<()> {
        let values = values![
            row.restore_id,
            row.instance_id,
            &row.disk_id,
            row.volume_id,
            row.size_bytes,
            row.status,
            row.bytes_total,
            row.bytes_done,
            row.bytes_read,
            row.bytes_written,
            row.duration,
        ];
        self.execute(&INSERT_RESTORE_DISK, values).await.map(drop)
    }

    /// Shape: by instance, then disk.
    pub async fn list_restore_disks(&mut self, id: RestoreId) -> Result<Vec<RestoreDiskRow>> {
        let rows = self.fetch_all(&LIST_RESTORE_DISKS, values![id]).await?;
        rows.iter().map(RestoreDiskRow::read).collect()
    }

    /// Writes all but the key.
    pub async fn update_restore_disk(&mut self, row: &RestoreDiskRow) -> Result<()> {
        let values = values![
            row.volume_id,
            row.size_bytes,
            row.status,
            row.bytes_total,
            row.bytes_done,
            row.bytes_read,
            row.bytes_written,
            row.duration,
            row.restore_id,
            row.instance_id,
            &row.disk_id,
        ];
        match self.swap(&UPDATE_RESTORE_DISK, values).await? {
            true => Ok(()),
            false => Err(Error::NotFound {
                noun: "disk of a restore",
                id: format!("{}/{}/{}", row.restore_id, row.instance_id, row.disk_id),
            }),
        }
    }

    /// Writes how far a disk is, and that it is `running`; a disk that is already settled stays as it is.
    pub async fn update_restore_disk_progress(
        &mut self,
        restore_id: RestoreId,
        instance_id: InstanceId,
        disk_id: &DiskId,
        progress: DiskProgress,
    ) -> Result<bool> {
        let DiskProgress { bytes_total, bytes_done, bytes_read, bytes_moved } = progress;
        let values =
            values![bytes_total, bytes_done, bytes_read, bytes_moved, restore_id, instance_id, disk_id];
        self.swap(&UPDATE_RESTORE_DISK_PROGRESS, values).await
    }

    pub(crate) async fn delete_restore_parts(&mut self, id: RestoreId) -> Result<()> {
        self.execute(&DELETE_RESTORE_DISKS, values![id]).await?;
        self.execute(&DELETE_RESTORE_INSTANCES, values![id]).await.map(drop)
    }
}

impl RestoreInstanceRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            restore_id: row.parse("restore_id")?,
            instance_id: row.parse("instance_id")?,
            new_name: row.text("new_name")?,
            new_instance_id: row.parse_opt("new_instance_id")?,
            status: row.parse("status")?,
        })
    }
}

impl RestoreDiskRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            restore_id: row.parse("restore_id")?,
            instance_id: row.parse("instance_id")?,
            disk_id: row.parse("disk_id")?,
            volume_id: row.parse_opt("volume_id")?,
            size_bytes: row.bytes("size_bytes")?,
            status: row.parse("status")?,
            bytes_total: row.bytes("bytes_total")?,
            bytes_done: row.bytes("bytes_done")?,
            bytes_read: row.bytes("bytes_read")?,
            bytes_written: row.bytes("bytes_written")?,
            duration: row.millis("duration_ms")?,
        })
    }
}
