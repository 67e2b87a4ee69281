//! Restores.

use std::collections::BTreeMap;

use catalog::RestoreDiskRow;
use model::{ByteCount, RestoreState};
use rest_api::{Restore, RestoreDisk, RestoreInstance, RestoreSummary};

use super::{make_links, milliseconds, percent, seconds};
use crate::app::restores::Parts;

pub(in crate::rest) fn show_restore_summary(parts: &Parts) -> RestoreSummary {
    let row = &parts.row;
    let sum = |of: fn(&RestoreDiskRow) -> ByteCount| parts.disks.iter().map(of).sum::<ByteCount>();
    RestoreSummary {
        id: row.id,
        name: row.name.clone(),
        description: row.description.clone(),
        snapshot_id: row.snapshot_id,
        workload_id: row.workload_id,
        project_id: row.project_id.clone(),
        user_id: row.user_id.to_string(),
        restore_type: "restore".to_owned(),
        status: row.status.to_string(),
        host: String::new(),
        size: row.size_bytes.max(sum(|disk| disk.size_bytes)).0,
        uploaded_size: sum(|disk| disk.bytes_written).0,
        progress_percent: match row.status {
            RestoreState::Available => 100,
            _ => percent(sum(|disk| disk.bytes_done), sum(|disk| disk.bytes_total)).min(99),
        },
        progress_msg: row.progress_message.clone(),
        warning_msg: None,
        error_msg: row.error_message.clone(),
        error_code: row.error_code.clone(),
        saga_id: row.saga_id,
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
        finished_at: row.finished_at.map(Into::into),
        time_taken: seconds(row.created_at, row.finished_at, row.updated_at),
        restore_options: serde_json::from_str(&row.options_json).unwrap_or_default(),
        links: make_links(&row.project_id, "restores", &row.id),
    }
}

pub(in crate::rest) fn show_restore(parts: &Parts) -> Restore {
    let instance = |row: &catalog::RestoreInstanceRow| RestoreInstance {
        id: row.new_instance_id,
        name: row.new_name.clone(),
        status: row.status.to_string(),
        metadata: BTreeMap::from([("instance_id".to_owned(), row.instance_id.to_string())]),
    };
    Restore {
        summary: show_restore_summary(parts),
        instances: parts.instances.iter().map(instance).collect(),
        disks: parts.disks.iter().map(show_disk).collect(),
    }
}

fn show_disk(row: &RestoreDiskRow) -> RestoreDisk {
    RestoreDisk {
        instance_id: row.instance_id,
        id: row.disk_id.clone(),
        volume_id: row.volume_id,
        status: row.status.to_string(),
        size: row.size_bytes.0,
        bytes_total: row.bytes_total.0,
        bytes_done: row.bytes_done.0,
        bytes_read: row.bytes_read.0,
        bytes_written: row.bytes_written.0,
        duration_ms: milliseconds(row.duration),
    }
}
