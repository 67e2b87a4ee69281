//! `snapshot_create`: makes one snapshot of a workload.
//!
//! When it starts, the workload is locked by this saga and the snapshot's row says `creating`. Each step below stands
//! beside what takes it back; a saga that turns back walks the compensations in reverse order. What each leaves behind:
//!
//! | step | leaves | taken back by |
//! |---|---|---|
//! | `begin` | the snapshot is `executing` | `end_snapshot`: `error` or `cancelled`, workload free, a fact told |
//! | `describe_instances` | nothing; `Facts` know the instances | - |
//! | `acquire_lineage_leases` | leases, and lineages of disks never seen before | `release_lineage_leases` |
//! | `write_first_records` | folders and records on the target | `remove_records`: what was not there before |
//! | `freeze_guests` | frozen file systems, for 20 s at most | `thaw_guests` |
//! | `cut_local_disks` | cuts of disks that are no volumes, kept by their hypervisors | `end_cuts` |
//! | `create_volume_snapshots` | volume snapshots in the cloud, tagged | `delete_volume_snapshots` |
//! | `thaw_guests` | nothing; settles the freeze on both paths | - |
//! | `describe_instances_again`, `check_instances` | the snapshot is `uploading` | - |
//! | `transfer_disks` | packs and a manifest per disk, which no snapshot names yet | `purge_transfers` |
//! | `verify_manifests` | nothing | - |
//! | **`record_snapshot`** | the pivot: the snapshot is `available` | never |
//! | `write_final_records` | markers and final records on the target | |
//! | `end_cuts_keeping_changes` | hypervisors as they were, but for their records of changes | |
//! | `delete_volume_snapshots` | the cloud as it was | |
//! | `release` | leases and workload free, a fact told | |
//!
//! Why this order. The target is written to before guests are frozen, so that a target which is away costs no freeze.
//! Guests are frozen only while the cloud cuts; hours of transfer come after the thaw. Users may attach and detach disks
//! meanwhile, so the disks are read again once the cut is done, and a difference fails the snapshot: it never goes on with
//! other bytes. Cuts and volume snapshots go only after the pivot: until then they are the one copy of the point in time.

mod disks;

use std::collections::BTreeMap;
use std::time::Duration;

use cloud::{InstanceDescription, Moment, Tag};
use model::{
    Consistency, InstanceId, ProjectId, SnapshotId, SnapshotKind, TargetId, Timestamp, VolumeSnapshotId,
    WorkloadId,
};
use proto::cmd::v1 as cmd;
use proto::common::v1::LocalMoment;
use proto::convert::PlacedAt;
use proto::rep::v1 as rep;
use saga::{Branch, Direction, Saga, Step, Steps};
use serde::{Deserialize, Serialize};

use super::budget;
use super::catalog_op::{
    CatalogOp, DiskRecord, LineagesAcquired, SnapshotBegun, SnapshotRecord, Transferred,
};
use super::records;
use super::remote::{Codes, NOT_THE_GUEST, Remote, Tolerance};
use super::{Output, Request, answer, job_id};
use disks::{
    base_of_local_disks, branch_of, committed_at, disk, instance_subject, lease, local_disk_ids,
    local_moment, per_instance, record_plan, target_subject, text, user_id, volume, with_local_disks,
};

/// The datamover thaws by its own timer after this long: guests tolerate it, and databases mostly do.
const FREEZE_DURATION_MAX_MS: u32 = 20_000;
/// A guest that does not freeze within this many attempts is cut as it is.
const FREEZE_ATTEMPTS_MAX: u32 = 3;

/// The definition.
#[derive(Debug)]
pub struct SnapshotCreate;

type Ctx<'a> = saga::Ctx<'a, SnapshotCreate>;

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    pub project_id: ProjectId,
    pub workload_id: WorkloadId,
    pub snapshot_id: SnapshotId,
    pub target_id: TargetId,
    pub kind: SnapshotKind,
    /// The instances of the workload at the time of the request.
    pub instance_ids: Vec<InstanceId>,
}

/// What the steps learned. Maps are by branch: by instance as in `Params`, or by disk as in `Facts::disks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    begun: Option<SnapshotBegun>,
    instances: BTreeMap<Branch, InstanceDescription>,
    lineages: Option<LineagesAcquired>,
    frozen_counts: BTreeMap<Branch, u32>,
    /// Of local disks, by instance.
    cut_moments: BTreeMap<Branch, Moment>,
    volume_snapshots: BTreeMap<Branch, VolumeSnapshotId>,
    thawed_counts: BTreeMap<Branch, u32>,
    instances_after: BTreeMap<Branch, InstanceDescription>,
    transferred: BTreeMap<Branch, Transferred>,
    verified_digests: BTreeMap<Branch, Vec<u8>>,
    committed_at: Option<Timestamp>,
}

impl Saga for SnapshotCreate {
    const KIND: &'static str = "snapshot_create";
    const VERSION: u32 = 2;
    const DEADLINE: Duration = budget::JOB_DEADLINE;
    type Params = Params;
    type Facts = Facts;
    type Request = Request;
    type Output = Output;

    fn steps() -> Steps<Self> {
        Steps::new()
            .step(begin())
            .step(describe_instances())
            .step(acquire_lineage_leases())
            .step(write_first_records())
            .step(freeze_guests())
            .step(cut_local_disks())
            .step(create_volume_snapshots())
            .step(thaw_guests())
            .step(describe_instances_again())
            .step(check_instances())
            .step(transfer_disks())
            .step(verify_manifests())
            .pivot(record_snapshot()) // behind this line: forward, never back
            .forward(write_final_records())
            .forward(end_cuts_keeping_changes())
            .forward(delete_volume_snapshots())
            .forward(release())
    }
}

// begin

fn begin() -> Step<SnapshotCreate> {
    Step::new("begin")
        .action(|ctx: &Ctx, _| CatalogOp::BeginSnapshot(ctx.params.clone()).into())
        .learn(|facts: &mut Facts, _, output: &Output| facts.begun = answer::snapshot_begun(output))
        .undo("end_snapshot", |ctx: &Ctx, _| CatalogOp::EndSnapshot(ctx.params.clone()).into())
}

// describe_instances

fn describe_instances() -> Step<SnapshotCreate> {
    Step::new("describe_instances")
        .branches(|params: &Params, _: &Facts| per_instance(params))
        .action(describe_instance)
        .learn(|facts: &mut Facts, branch, output: &Output| {
            facts.instances.extend(answer::instance(output).map(|instance| (branch, instance)));
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

fn describe_instance(ctx: &Ctx, branch: Branch) -> Request {
    let instance_id = ctx.params.instance_ids[usize::from(branch)];
    let command = cmd::DescribeInstance {
        project_id: ctx.params.project_id.to_string(),
        user_id: user_id(ctx),
        instance_id: instance_id.to_string(),
        ..Default::default()
    };
    Remote::cloud(command, instance_subject(ctx, branch)).into()
}

// acquire_lineage_leases

fn acquire_lineage_leases() -> Step<SnapshotCreate> {
    Step::new("acquire_lineage_leases")
        .action(|ctx: &Ctx, _| {
            let instances = ctx.facts.instances.values().cloned().collect();
            CatalogOp::AcquireLineages { params: ctx.params.clone(), instances }.into()
        })
        .learn(|facts: &mut Facts, _, output: &Output| facts.lineages = answer::lineages_acquired(output))
        .undo("release_lineage_leases", |ctx: &Ctx, _| CatalogOp::ReleaseLineages(ctx.params.clone()).into())
        .attempts_max(budget::LEASE_ATTEMPTS)
}

// write_first_records

fn write_first_records() -> Step<SnapshotCreate> {
    Step::new("write_first_records")
        .action(|ctx: &Ctx, _| {
            let command = cmd::WriteRecords {
                target_id: ctx.params.target_id.to_string(),
                records: records::first(&record_plan(ctx)),
                ..Default::default()
            };
            Remote::cloud(command, target_subject(ctx)).into()
        })
        .undo("remove_records", |ctx: &Ctx, _| {
            let command = cmd::RemoveRecords {
                target_id: ctx.params.target_id.to_string(),
                names: records::names_new(&record_plan(ctx)),
                ..Default::default()
            };
            Remote::cloud(command, target_subject(ctx)).into()
        })
        .attempts_max(budget::TARGET_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

// freeze_guests

fn freeze_guests() -> Step<SnapshotCreate> {
    Step::new("freeze_guests")
        .branches(|params: &Params, _: &Facts| per_instance(params))
        .action(|ctx: &Ctx, branch| {
            let instance_id = ctx.params.instance_ids[usize::from(branch)];
            let command = cmd::FreezeGuest {
                instance_id: instance_id.to_string(),
                freeze_duration_max_ms: FREEZE_DURATION_MAX_MS,
                ..Default::default()
            };
            // A guest that will not freeze is cut as it is: the snapshot is then as after a power cut.
            let refused = answer::Answer::GuestFrozen(rep::GuestFrozen { frozen_count: 0 });
            Remote::placed(PlacedAt::Instance(instance_id), command, instance_subject(ctx, branch))
                .tolerating(tolerance(FREEZE_ATTEMPTS_MAX, refused))
                .into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            facts.frozen_counts.extend(answer::frozen_count(output).map(|count| (branch, count)));
        })
        .undo("thaw_guests", thaw_guest)
        .attempts_max(budget::MOVER_CALL_ATTEMPTS)
        .deadline(budget::MOVER_CALL_DEADLINE)
}

// cut_local_disks

const CUT_LOCAL_DISKS: &str = "cut_local_disks";

/// All local disks of an instance at one point in time; no volume snapshot can be made of them.
fn cut_local_disks() -> Step<SnapshotCreate> {
    Step::new(CUT_LOCAL_DISKS)
        .branches(|_: &Params, facts: &Facts| branch_of(facts.with_local_disks().len()))
        .action(|ctx: &Ctx, branch| {
            let instance = with_local_disks(ctx, branch);
            let command = cmd::CutDisks {
                instance_id: ctx.params.instance_ids[usize::from(instance)].to_string(),
                snapshot_id: ctx.params.snapshot_id.to_string(),
                disk_ids: local_disk_ids(ctx, instance),
                base_snapshot_id: text(base_of_local_disks(ctx, instance).as_ref()),
                ..Default::default()
            };
            let at = PlacedAt::Instance(ctx.params.instance_ids[usize::from(instance)]);
            Remote::placed(at, command, instance_subject(ctx, instance)).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            let instance = facts.with_local_disks()[usize::from(branch)];
            facts.cut_moments.extend(answer::disks_cut(output).map(|moment| (instance, moment)));
        })
        .undo("end_cuts", |ctx: &Ctx, branch| end_cut(ctx, branch, false))
        .attempts_max(budget::MOVER_CALL_ATTEMPTS)
        .deadline(budget::MOVER_CALL_DEADLINE)
}

fn end_cut(ctx: &Ctx, branch: Branch, keep_changes: bool) -> Request {
    let instance = with_local_disks(ctx, branch);
    let instance_id = ctx.params.instance_ids[usize::from(instance)];
    let cut_job = job_id(ctx.saga_id, CUT_LOCAL_DISKS, branch, Direction::Action);
    let command = cmd::EndCut {
        instance_id: instance_id.to_string(),
        snapshot_id: ctx.params.snapshot_id.to_string(),
        keep_changes,
        cut_job_id: cut_job.to_string(),
        ..Default::default()
    };
    // Where nobody cut and the instance is gone, there is nothing to end.
    let nothing = answer::Answer::Done(rep::Done {});
    let gone = Tolerance { attempts_max: 1, codes: Codes::Only(&["INSTANCE_NOT_FOUND"]), instead: nothing };
    Remote::where_it_ran(cut_job, PlacedAt::Instance(instance_id), command, instance_subject(ctx, instance))
        .tolerating(gone)
        .into()
}

// create_volume_snapshots

fn create_volume_snapshots() -> Step<SnapshotCreate> {
    Step::new(CREATE_VOLUME_SNAPSHOTS)
        .branches(|_: &Params, facts: &Facts| branch_of(facts.volumes().count()))
        .action(|ctx: &Ctx, branch| {
            let (_, volume_id, disk) = volume(ctx, branch);
            let command = cmd::CreateVolumeSnapshot {
                project_id: ctx.params.project_id.to_string(),
                user_id: user_id(ctx),
                volume_id: volume_id.to_string(),
                tag: volume_snapshot_tag(ctx, branch),
                ..Default::default()
            };
            Remote::cloud(command, disk.subject()).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            let disk = facts.volumes().nth(usize::from(branch)).map(|(disk, _, _)| disk);
            facts.volume_snapshots.extend(disk.zip(answer::created(output)));
        })
        .undo("delete_volume_snapshots", delete_volume_snapshots_of)
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

const CREATE_VOLUME_SNAPSHOTS: &str = "create_volume_snapshots";

/// Finds the volume snapshots of a branch, whether or not anybody heard of their making.
fn volume_snapshot_tag(ctx: &Ctx, branch: Branch) -> String {
    Tag::new(ctx.saga_id, CREATE_VOLUME_SNAPSHOTS, branch).as_str().to_owned()
}

// thaw_guests

/// Settles `freeze_guests`: it runs once on either path.
fn thaw_guests() -> Step<SnapshotCreate> {
    Step::new("thaw_guests")
        .settles("freeze_guests")
        .branches(|params: &Params, _: &Facts| per_instance(params))
        .action(thaw_guest)
        .learn(|facts: &mut Facts, branch, output: &Output| {
            facts.thawed_counts.extend(answer::thawed_count(output).map(|count| (branch, count)));
        })
        .attempts_max(budget::MOVER_CALL_ATTEMPTS)
        .deadline(budget::MOVER_CALL_DEADLINE)
}

fn thaw_guest(ctx: &Ctx, branch: Branch) -> Request {
    let instance_id = ctx.params.instance_ids[usize::from(branch)];
    let command = cmd::ThawGuest { instance_id: instance_id.to_string(), ..Default::default() };
    // A guest that will not be thawed thaws by the datamover's timer; nothing proves then that it was frozen in the cut.
    let refused = answer::Answer::GuestThawed(rep::GuestThawed { thawed_count: 0 });
    Remote::placed(PlacedAt::Instance(instance_id), command, instance_subject(ctx, branch))
        .tolerating(tolerance(budget::MOVER_CALL_ATTEMPTS, refused))
        .into()
}

fn tolerance(attempts_max: u32, instead: answer::Answer) -> Tolerance {
    Tolerance { attempts_max, codes: Codes::AllBut(NOT_THE_GUEST), instead }
}

// describe_instances_again, check_instances

fn describe_instances_again() -> Step<SnapshotCreate> {
    Step::new("describe_instances_again")
        .branches(|params: &Params, _: &Facts| per_instance(params))
        .action(describe_instance)
        .learn(|facts: &mut Facts, branch, output: &Output| {
            facts.instances_after.extend(answer::instance(output).map(|instance| (branch, instance)));
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

/// Refuses with `INSTANCE_CHANGED` when a disk came or went while the cloud cut.
fn check_instances() -> Step<SnapshotCreate> {
    Step::new("check_instances").action(|ctx: &Ctx, _| {
        CatalogOp::CheckInstances {
            params: ctx.params.clone(),
            before: ctx.facts.instances.values().cloned().collect(),
            after: ctx.facts.instances_after.values().cloned().collect(),
        }
        .into()
    })
}

// transfer_disks

const TRANSFER_DISKS: &str = "transfer_disks";

fn transfer_disks() -> Step<SnapshotCreate> {
    Step::new(TRANSFER_DISKS)
        .branches(|_: &Params, facts: &Facts| facts.disk_count())
        .action(transfer_disk)
        .learn(|facts: &mut Facts, branch, output: &Output| {
            facts.transferred.extend(answer::transferred(output).map(|figures| (branch, figures)));
        })
        .undo("purge_transfers", purge_transfer)
        .attempts_max(budget::TRANSFER_ATTEMPTS)
        .deadline(budget::DISPATCH_DEADLINE)
}

fn transfer_disk(ctx: &Ctx, branch: Branch) -> Request {
    let (disk, lease) = (disk(ctx, branch), lease(ctx, branch));
    let local_moment = match disk.disk.volume_id {
        Some(_) => LocalMoment::Unspecified,
        None => local_moment(ctx, disk.instance_branch),
    };
    let command = cmd::TransferDisk {
        workload_id: ctx.params.workload_id.to_string(),
        snapshot_id: ctx.params.snapshot_id.to_string(),
        instance_id: disk.instance.id.to_string(),
        disk_id: disk.disk.id.to_string(),
        volume_snapshot_id: text(ctx.facts.volume_snapshots.get(&branch)),
        target_id: ctx.params.target_id.to_string(),
        lineage_id: lease.lineage_id.to_string(),
        lineage_epoch: lease.epoch,
        parent_snapshot_id: text(lease.parent_snapshot_id.as_ref()),
        chunk_size_bytes: lease.chunk_size.0,
        local_moment: local_moment.into(),
        ..Default::default()
    };
    Remote::placed(PlacedAt::Instance(disk.instance.id), command, disk.subject()).into()
}

/// Stops the transfer on the host that has it, bars its late attempts, and removes its objects.
fn purge_transfer(ctx: &Ctx, branch: Branch) -> Request {
    let transfer_job = job_id(ctx.saga_id, TRANSFER_DISKS, branch, Direction::Action);
    let command = cmd::PurgeTransfer {
        transfer_job_id: transfer_job.to_string(),
        snapshot_id: ctx.params.snapshot_id.to_string(),
        target_id: ctx.params.target_id.to_string(),
        lineage_id: lease(ctx, branch).lineage_id.to_string(),
        ..Default::default()
    };
    let otherwise = PlacedAt::Target(ctx.params.target_id);
    Remote::where_it_ran(transfer_job, otherwise, command, disk(ctx, branch).subject()).into()
}

// verify_manifests

fn verify_manifests() -> Step<SnapshotCreate> {
    Step::new("verify_manifests")
        .branches(|_: &Params, facts: &Facts| facts.disk_count())
        .action(|ctx: &Ctx, branch| {
            let command = cmd::VerifyManifest {
                target_id: ctx.params.target_id.to_string(),
                lineage_id: lease(ctx, branch).lineage_id.to_string(),
                snapshot_id: ctx.params.snapshot_id.to_string(),
                ..Default::default()
            };
            let at = PlacedAt::Target(ctx.params.target_id);
            Remote::placed(at, command, disk(ctx, branch).subject()).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            facts.verified_digests.extend(answer::verified_digest(output).map(|digest| (branch, digest)));
        })
        .attempts_max(budget::MOVER_CALL_ATTEMPTS)
        .deadline(budget::MOVER_LONG_DEADLINE)
}

// record_snapshot: the pivot

fn record_snapshot() -> Step<SnapshotCreate> {
    Step::new("record_snapshot")
        .action(|ctx: &Ctx, _| {
            CatalogOp::RecordSnapshot { params: ctx.params.clone(), record: snapshot_record(ctx) }.into()
        })
        .learn(|facts: &mut Facts, _, output: &Output| {
            facts.committed_at = answer::snapshot_committed(output)
        })
}

fn snapshot_record(ctx: &Ctx) -> SnapshotRecord {
    let facts = ctx.facts;
    let disks = facts.disks().enumerate().map(|(index, disk)| {
        let branch = branch_of(index);
        DiskRecord {
            instance_id: disk.instance.id,
            disk_id: disk.disk.id.clone(),
            subject: disk.subject(),
            lease: lease(ctx, branch),
            transferred: facts.transferred.get(&branch).cloned().unwrap_or_default(),
            verified_digest: facts.verified_digests.get(&branch).cloned().unwrap_or_default(),
        }
    });
    let consistencies = facts.consistencies();
    let lowest = consistencies.iter().map(|(_, consistency)| *consistency).min();
    SnapshotRecord {
        consistency: lowest.unwrap_or(Consistency::Crash),
        disks: disks.collect(),
        consistencies,
    }
}

// write_final_records

fn write_final_records() -> Step<SnapshotCreate> {
    Step::new("write_final_records")
        .action(|ctx: &Ctx, _| {
            let command = cmd::WriteRecords {
                target_id: ctx.params.target_id.to_string(),
                records: records::last(&record_plan(ctx), &snapshot_record(ctx), committed_at(ctx)),
                ..Default::default()
            };
            Remote::cloud(command, target_subject(ctx)).into()
        })
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

// end_cuts_keeping_changes

fn end_cuts_keeping_changes() -> Step<SnapshotCreate> {
    Step::new("end_cuts_keeping_changes")
        .branches(|_: &Params, facts: &Facts| branch_of(facts.with_local_disks().len()))
        .action(|ctx: &Ctx, branch| end_cut(ctx, branch, true))
        .deadline(budget::MOVER_CALL_DEADLINE)
}

// delete_volume_snapshots

fn delete_volume_snapshots() -> Step<SnapshotCreate> {
    Step::new("delete_volume_snapshots")
        .branches(|_: &Params, facts: &Facts| branch_of(facts.volumes().count()))
        .action(delete_volume_snapshots_of)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

fn delete_volume_snapshots_of(ctx: &Ctx, branch: Branch) -> Request {
    let command = cmd::DeleteVolumeSnapshots {
        project_id: ctx.params.project_id.to_string(),
        user_id: user_id(ctx),
        tag: volume_snapshot_tag(ctx, branch),
        ..Default::default()
    };
    Remote::cloud(command, volume(ctx, branch).2.subject()).into()
}

// release

fn release() -> Step<SnapshotCreate> {
    Step::new("release").action(|ctx: &Ctx, _| CatalogOp::ReleaseSnapshot(ctx.params.clone()).into())
}
