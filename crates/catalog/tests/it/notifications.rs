//! The part of the walk that is about what the cloud tells.

use std::time::Duration;

use catalog::{NotificationRow, SubjectKind, Tx};
use model::{CloudChange, VolumeId, WorkloadId};
use runtime::Entropy;

use crate::fixture::NOW;

pub(crate) async fn walk(tx: &mut Tx, workload_id: WorkloadId, volume_id: VolumeId) {
    assert_eq!(tx.workloads_of_volume(volume_id).await.unwrap(), [workload_id]);
    let mut row = NotificationRow {
        id: Entropy.uuid(),
        workload_id,
        subject_kind: SubjectKind::Volume,
        subject_id: volume_id.uuid(),
        change: CloudChange::Extended,
        detail: "to 2 GiB".to_owned(),
        happened_at: NOW,
    };
    assert!(tx.insert_notification(&row).await.unwrap());
    let first = row.clone();
    // Nova's two forms of one thing, a moment apart.
    (row.id, row.happened_at) = (Entropy.uuid(), NOW.after(Duration::from_secs(2)));
    assert!(!tx.insert_notification(&row).await.unwrap(), "told twice is kept twice");
    assert_eq!(tx.list_notifications(workload_id, 9).await.unwrap(), [first]);
    for number in 0..120 {
        (row.id, row.happened_at) = (Entropy.uuid(), NOW.after(Duration::from_secs(300 * (number + 1))));
        assert!(tx.insert_notification(&row).await.unwrap());
    }
    let kept = tx.list_notifications(workload_id, 1000).await.unwrap();
    assert_eq!((kept.len(), kept[0].clone()), (100, row), "the newest are kept, and no more");
}
