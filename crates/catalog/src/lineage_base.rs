//! Volume snapshots that are kept as the bases of the next snapshots: one of a lineage at most, of its newest snapshot.

use model::{LineageId, SnapshotId, VolumeSnapshotId};

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
}

statements! {
    INSERT_LINEAGE_BASE = "INSERT INTO lineage_base (lineage_id, snapshot_id, volume_snapshot_id, tag) VALUES (?, ?, ?, ?)";
    GET_LINEAGE_BASE = "SELECT lineage_id, snapshot_id, volume_snapshot_id, tag FROM lineage_base WHERE lineage_id = ?";
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
        let values = values![row.lineage_id, row.snapshot_id, row.volume_snapshot_id, &row.tag];
        self.execute(&INSERT_LINEAGE_BASE, values).await.map(drop)
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
        })
    }
}
