//! Lineages: one disk's history on a target, and the lease that lets one saga at a time write to it.

use model::{ByteCount, DiskId, InstanceId, LineageId, SagaId, SnapshotId, TargetId, WorkloadId};

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};

/// One row of `lineage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineageRow {
    pub id: LineageId,
    pub workload_id: WorkloadId,
    pub instance_id: InstanceId,
    pub disk_id: DiskId,
    pub target_id: TargetId,
    pub chunk_size_bytes: ByteCount,
    /// Grows with every lease.
    pub epoch: u64,
    pub holder_saga_id: Option<SagaId>,
    pub latest_snapshot_id: Option<SnapshotId>,
}

/// What a lineage is made of when there is none yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLineage {
    pub id: LineageId,
    pub workload_id: WorkloadId,
    pub instance_id: InstanceId,
    pub disk_id: DiskId,
    pub target_id: TargetId,
    pub chunk_size_bytes: ByteCount,
}

statements! {
    INSERT_LINEAGE = "INSERT INTO lineage (id, workload_id, instance_id, disk_id, target_id, chunk_size_bytes, epoch, holder_saga_id, latest_snapshot_id) VALUES (?, ?, ?, ?, ?, ?, 0, NULL, NULL)";
    GET_LINEAGE = "SELECT id, workload_id, instance_id, disk_id, target_id, chunk_size_bytes, epoch, holder_saga_id, latest_snapshot_id FROM lineage WHERE id = ?";
    GET_LINEAGE_OF_DISK = "SELECT id, workload_id, instance_id, disk_id, target_id, chunk_size_bytes, epoch, holder_saga_id, latest_snapshot_id FROM lineage WHERE workload_id = ? AND instance_id = ? AND disk_id = ?";
    LIST_LINEAGES = "SELECT id, workload_id, instance_id, disk_id, target_id, chunk_size_bytes, epoch, holder_saga_id, latest_snapshot_id FROM lineage WHERE workload_id = ? ORDER BY instance_id, disk_id";
    ACQUIRE_LINEAGE_LEASE = "UPDATE lineage SET epoch = ?, holder_saga_id = ? WHERE id = ? AND epoch = ? AND holder_saga_id IS NULL";
    RELEASE_LINEAGE_LEASE = "UPDATE lineage SET holder_saga_id = NULL WHERE id = ? AND holder_saga_id = ?";
    SET_LINEAGE_LATEST = "UPDATE lineage SET latest_snapshot_id = ? WHERE id = ? AND holder_saga_id = ? AND epoch = ?";
    DELETE_LINEAGE = "DELETE FROM lineage WHERE id = ? AND holder_saga_id = ?";
}

impl Tx {
    /// Gives the lineage of the disk, made from `new` when there is none.
    pub async fn get_or_create_lineage(&mut self, new: &NewLineage) -> Result<LineageRow> {
        let key = || values![new.workload_id, new.instance_id, &new.disk_id];
        if let Some(row) = self.fetch_optional(&GET_LINEAGE_OF_DISK, key()).await? {
            return LineageRow::read(&row);
        }
        let values = values![
            new.id,
            new.workload_id,
            new.instance_id,
            &new.disk_id,
            new.target_id,
            new.chunk_size_bytes,
        ];
        match self.execute(&INSERT_LINEAGE, values).await {
            // Another controller was faster: its row is the lineage.
            Ok(_) | Err(Error::Duplicate { .. }) => {}
            Err(error) => return Err(error),
        }
        match self.fetch_optional(&GET_LINEAGE_OF_DISK, key()).await? {
            Some(row) => LineageRow::read(&row),
            None => Err(Error::Conflict { what: format!("lineage {}", new.id), retryable: true }),
        }
    }

    pub async fn get_lineage(&mut self, id: LineageId) -> Result<Option<LineageRow>> {
        self.fetch_optional(&GET_LINEAGE, values![id]).await?.map(|row| LineageRow::read(&row)).transpose()
    }

    /// Shape: by instance, then disk.
    pub async fn list_lineages(&mut self, workload_id: WorkloadId) -> Result<Vec<LineageRow>> {
        let rows = self.fetch_all(&LIST_LINEAGES, values![workload_id]).await?;
        rows.iter().map(LineageRow::read).collect()
    }

    /// Takes the lease for `saga_id`; gives its epoch. Taking it again gives the same epoch.
    ///
    /// Errors: `Held` when another saga has it, `Conflict` when somebody else was faster.
    pub async fn acquire_lineage_lease(&mut self, id: LineageId, saga_id: SagaId) -> Result<u64> {
        let row = self.get_lineage(id).await?;
        let row = row.ok_or_else(|| Error::NotFound { noun: "lineage", id: id.to_string() })?;
        match row.holder_saga_id {
            Some(holder) if holder == saga_id => return Ok(row.epoch),
            Some(holder) => return Err(Error::Held { noun: "lineage", id: id.to_string(), holder }),
            None => {}
        }
        let epoch = row.epoch + 1;
        match self.swap(&ACQUIRE_LINEAGE_LEASE, values![epoch, saga_id, id, row.epoch]).await? {
            true => Ok(epoch),
            false => Err(Error::Conflict { what: format!("lineage {id}"), retryable: true }),
        }
    }

    /// Gives the lease back; whether `saga_id` had it.
    pub async fn release_lineage_lease(&mut self, id: LineageId, saga_id: SagaId) -> Result<bool> {
        self.swap(&RELEASE_LINEAGE_LEASE, values![id, saga_id]).await
    }

    /// Records the newest committed snapshot (none: after the last was deleted), under the lease.
    ///
    /// Errors: `Fenced` when the lease with this epoch is not the saga's any more.
    pub async fn set_lineage_latest(
        &mut self,
        id: LineageId,
        saga_id: SagaId,
        epoch: u64,
        latest: Option<SnapshotId>,
    ) -> Result<()> {
        match self.swap(&SET_LINEAGE_LATEST, values![latest, id, saga_id, epoch]).await? {
            true => Ok(()),
            false => Err(Error::Fenced { noun: "lineage", id: id.to_string(), holder: saga_id }),
        }
    }

    /// Forgets the lineage, under its lease.
    ///
    /// Errors: `Fenced` when `saga_id` does not hold the lease.
    pub async fn delete_lineage(&mut self, id: LineageId, saga_id: SagaId) -> Result<()> {
        match self.swap(&DELETE_LINEAGE, values![id, saga_id]).await? {
            true => Ok(()),
            false => Err(Error::Fenced { noun: "lineage", id: id.to_string(), holder: saga_id }),
        }
    }
}

impl LineageRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.parse("id")?,
            workload_id: row.parse("workload_id")?,
            instance_id: row.parse("instance_id")?,
            disk_id: row.parse("disk_id")?,
            target_id: row.parse("target_id")?,
            chunk_size_bytes: row.bytes("chunk_size_bytes")?,
            epoch: row.number("epoch")?,
            holder_saga_id: row.parse_opt("holder_saga_id")?,
            latest_snapshot_id: row.parse_opt("latest_snapshot_id")?,
        })
    }
}
