//! Volumes that their cloud meant to delete and could not because of us. They are their users': we only name them.

use model::{InstanceId, Timestamp, VolumeId, WorkloadId};

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};

/// One row of `volume_left`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeLeftRow {
    pub volume_id: VolumeId,
    /// Whose base lay on it.
    pub workload_id: WorkloadId,
    /// With which it was to go.
    pub instance_id: InstanceId,
    pub name: String,
    pub found_at: Timestamp,
}

statements! {
    INSERT_VOLUME_LEFT = "INSERT INTO volume_left (volume_id, workload_id, instance_id, name, found_at) VALUES (?, ?, ?, ?, ?)";
    LIST_VOLUMES_LEFT = "SELECT volume_id, workload_id, instance_id, name, found_at FROM volume_left WHERE (? IS NULL OR workload_id = ?) ORDER BY found_at, volume_id";
    DELETE_VOLUME_LEFT = "DELETE FROM volume_left WHERE volume_id = ?";
}

impl Tx {
    /// Notes a volume; one that is noted already stays as it was.
    pub async fn insert_volume_left(&mut self, row: &VolumeLeftRow) -> Result<()> {
        let values = values![row.volume_id, row.workload_id, row.instance_id, &row.name, row.found_at];
        match self.execute(&INSERT_VOLUME_LEFT, values).await {
            Ok(_) | Err(Error::Duplicate { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Those of a workload, or all. Shape: oldest first.
    pub async fn list_volumes_left(&mut self, workload: Option<WorkloadId>) -> Result<Vec<VolumeLeftRow>> {
        let rows = self.fetch_all(&LIST_VOLUMES_LEFT, values![workload, workload]).await?;
        rows.iter().map(VolumeLeftRow::read).collect()
    }

    /// Forgets a volume: its user deleted it.
    pub async fn delete_volume_left(&mut self, id: VolumeId) -> Result<()> {
        self.execute(&DELETE_VOLUME_LEFT, values![id]).await.map(drop)
    }
}

impl VolumeLeftRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            volume_id: row.parse("volume_id")?,
            workload_id: row.parse("workload_id")?,
            instance_id: row.parse("instance_id")?,
            name: row.text("name")?,
            found_at: row.time("found_at")?,
        })
    }
}
