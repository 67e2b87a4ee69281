//! The JSON records that a snapshot leaves on its target: what a person can read there, and what another site rebuilds
//! its catalog from. Rendered here from what the saga knows; written by a cloud worker.

use cloud::{DiskDescription, InstanceDescription};
use model::{LineageId, ObjectName, Timestamp};
use proto::cmd::v1::Record as WireRecord;
use target_format::{
    Digest, DiskRecord, FORMAT_VERSION, InstanceError, InstanceRecord, LineageRecord, Record, SnapshotMarker,
    SnapshotRecord, WorkloadInstance, WorkloadRecord, names,
};

use super::catalog_op::{self, InstanceFailure, LineageLease, LineagesAcquired, SnapshotBegun};
use super::snapshot_create::Params;

/// What the records are made of.
pub(super) struct RecordPlan<'a> {
    pub(super) params: &'a Params,
    pub(super) begun: &'a SnapshotBegun,
    pub(super) instances: Vec<&'a InstanceDescription>,
    pub(super) lineages: LineagesAcquired,
    /// Instances of the workload that are not in the snapshot.
    pub(super) left_out: Vec<InstanceFailure>,
}

/// The records before the first transfer: the snapshot without its results, new lineages, and the workload where the target
/// does not know it yet. A record that other snapshots left is not touched before the pivot: it could not be taken back.
pub(super) fn first(plan: &RecordPlan<'_>) -> Vec<WireRecord> {
    let (workload_id, snapshot_id) = (plan.params.workload_id, plan.params.snapshot_id);
    let workload = plan.lineages.workload_is_new.then(|| plan.workload_record());
    let snapshot = wire(&names::snapshot_record(workload_id, snapshot_id), &plan.snapshot(None));
    let mut records: Vec<WireRecord> = workload.into_iter().chain([snapshot]).collect();
    let new = plan.disks().filter(|(_, _, lease)| lease.is_new);
    records.extend(new.map(|(instance, disk, lease)| {
        wire(&names::lineage_record(lease.lineage_id), &plan.lineage(instance, disk, lease))
    }));
    records
}

/// The names of those first records that were not there before this saga.
pub(super) fn names_new(plan: &RecordPlan<'_>) -> Vec<String> {
    let (workload_id, snapshot_id) = (plan.params.workload_id, plan.params.snapshot_id);
    let workload = plan.lineages.workload_is_new.then(|| names::workload_record(workload_id));
    let new = plan.disks().filter(|(_, _, lease)| lease.is_new);
    let lineages = new.map(|(_, _, lease)| lineage_record_name(lease.lineage_id));
    let all = workload.into_iter().chain([names::snapshot_record(workload_id, snapshot_id)]);
    all.map(|name| name.to_string()).chain(lineages).collect()
}

/// The name of the record that says of which disk a lineage is.
pub(super) fn lineage_record_name(id: LineageId) -> String {
    names::lineage_record(id).to_string()
}

/// The records after the pivot: the workload as it is now, a marker per disk, then the snapshot with its results.
pub(super) fn last(
    plan: &RecordPlan<'_>,
    record: &catalog_op::SnapshotRecord,
    committed_at: Timestamp,
) -> Vec<WireRecord> {
    let markers = record.disks.iter().map(|disk| {
        let name = names::snapshot_marker(disk.lease.lineage_id, plan.params.snapshot_id);
        wire(&name, &plan.marker(disk, record, committed_at))
    });
    let name = names::snapshot_record(plan.params.workload_id, plan.params.snapshot_id);
    let snapshot = wire(&name, &plan.snapshot(Some((record, committed_at))));
    [plan.workload_record()].into_iter().chain(markers).chain([snapshot]).collect()
}

impl<'a> RecordPlan<'a> {
    /// All disks with their lineages, instance by instance, in boot order.
    fn disks(&self) -> impl Iterator<Item = (&'a InstanceDescription, &'a DiskDescription, &LineageLease)> {
        let disks = self
            .instances
            .iter()
            .flat_map(|instance| instance.disks_to_back_up().map(move |disk| (*instance, disk)));
        disks.zip(&self.lineages.disks).map(|((instance, disk), lease)| (instance, disk, lease))
    }

    fn workload_record(&self) -> WireRecord {
        wire(&names::workload_record(self.params.workload_id), &self.workload())
    }

    fn workload(&self) -> WorkloadRecord {
        let saved = self.instances.iter().map(|it| (it.id, &it.name));
        let left_out = self.left_out.iter().map(|it| (it.instance_id, &it.name));
        let instances = saved
            .chain(left_out)
            .map(|(instance_id, name)| WorkloadInstance { instance_id, name: name.clone() });
        WorkloadRecord {
            format: FORMAT_VERSION,
            workload_id: self.params.workload_id,
            project_id: self.params.project_id.clone(),
            user_id: self.begun.workload_user_id.clone(),
            name: self.begun.workload_name.clone(),
            description: self.begun.workload_description.clone(),
            instances: instances.collect(),
            created_at: self.begun.workload_created_at,
            updated_at: self.begun.workload_updated_at,
        }
    }

    fn snapshot(&self, done: Option<(&catalog_op::SnapshotRecord, Timestamp)>) -> SnapshotRecord {
        let instances =
            self.instances.iter().map(|instance| self.instance(instance, done.map(|(record, _)| record)));
        SnapshotRecord {
            format: FORMAT_VERSION,
            snapshot_id: self.params.snapshot_id,
            workload_id: self.params.workload_id,
            project_id: self.params.project_id.clone(),
            user_id: self.begun.snapshot_user_id.clone(),
            name: self.begun.snapshot_name.clone(),
            description: self.begun.snapshot_description.clone(),
            kind: self.lineages.kind,
            consistency: done.map(|(record, _)| record.consistency),
            created_at: self.begun.snapshot_created_at,
            finished_at: done.map(|(_, at)| at),
            instances: instances.chain(self.left_out.iter().map(left_out_record)).collect(),
        }
    }

    fn instance(
        &self,
        instance: &InstanceDescription,
        done: Option<&catalog_op::SnapshotRecord>,
    ) -> InstanceRecord {
        let consistency = done.and_then(|record| {
            record
                .consistencies
                .iter()
                .find(|(id, _)| *id == instance.id)
                .map(|(_, consistency)| *consistency)
        });
        let disks = self.disks().filter(|(of, _, _)| of.id == instance.id);
        InstanceRecord {
            instance_id: instance.id,
            name: instance.name.clone(),
            consistency,
            error: None,
            description: serde_json::to_value(instance).expect("a description is plain data"),
            disks: disks.map(|(_, disk, lease)| disk_record(disk, lease, done)).collect(),
        }
    }

    fn lineage(
        &self,
        instance: &InstanceDescription,
        disk: &DiskDescription,
        lease: &LineageLease,
    ) -> LineageRecord {
        LineageRecord {
            format: FORMAT_VERSION,
            lineage_id: lease.lineage_id,
            target_id: self.params.target_id,
            workload_id: self.params.workload_id,
            instance_id: instance.id,
            disk_id: disk.id.clone(),
            chunk_size: lease.chunk_size,
            created_at: self.begun.snapshot_created_at,
        }
    }

    fn marker(
        &self,
        disk: &catalog_op::DiskRecord,
        record: &catalog_op::SnapshotRecord,
        committed_at: Timestamp,
    ) -> SnapshotMarker {
        SnapshotMarker {
            format: FORMAT_VERSION,
            snapshot_id: self.params.snapshot_id,
            lineage_id: disk.lease.lineage_id,
            workload_id: self.params.workload_id,
            instance_id: disk.instance_id,
            disk_id: disk.disk_id.clone(),
            size: disk.transferred.size,
            manifest_digest: digest(&disk.transferred.manifest_digest)
                .expect("the pivot compared two digests"),
            consistency: record.consistency,
            created_at: self.begun.snapshot_created_at,
            committed_at,
        }
    }
}

fn left_out_record(failure: &InstanceFailure) -> InstanceRecord {
    let InstanceFailure { instance_id, name, code, message, description } = failure;
    InstanceRecord {
        instance_id: *instance_id,
        name: name.clone(),
        consistency: None,
        error: Some(InstanceError { code: code.clone(), message: message.clone() }),
        description: serde_json::to_value(description).expect("a description is plain data"),
        disks: Vec::new(),
    }
}

fn disk_record(
    disk: &DiskDescription,
    lease: &LineageLease,
    done: Option<&catalog_op::SnapshotRecord>,
) -> DiskRecord {
    let result =
        done.and_then(|record| record.disks.iter().find(|it| it.lease.lineage_id == lease.lineage_id));
    DiskRecord {
        disk_id: disk.id.clone(),
        lineage_id: lease.lineage_id,
        volume_id: disk.volume_id,
        device: disk.device.clone(),
        size: result.map_or(disk.size, |it| it.transferred.size),
        disk_format: disk.format,
        chunk_size: lease.chunk_size,
        parent_snapshot_id: lease.parent_snapshot_id,
        full_read_reason: result.and_then(|it| it.transferred.full_read_reason.clone()),
        manifest_digest: result.and_then(|it| digest(&it.transferred.manifest_digest)),
        bytes_stored: result.map(|it| it.transferred.bytes_stored).unwrap_or_default(),
    }
}

/// The digest as the target's records write it; `None`: it has not the length of one.
pub(super) fn digest(bytes: &[u8]) -> Option<Digest> {
    bytes.try_into().ok().map(Digest::new)
}

fn wire(name: &ObjectName, record: &impl Record) -> WireRecord {
    WireRecord { name: name.to_string(), body: record.encode() }
}
