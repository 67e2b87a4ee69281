//! What the cloud told of protected instances and volumes. Told twice is kept once; of each workload the newest are kept.

use std::time::Duration;

use model::{CloudChange, Timestamp, VolumeId, WorkloadId};
use uuid::Uuid;

use crate::error::Result;
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};
use crate::words::SubjectKind;

/// Of one workload.
const KEPT_MAX: u32 = 100;
/// Nova may tell of one thing in two forms, and the times differ a little.
const SAME_WITHIN: Duration = Duration::from_secs(60);

/// One row of `cloud_notification`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationRow {
    pub id: Uuid,
    pub workload_id: WorkloadId,
    pub subject_kind: SubjectKind,
    pub subject_id: Uuid,
    pub change: CloudChange,
    pub detail: String,
    pub happened_at: Timestamp,
}

statements! {
    INSERT_NOTIFICATION = "INSERT INTO cloud_notification (id, workload_id, subject_kind, subject_id, change_word, detail, happened_at) VALUES (?, ?, ?, ?, ?, ?, ?)";
    COUNT_SAME_NOTIFICATIONS = "SELECT COUNT(*) AS found FROM cloud_notification WHERE workload_id = ? AND subject_id = ? AND change_word = ? AND detail = ? AND happened_at BETWEEN ? AND ?";
    LIST_NOTIFICATIONS = "SELECT id, workload_id, subject_kind, subject_id, change_word, detail, happened_at FROM cloud_notification WHERE workload_id = ? ORDER BY happened_at DESC, id DESC LIMIT ?";
    DELETE_OLD_NOTIFICATIONS = "DELETE FROM cloud_notification WHERE workload_id = ? AND happened_at < ?";
    LIST_WORKLOADS_OF_VOLUME = "SELECT DISTINCT snapshot.workload_id AS workload_id FROM snapshot_disk JOIN snapshot ON snapshot.id = snapshot_disk.snapshot_id JOIN workload ON workload.id = snapshot.workload_id WHERE snapshot_disk.volume_id = ? AND workload.status <> 'deleted'";
}

impl Tx {
    /// Keeps what was told; false: it is known already.
    pub async fn insert_notification(&mut self, row: &NotificationRow) -> Result<bool> {
        let (from, until) = (row.happened_at.before(SAME_WITHIN), row.happened_at.after(SAME_WITHIN));
        let same = values![row.workload_id, row.subject_id, row.change, &row.detail, from, until];
        let found = self.fetch_optional(&COUNT_SAME_NOTIFICATIONS, same).await?;
        if found.map(|row| row.number::<u64>("found")).transpose()?.unwrap_or(0) > 0 {
            return Ok(false);
        }
        let values = values![
            row.id,
            row.workload_id,
            row.subject_kind,
            row.subject_id,
            row.change,
            &row.detail,
            row.happened_at
        ];
        self.execute(&INSERT_NOTIFICATION, values).await?;
        let kept = self.list_notifications(row.workload_id, KEPT_MAX).await?;
        if let (KEPT_MAX.., Some(oldest)) = (u32::try_from(kept.len()).unwrap_or(u32::MAX), kept.last()) {
            self.execute(&DELETE_OLD_NOTIFICATIONS, values![row.workload_id, oldest.happened_at]).await?;
        }
        Ok(true)
    }

    /// Shape: the newest first.
    pub async fn list_notifications(&mut self, id: WorkloadId, limit: u32) -> Result<Vec<NotificationRow>> {
        let rows = self.fetch_all(&LIST_NOTIFICATIONS, values![id, i64::from(limit)]).await?;
        rows.iter().map(NotificationRow::read).collect()
    }

    /// Which workloads have snapshots of the volume.
    pub async fn workloads_of_volume(&mut self, id: VolumeId) -> Result<Vec<WorkloadId>> {
        let rows = self.fetch_all(&LIST_WORKLOADS_OF_VOLUME, values![id]).await?;
        rows.iter().map(|row| row.parse("workload_id")).collect()
    }
}

impl NotificationRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.parse("id")?,
            workload_id: row.parse("workload_id")?,
            subject_kind: row.parse("subject_kind")?,
            subject_id: row.parse("subject_id")?,
            change: row.parse("change_word")?,
            detail: row.text("detail")?,
            happened_at: row.time("happened_at")?,
        })
    }
}
