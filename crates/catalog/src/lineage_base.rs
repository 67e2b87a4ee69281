//! Volume snapshots that are kept as the bases of the next snapshots: one of a lineage at most, of its newest snapshot.

use model::{DiskId, InstanceId, LineageId, SagaId, SnapshotId, VolumeSnapshotId, WorkloadId};

use crate::error::Result;
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};

/// One row of `lineage_base`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineageBaseRow {
    pub lineage_id: LineageId,
    /// Whose point in time it is.
    pub snapshot_id: SnapshotId,
    pub volume_snapshot_id: VolumeSnapshotId,
    /// By which the cloud finds it.
    pub tag: String,
    /// What is recorded as changed since was found to be false.
    pub is_false: bool,
}

/// A base with what the catalog knows of its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBaseRow {
    pub base: LineageBaseRow,
    pub workload_id: WorkloadId,
    pub instance_id: InstanceId,
    pub disk_id: DiskId,
    /// Who works on the lineage.
    pub holder_saga_id: Option<SagaId>,
}

statements! {
    INSERT_LINEAGE_BASE = "INSERT INTO lineage_base (lineage_id, snapshot_id, volume_snapshot_id, tag, is_false) VALUES (?, ?, ?, ?, ?)";
    GET_LINEAGE_BASE = "SELECT lineage_id, snapshot_id, volume_snapshot_id, tag, is_false FROM lineage_base WHERE lineage_id = ?";
    LIST_KEPT_BASES = "SELECT lineage_base.lineage_id AS lineage_id, lineage_base.snapshot_id AS snapshot_id, lineage_base.volume_snapshot_id AS volume_snapshot_id, lineage_base.tag AS tag, lineage_base.is_false AS is_false, lineage.workload_id AS workload_id, lineage.instance_id AS instance_id, lineage.disk_id AS disk_id, lineage.holder_saga_id AS holder_saga_id FROM lineage_base JOIN lineage ON lineage.id = lineage_base.lineage_id WHERE (? IS NULL OR lineage.workload_id = ?) ORDER BY lineage.workload_id, lineage.instance_id, lineage.disk_id";
    DISTRUST_LINEAGE_BASE = "UPDATE lineage_base SET is_false = 1 WHERE lineage_id = ? AND snapshot_id = ?";
    DELETE_LINEAGE_BASE = "DELETE FROM lineage_base WHERE lineage_id = ?";
}

impl Tx {
    pub async fn get_lineage_base(&mut self, id: LineageId) -> Result<Option<LineageBaseRow>> {
        let row = self.fetch_optional(&GET_LINEAGE_BASE, values![id]).await?;
        row.map(|row| LineageBaseRow::read(&row)).transpose()
    }

    /// Puts `row` in the place of the lineage's base; the caller holds the lineage.
    pub async fn set_lineage_base(&mut self, row: &LineageBaseRow) -> Result<()> {
        self.delete_lineage_base(row.lineage_id).await?;
        let is_false = i64::from(row.is_false);
        let values = values![row.lineage_id, row.snapshot_id, row.volume_snapshot_id, &row.tag, is_false];
        self.execute(&INSERT_LINEAGE_BASE, values).await.map(drop)
    }

    /// All that are kept, of one workload or of all. Shape: by workload, instance, disk.
    pub async fn list_kept_bases(&mut self, workload: Option<WorkloadId>) -> Result<Vec<KeptBaseRow>> {
        let rows = self.fetch_all(&LIST_KEPT_BASES, values![workload, workload]).await?;
        rows.iter().map(KeptBaseRow::read).collect()
    }

    /// Notes that what is recorded since this base is false, if the lineage still has it.
    pub async fn distrust_lineage_base(&mut self, id: LineageId, snapshot: SnapshotId) -> Result<()> {
        self.execute(&DISTRUST_LINEAGE_BASE, values![id, snapshot]).await.map(drop)
    }

    /// Forgets the base; without one, nothing changes.
    pub async fn delete_lineage_base(&mut self, id: LineageId) -> Result<()> {
        self.execute(&DELETE_LINEAGE_BASE, values![id]).await.map(drop)
    }
}

impl LineageBaseRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            lineage_id: row.parse("lineage_id")?,
            snapshot_id: row.parse("snapshot_id")?,
            volume_snapshot_id: row.parse("volume_snapshot_id")?,
            tag: row.text("tag")?,
            is_false: row.int("is_false")? != 0,
        })
    }
}

impl KeptBaseRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            base: LineageBaseRow::read(row)?,
            workload_id: row.parse("workload_id")?,
            instance_id: row.parse("instance_id")?,
            disk_id: row.parse("disk_id")?,
            holder_saga_id: row.parse_opt("holder_saga_id")?,
        })
    }
}
