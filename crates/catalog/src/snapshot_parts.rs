//! The instances and disks of a snapshot.

use std::time::Duration;

use model::{ByteCount, Consistency, DiskFormat, DiskId, InstanceId, LineageId, SnapshotId, VolumeId};

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};
use crate::words::PartStatus;

/// One row of `snapshot_instance`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInstanceRow {
    pub snapshot_id: SnapshotId,
    pub instance_id: InstanceId,
    pub name: String,
    pub status: PartStatus,
    pub consistency: Option<Consistency>,
    /// The instance with all that belongs to it, as the cloud described it; `null` where it could not.
    pub description_json: String,
    /// Why it is not in the snapshot.
    pub error_code: Option<String>,
    pub error_message: Option<String>,
}

/// One row of `snapshot_disk`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotDiskRow {
    pub snapshot_id: SnapshotId,
    pub instance_id: InstanceId,
    pub disk_id: DiskId,
    pub lineage_id: LineageId,
    pub volume_id: Option<VolumeId>,
    pub device: String,
    pub size_bytes: ByteCount,
    pub format: DiskFormat,
    pub status: PartStatus,
    pub bytes_total: ByteCount,
    pub bytes_done: ByteCount,
    pub bytes_read: ByteCount,
    pub bytes_stored: ByteCount,
    /// Kept in milliseconds.
    pub duration: Duration,
    pub manifest_digest: Option<String>,
    pub parent_snapshot_id: Option<SnapshotId>,
}

/// How far a disk is; `bytes_moved` is stored bytes of a snapshot, written bytes of a restore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskProgress {
    pub bytes_total: ByteCount,
    pub bytes_done: ByteCount,
    pub bytes_read: ByteCount,
    pub bytes_moved: ByteCount,
}

statements! {
    INSERT_SNAPSHOT_INSTANCE = "INSERT INTO snapshot_instance (snapshot_id, instance_id, name, status, consistency, description_json, error_code, error_message) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    LIST_SNAPSHOT_INSTANCES = "SELECT snapshot_id, instance_id, name, status, consistency, description_json, error_code, error_message FROM snapshot_instance WHERE snapshot_id = ? ORDER BY instance_id";
    UPDATE_SNAPSHOT_INSTANCE = "UPDATE snapshot_instance SET name = ?, status = ?, consistency = ?, description_json = ?, error_code = ?, error_message = ? WHERE snapshot_id = ? AND instance_id = ?";
    INSERT_SNAPSHOT_DISK = "INSERT INTO snapshot_disk (snapshot_id, instance_id, disk_id, lineage_id, volume_id, device, size_bytes, format, status, bytes_total, bytes_done, bytes_read, bytes_stored, duration_ms, manifest_digest, parent_snapshot_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    LIST_SNAPSHOT_DISKS = "SELECT snapshot_id, instance_id, disk_id, lineage_id, volume_id, device, size_bytes, format, status, bytes_total, bytes_done, bytes_read, bytes_stored, duration_ms, manifest_digest, parent_snapshot_id FROM snapshot_disk WHERE snapshot_id = ? ORDER BY instance_id, disk_id";
    LIST_LINEAGE_SNAPSHOTS = "SELECT snapshot_disk.snapshot_id AS snapshot_id FROM snapshot_disk JOIN snapshot ON snapshot.id = snapshot_disk.snapshot_id WHERE snapshot_disk.lineage_id = ? AND snapshot.status IN ('available', 'restoring') ORDER BY snapshot.created_at DESC, snapshot.id DESC";
    UPDATE_SNAPSHOT_DISK = "UPDATE snapshot_disk SET lineage_id = ?, volume_id = ?, device = ?, size_bytes = ?, format = ?, status = ?, bytes_total = ?, bytes_done = ?, bytes_read = ?, bytes_stored = ?, duration_ms = ?, manifest_digest = ?, parent_snapshot_id = ? WHERE snapshot_id = ? AND instance_id = ? AND disk_id = ?";
    UPDATE_SNAPSHOT_DISK_PROGRESS = "UPDATE snapshot_disk SET status = 'running', bytes_total = ?, bytes_done = ?, bytes_read = ?, bytes_stored = ? WHERE snapshot_id = ? AND instance_id = ? AND disk_id = ? AND status IN ('pending', 'running')";
    DELETE_SNAPSHOT_INSTANCE = "DELETE FROM snapshot_instance WHERE snapshot_id = ? AND instance_id = ?";
    DELETE_SNAPSHOT_INSTANCE_DISKS = "DELETE FROM snapshot_disk WHERE snapshot_id = ? AND instance_id = ?";
    DELETE_SNAPSHOT_INSTANCES = "DELETE FROM snapshot_instance WHERE snapshot_id = ?";
    DELETE_SNAPSHOT_DISKS = "DELETE FROM snapshot_disk WHERE snapshot_id = ?";
}

impl Tx {
    pub async fn insert_snapshot_instance(&mut self, row: &SnapshotInstanceRow) -> Result<()> {
        let values = values![
            row.snapshot_id,
            row.instance_id,
            &row.name,
            row.status,
            row.consistency,
            &row.description_json,
            row.error_code.as_deref(),
            row.error_message.as_deref(),
        ];
        self.execute(&INSERT_SNAPSHOT_INSTANCE, values).await.map(drop)
    }

    pub async fn list_snapshot_instances(&mut self, id: SnapshotId) -> Result<Vec<SnapshotInstanceRow>> {
        let rows = self.fetch_all(&LIST_SNAPSHOT_INSTANCES, values![id]).await?;
        rows.iter().map(SnapshotInstanceRow::read).collect()
    }

    /// Writes all but the key.
    pub async fn update_snapshot_instance(&mut self, row: &SnapshotInstanceRow) -> Result<()> {
        let values = values![
            &row.name,
            row.status,
            row.consistency,
            &row.description_json,
            row.error_code.as_deref(),
            row.error_message.as_deref(),
            row.snapshot_id,
            row.instance_id,
        ];
        match self.swap(&UPDATE_SNAPSHOT_INSTANCE, values).await? {
            true => Ok(()),
            false => Err(Error::NotFound {
                noun: "instance of a snapshot",
                id: format!("{}/{}", row.snapshot_id, row.instance_id),
            }),
        }
    }

    pub async fn insert_snapshot_disk(&mut self, row: &SnapshotDiskRow) -> Result<()> {
        let values = values![
            row.snapshot_id,
            row.instance_id,
            &row.disk_id,
            row.lineage_id,
            row.volume_id,
            &row.device,
            row.size_bytes,
            row.format,
            row.status,
            row.bytes_total,
            row.bytes_done,
            row.bytes_read,
            row.bytes_stored,
            row.duration,
            row.manifest_digest.as_deref(),
            row.parent_snapshot_id,
        ];
        self.execute(&INSERT_SNAPSHOT_DISK, values).await.map(drop)
    }

    /// Shape: by instance, then disk.
    pub async fn list_snapshot_disks(&mut self, id: SnapshotId) -> Result<Vec<SnapshotDiskRow>> {
        let rows = self.fetch_all(&LIST_SNAPSHOT_DISKS, values![id]).await?;
        rows.iter().map(SnapshotDiskRow::read).collect()
    }

    /// The committed snapshots that have a disk in the lineage. Shape: newest first.
    pub async fn list_lineage_snapshots(&mut self, id: LineageId) -> Result<Vec<SnapshotId>> {
        let rows = self.fetch_all(&LIST_LINEAGE_SNAPSHOTS, values![id]).await?;
        rows.iter().map(|row| row.parse("snapshot_id")).collect()
    }

    /// Writes all but the key.
    pub async fn update_snapshot_disk(&mut self, row: &SnapshotDiskRow) -> Result<()> {
        let values = values![
            row.lineage_id,
            row.volume_id,
            &row.device,
            row.size_bytes,
            row.format,
            row.status,
            row.bytes_total,
            row.bytes_done,
            row.bytes_read,
            row.bytes_stored,
            row.duration,
            row.manifest_digest.as_deref(),
            row.parent_snapshot_id,
            row.snapshot_id,
            row.instance_id,
            &row.disk_id,
        ];
        match self.swap(&UPDATE_SNAPSHOT_DISK, values).await? {
            true => Ok(()),
            false => Err(Error::NotFound {
                noun: "disk of a snapshot",
                id: format!("{}/{}/{}", row.snapshot_id, row.instance_id, row.disk_id),
            }),
        }
    }

    /// Writes how far a disk is, and that it is `running`; a disk that is already settled stays as it is.
    pub async fn update_snapshot_disk_progress(
        &mut self,
        snapshot_id: SnapshotId,
        instance_id: InstanceId,
        disk_id: &DiskId,
        progress: DiskProgress,
    ) -> Result<bool> {
        let DiskProgress { bytes_total, bytes_done, bytes_read, bytes_moved } = progress;
        let values =
            values![bytes_total, bytes_done, bytes_read, bytes_moved, snapshot_id, instance_id, disk_id];
        self.swap(&UPDATE_SNAPSHOT_DISK_PROGRESS, values).await
    }

    /// Forgets the instances and disks, so that they can be collected anew.
    pub async fn delete_snapshot_parts(&mut self, id: SnapshotId) -> Result<()> {
        self.execute(&DELETE_SNAPSHOT_DISKS, values![id]).await?;
        self.execute(&DELETE_SNAPSHOT_INSTANCES, values![id]).await.map(drop)
    }

    /// The same of one instance.
    pub async fn delete_snapshot_parts_of(&mut self, id: SnapshotId, instance_id: InstanceId) -> Result<()> {
        self.execute(&DELETE_SNAPSHOT_INSTANCE_DISKS, values![id, instance_id]).await?;
        self.execute(&DELETE_SNAPSHOT_INSTANCE, values![id, instance_id]).await.map(drop)
    }
}

impl SnapshotInstanceRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            snapshot_id: row.parse("snapshot_id")?,
            instance_id: row.parse("instance_id")?,
            name: row.text("name")?,
            status: row.parse("status")?,
            consistency: row.parse_opt("consistency")?,
            description_json: row.text("description_json")?,
            error_code: row.text_opt("error_code")?,
            error_message: row.text_opt("error_message")?,
        })
    }
}

impl SnapshotDiskRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            snapshot_id: row.parse("snapshot_id")?,
            instance_id: row.parse("instance_id")?,
            disk_id: row.parse("disk_id")?,
            lineage_id: row.parse("lineage_id")?,
            volume_id: row.parse_opt("volume_id")?,
            device: row.text("device")?,
            size_bytes: row.bytes("size_bytes")?,
            format: row.parse("format")?,
            status: row.parse("status")?,
            bytes_total: row.bytes("bytes_total")?,
            bytes_done: row.bytes("bytes_done")?,
            bytes_read: row.bytes("bytes_read")?,
            bytes_stored: row.bytes("bytes_stored")?,
            duration: row.millis("duration_ms")?,
            manifest_digest: row.text_opt("manifest_digest")?,
            parent_snapshot_id: row.parse_opt("parent_snapshot_id")?,
        })
    }
}
