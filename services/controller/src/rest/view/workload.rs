//! Workloads.

use std::collections::BTreeMap;

use catalog::{NotificationRow, WorkloadRow};
use model::{SnapshotKind, SnapshotState};
use rest_api::{CloudNotification, StorageUsage, VolumeLeft, Workload, WorkloadInstance, WorkloadSummary};

use super::make_links;
use crate::app::workloads::Parts;

pub(in crate::rest) fn show_workload_summary(row: &WorkloadRow) -> WorkloadSummary {
    WorkloadSummary {
        id: row.id,
        name: row.name.clone(),
        description: row.description.clone(),
        project_id: row.project_id.clone(),
        user_id: row.user_id.to_string(),
        status: row.status.to_string(),
        backup_target_id: row.target_id,
        workload_type_id: rest_api::workload_type_id(row.workload_type).to_owned(),
        snapshots_info: String::new(),
        error_msg: row.error_message.clone(),
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
        links: make_links(&row.project_id, "workloads", &row.id),
    }
}

pub(in crate::rest) fn show_workload(parts: &Parts) -> Workload {
    let instance = |row: &catalog::WorkloadInstanceRow| WorkloadInstance {
        id: row.instance_id,
        name: row.name.clone(),
        metadata: BTreeMap::new(),
    };
    Workload {
        summary: show_workload_summary(&parts.row),
        instances: parts.instances.iter().map(instance).collect(),
        jobschedule: serde_json::json!({ "enabled": false }),
        metadata: BTreeMap::new(),
        keep_base: parts.row.keep_base,
        volumes_left: parts.volumes_left.iter().map(show_volume_left).collect(),
        allow_partial: parts.row.allow_partial,
        workload_type: parts.row.workload_type,
        storage_usage: sum_up(parts),
        notifications: parts.notifications.iter().map(show_notification).collect(),
    }
}

fn show_notification(row: &NotificationRow) -> CloudNotification {
    CloudNotification {
        happened_at: row.happened_at.into(),
        change: row.change,
        subject: row.subject_kind.to_string(),
        subject_id: row.subject_id,
        detail: row.detail.clone(),
    }
}

fn show_volume_left(row: &catalog::VolumeLeftRow) -> VolumeLeft {
    VolumeLeft {
        id: row.volume_id,
        name: row.name.clone(),
        instance_id: row.instance_id,
        found_at: row.found_at.into(),
    }
}

fn sum_up(parts: &Parts) -> StorageUsage {
    let mut usage = StorageUsage::default();
    let committed = |state| matches!(state, SnapshotState::Available | SnapshotState::Restoring);
    for snapshot in parts.snapshots.iter().filter(|snapshot| committed(snapshot.status)) {
        let of_kind = match snapshot.kind {
            SnapshotKind::Full => &mut usage.full,
            SnapshotKind::Incremental => &mut usage.incremental,
        };
        of_kind.snap_count += 1;
        of_kind.usage += snapshot.bytes_stored.0;
        usage.usage += snapshot.bytes_stored.0;
    }
    usage
}
