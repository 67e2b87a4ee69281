//! Snapshots.

use std::collections::BTreeMap;

use catalog::{SnapshotDiskRow, SnapshotInstanceRow, WorkloadInstanceRow};
use cloud::{DiskDescription, InstanceDescription};
use model::{ByteCount, SnapshotState};
use rest_api::{Snapshot, SnapshotDisk, SnapshotInstance, SnapshotSummary};
use serde_json::{Value, json};

use super::{make_links, milliseconds, percent, seconds};
use crate::app::snapshots::Parts;

pub(in crate::rest) fn show_snapshot_summary(parts: &Parts) -> SnapshotSummary {
    let row = &parts.row;
    let disks = &parts.disks;
    let committed = matches!(row.status, SnapshotState::Available | SnapshotState::Restoring);
    let sum = |of: fn(&SnapshotDiskRow) -> ByteCount| disks.iter().map(of).sum::<ByteCount>();
    // While it runs the disks know more than the row; in a list of finished ones there are no disks.
    let size = row.size_bytes.max(sum(|disk| disk.size_bytes));
    SnapshotSummary {
        id: row.id,
        name: row.name.clone(),
        description: row.description.clone(),
        workload_id: row.workload_id,
        project_id: row.project_id.clone(),
        user_id: row.user_id.to_string(),
        snapshot_type: row.kind.as_str().to_owned(),
        status: row.status.to_string(),
        host: String::new(),
        size: size.0,
        uploaded_size: row.bytes_stored.max(sum(|disk| disk.bytes_stored)).0,
        bytes_read: row.bytes_read.max(sum(|disk| disk.bytes_read)).0,
        restore_size: size.0,
        progress_percent: match committed {
            true => 100,
            false => percent(sum(|disk| disk.bytes_done), sum(|disk| disk.bytes_total)).min(99),
        },
        progress_msg: row.progress_message.clone(),
        warning_msg: row.warning_message.clone(),
        error_msg: row.error_message.clone(),
        error_code: row.error_code.clone(),
        consistency: row.consistency.map(|consistency| consistency.as_str().to_owned()),
        saga_id: row.saga_id,
        created_at: row.created_at.into(),
        updated_at: row.updated_at.into(),
        finished_at: row.finished_at.map(Into::into),
        time_taken: seconds(row.created_at, row.finished_at, row.updated_at),
        pinned: row.pins > 0,
        links: make_links(&row.project_id, "snapshots", &row.id),
    }
}

pub(in crate::rest) fn show_snapshot(parts: &Parts) -> Snapshot {
    let known = parts.instances.iter().map(|instance| show_instance(instance, &parts.disks));
    Snapshot {
        summary: show_snapshot_summary(parts),
        parent_snapshot_id: parts.row.parent_snapshot_id,
        instances: known.chain(parts.expected.iter().map(show_expected)).collect(),
        metadata: BTreeMap::new(),
    }
}

fn show_instance(row: &SnapshotInstanceRow, disks: &[SnapshotDiskRow]) -> SnapshotInstance {
    // Written by this controller; where it cannot be read, the rest is still worth showing.
    let description: Option<InstanceDescription> = serde_json::from_str(&row.description_json).ok();
    let of_instance = disks.iter().filter(|disk| disk.instance_id == row.instance_id);
    SnapshotInstance {
        id: row.instance_id,
        name: row.name.clone(),
        status: row.status.to_string(),
        consistency: row.consistency.map(|consistency| consistency.as_str().to_owned()),
        error_code: row.error_code.clone(),
        error_msg: row.error_message.clone(),
        metadata: description.as_ref().map(show_metadata).unwrap_or_default(),
        flavor: description.as_ref().map(show_flavor).unwrap_or_default(),
        nics: description.as_ref().map(show_nics).unwrap_or_default(),
        vdisks: of_instance.map(|disk| show_disk(disk, description.as_ref())).collect(),
    }
}

fn show_expected(row: &WorkloadInstanceRow) -> SnapshotInstance {
    SnapshotInstance {
        id: row.instance_id,
        name: row.name.clone(),
        status: "pending".to_owned(),
        consistency: None,
        error_code: None,
        error_msg: None,
        metadata: BTreeMap::new(),
        flavor: Value::Null,
        nics: Vec::new(),
        vdisks: Vec::new(),
    }
}

fn show_metadata(description: &InstanceDescription) -> BTreeMap<String, Value> {
    let mut metadata: BTreeMap<String, Value> =
        description.metadata.iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))).collect();
    metadata.insert("availability_zone".to_owned(), Value::from(description.availability_zone.clone()));
    metadata
}

fn show_flavor(description: &InstanceDescription) -> Value {
    let flavor = &description.flavor;
    json!({
        "name": flavor.name, "vcpus": flavor.vcpus, "ram": flavor.ram_mib, "disk": flavor.disk_gib,
        "ephemeral": flavor.ephemeral_gib, "swap": flavor.swap_mib,
    })
}

fn show_nics(description: &InstanceDescription) -> Vec<Value> {
    let nic = |port: &cloud::Port| {
        let ip_address = port.fixed_ips.first().map_or("", |address| address.ip_address.as_str());
        json!({ "mac_address": port.mac_address, "ip_address": ip_address, "network": { "name": port.network } })
    };
    description.ports.iter().map(nic).collect()
}

fn show_disk(row: &SnapshotDiskRow, description: Option<&InstanceDescription>) -> SnapshotDisk {
    let disk: Option<&DiskDescription> =
        description.and_then(|description| description.disks.iter().find(|disk| disk.id == row.disk_id));
    SnapshotDisk {
        id: row.disk_id.clone(),
        volume_id: row.volume_id,
        volume_name: row.device.clone(),
        volume_size: row.size_bytes.0.div_ceil(1 << 30),
        volume_type: disk.map(|disk| disk.volume_type.clone()).unwrap_or_default(),
        label: row.device.clone(),
        restore_size: row.size_bytes.0,
        status: row.status.to_string(),
        format: row.format.as_str().to_owned(),
        lineage_id: row.lineage_id,
        parent_snapshot_id: row.parent_snapshot_id,
        bytes_total: row.bytes_total.0,
        bytes_done: row.bytes_done.0,
        bytes_read: row.bytes_read.0,
        bytes_stored: row.bytes_stored.0,
        duration_ms: milliseconds(row.duration),
    }
}
