//! `restore_new`: brings instances of a snapshot back as new ones, one-click or selective.
//!
//! When it starts, the restore's row says `restoring`. Each step stands beside what takes it back:
//!
//! | step | leaves | taken back by |
//! |---|---|---|
//! | `pin_snapshot` | the snapshot is `restoring` and cannot be deleted | `end_restore`: unpinned, `error` or `cancelled`, a fact told |
//! | `check_plan` | nothing | - |
//! | `check_quotas` | nothing | - |
//! | `create_volumes` | empty volumes, tagged | `delete_volumes` |
//! | `write_disks` | bytes in those volumes | `abort_writes`; the volumes go with the step before |
//! | `create_instances` | running instances, tagged | `delete_instances` |
//! | **`record_restore`** | the pivot: the restore is `available` | never |
//! | `release` | the snapshot unpinned, a fact told | |
//!
//! Why this order. What cannot work is refused before anything is made. Volumes are written and read back before an
//! instance exists: the cloud starts an instance as it creates it, and one that booted from half a disk would change it.
//! So the instance comes last, and with it the restore is complete; all that came before can be taken away again.
//! What instances looked like is read from the catalog: records on the target serve a lost catalog only.

use std::collections::BTreeMap;
use std::time::Duration;

use cloud::Tag;
use model::{InstanceId, ProjectId, RestoreId, SnapshotId, TargetId, VolumeId, WorkloadId};
use proto::cmd::v1::planned::Kind;
use proto::cmd::v1::{self as cmd, PlannedInstance, PlannedVolume};
use proto::convert::PlacedAt;
use saga::{Branch, Direction, Saga, Step, Steps};
use serde::{Deserialize, Serialize};

use super::answer;
use super::budget;
use super::catalog_op::{
    CatalogOp, PinnedDisk, PinnedInstance, RestoreRecord, RestoredDisk, SnapshotPinned, Written,
};
use super::remote::Remote;
use super::{Output, Request, job_id};

/// The definition.
#[derive(Debug)]
pub struct RestoreNew;

type Ctx<'a> = saga::Ctx<'a, RestoreNew>;

/// What is to be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    pub project_id: ProjectId,
    pub workload_id: WorkloadId,
    pub snapshot_id: SnapshotId,
    pub restore_id: RestoreId,
    pub target_id: TargetId,
    /// Under the old names, and only when no original exists any more.
    pub one_click: bool,
    /// At least one.
    pub instances: Vec<RestoreInstance>,
}

/// One instance of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreInstance {
    /// The original's id, as in the snapshot.
    pub instance_id: InstanceId,
    pub new_name: String,
}

/// What the steps learned. Maps are by branch: by disk as in `Facts::disks`, or by instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pinned: Option<SnapshotPinned>,
    volumes: BTreeMap<Branch, VolumeId>,
    written: BTreeMap<Branch, Written>,
    new_instances: BTreeMap<Branch, InstanceId>,
}

impl Saga for RestoreNew {
    const KIND: &'static str = "restore_new";
    const VERSION: u32 = 2;
    const DEADLINE: Duration = budget::JOB_DEADLINE;
    type Params = Params;
    type Facts = Facts;
    type Request = Request;
    type Output = Output;

    fn steps() -> Steps<Self> {
        Steps::new()
            .step(pin_snapshot())
            .step(check_plan())
            .step(check_quotas())
            .step(create_volumes())
            .step(write_disks())
            .step(create_instances())
            .pivot(record_restore()) // behind this line: forward, never back
            .forward(release())
    }
}

// pin_snapshot

fn pin_snapshot() -> Step<RestoreNew> {
    Step::new("pin_snapshot")
        .action(|ctx: &Ctx, _| CatalogOp::PinSnapshot(ctx.params.clone()).into())
        .learn(|facts: &mut Facts, _, output: &Output| {
            facts.pinned = answer::snapshot_pinned(output);
        })
        .undo("end_restore", |ctx: &Ctx, _| {
            let is_pinned = ctx.facts.pinned.is_some();
            CatalogOp::EndRestore { params: ctx.params.clone(), is_pinned }.into()
        })
}

// check_plan

/// Refuses with `ORIGINAL_EXISTS` or `NAME_TAKEN`, naming the instance, or with `VOLUME_NOT_WRITABLE`, naming disks and types.
fn check_plan() -> Step<RestoreNew> {
    Step::new("check_plan")
        .action(|ctx: &Ctx, _| {
            let instances = &ctx.params.instances;
            let originals = instances.iter().map(|instance| instance.instance_id.to_string());
            let command = cmd::CheckRestorePlan {
                project_id: ctx.params.project_id.to_string(),
                user_id: user_id(ctx),
                absent_instance_ids: originals.filter(|_| ctx.params.one_click).collect(),
                unwritable_disks: unwritable_disks(ctx.facts),
                new_names: instances.iter().map(|instance| instance.new_name.clone()).collect(),
                ..Default::default()
            };
            Remote::cloud(command, "the restore plan").into()
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

/// Their new volumes would be of the same type, and so of the same storage.
fn unwritable_disks(facts: &Facts) -> Vec<String> {
    let disks = facts.instances().iter().flat_map(|instance| {
        instance.description.disks_to_back_up().map(move |disk| (&instance.description.name, disk))
    });
    let unwritable = disks.filter_map(|(instance, disk)| {
        let kind = disk.volume.connects_by.as_ref()?;
        let (device, volume_type) = (&disk.device, &disk.volume_type);
        Some(format!("disk {device} of instance {instance} (volume type {volume_type}, {kind})"))
    });
    unwritable.collect()
}

// check_quotas

/// Refuses with `QUOTA_TOO_SMALL` before anything is made.
fn check_quotas() -> Step<RestoreNew> {
    Step::new("check_quotas")
        .action(|ctx: &Ctx, _| {
            let volumes = ctx.facts.disks().map(|(_, disk)| {
                let (volume_type, size_bytes) = (disk.volume_type.clone(), disk.size.0);
                Kind::Volume(PlannedVolume { volume_type, size_bytes })
            });
            let instances = ctx.facts.instances().iter().map(|instance| {
                let flavor = &instance.description.flavor;
                Kind::Instance(PlannedInstance { vcpus: flavor.vcpus, ram_mib: flavor.ram_mib })
            });
            Remote::check_quotas(&ctx.params.project_id, user_id(ctx), volumes.chain(instances)).into()
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

// create_volumes

const CREATE_VOLUMES: &str = "create_volumes";

fn create_volumes() -> Step<RestoreNew> {
    Step::new(CREATE_VOLUMES)
        .branches(|_: &Params, facts: &Facts| facts.disk_count())
        .action(|ctx: &Ctx, branch| {
            let (instance, disk) = disk(ctx, branch);
            let command = cmd::CreateVolume {
                project_id: ctx.params.project_id.to_string(),
                user_id: user_id(ctx),
                name: format!("{}-{}", instance.new_name, disk.device),
                size_bytes: disk.size.0,
                volume_type: disk.volume_type.clone(),
                disk_format: disk.format.as_str().to_owned(),
                tag: tag(ctx, CREATE_VOLUMES, branch),
                bootable: disk.bootable,
                image_properties: disk.image_properties.clone(),
                ..Default::default()
            };
            Remote::cloud(command, disk_subject(ctx, branch)).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            facts.volumes.extend(answer::created(output).map(|id| (branch, id)));
        })
        .undo("delete_volumes", |ctx: &Ctx, branch| {
            let command = cmd::DeleteVolume {
                project_id: ctx.params.project_id.to_string(),
                user_id: user_id(ctx),
                tag: tag(ctx, CREATE_VOLUMES, branch),
                looks_twice: !ctx.facts.volumes.contains_key(&branch),
                ..Default::default()
            };
            Remote::cloud(command, disk_subject(ctx, branch)).into()
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

// write_disks

const WRITE_DISKS: &str = "write_disks";

fn write_disks() -> Step<RestoreNew> {
    Step::new(WRITE_DISKS)
        .branches(|_: &Params, facts: &Facts| facts.disk_count())
        .action(write_disk)
        .learn(|facts: &mut Facts, branch, output: &Output| {
            facts.written.extend(answer::written(output).map(|figures| (branch, figures)));
        })
        .undo("abort_writes", |ctx: &Ctx, branch| {
            let write_job = job_id(ctx.saga_id, WRITE_DISKS, branch, Direction::Action);
            let command = cmd::AbortWrite { write_job_id: write_job.to_string(), ..Default::default() };
            // Where nobody was ever granted the job, nobody writes: any datamover may bar it.
            let otherwise = PlacedAt::Target(ctx.params.target_id);
            Remote::where_it_ran(write_job, otherwise, command, disk_subject(ctx, branch)).into()
        })
        .attempts_max(budget::TRANSFER_ATTEMPTS)
        .deadline(budget::DISPATCH_DEADLINE)
}

fn write_disk(ctx: &Ctx, branch: Branch) -> Request {
    let (instance, disk) = disk(ctx, branch);
    let volume_id = ctx.facts.volumes[&branch];
    let command = cmd::WriteDisk {
        restore_id: ctx.params.restore_id.to_string(),
        snapshot_id: ctx.params.snapshot_id.to_string(),
        instance_id: instance.instance_id.to_string(),
        disk_id: disk.disk_id.to_string(),
        target_id: ctx.params.target_id.to_string(),
        lineage_id: disk.lineage_id.to_string(),
        destination_volume_id: volume_id.to_string(),
        ..Default::default()
    };
    Remote::placed(PlacedAt::Volume(volume_id), command, disk_subject(ctx, branch)).into()
}

// create_instances

const CREATE_INSTANCES: &str = "create_instances";

fn create_instances() -> Step<RestoreNew> {
    Step::new(CREATE_INSTANCES)
        .branches(|params: &Params, _: &Facts| branch_of(params.instances.len()))
        .action(|ctx: &Ctx, branch| {
            let instance = &ctx.facts.instances()[usize::from(branch)];
            let description = serde_json::to_vec(&instance.description).expect("a description is plain data");
            let command = cmd::CreateInstance {
                project_id: ctx.params.project_id.to_string(),
                user_id: user_id(ctx),
                name: instance.new_name.clone(),
                description,
                volume_ids: volumes_of(ctx, branch),
                tag: tag(ctx, CREATE_INSTANCES, branch),
                ..Default::default()
            };
            Remote::cloud(command, instance_subject(ctx, branch)).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            facts.new_instances.extend(answer::created(output).map(|id| (branch, id)));
        })
        .undo("delete_instances", |ctx: &Ctx, branch| {
            let command = cmd::DeleteInstance {
                project_id: ctx.params.project_id.to_string(),
                user_id: user_id(ctx),
                tag: tag(ctx, CREATE_INSTANCES, branch),
                looks_twice: !ctx.facts.new_instances.contains_key(&branch),
                ..Default::default()
            };
            Remote::cloud(command, instance_subject(ctx, branch)).into()
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

// record_restore: the pivot

fn record_restore() -> Step<RestoreNew> {
    Step::new("record_restore").action(|ctx: &Ctx, _| {
        let facts = ctx.facts;
        let disks = facts.disks().enumerate().map(|(index, (instance, disk))| RestoredDisk {
            instance_id: instance.instance_id,
            disk_id: disk.disk_id.clone(),
            volume_id: facts.volumes[&branch_of(index)],
            written: facts.written.get(&branch_of(index)).cloned().unwrap_or_default(),
        });
        let originals = facts.instances().iter().map(|instance| instance.instance_id);
        let instances = originals.zip(facts.new_instances.values().copied());
        let record = RestoreRecord { instances: instances.collect(), disks: disks.collect() };
        CatalogOp::RecordRestore { params: ctx.params.clone(), record }.into()
    })
}

// release

fn release() -> Step<RestoreNew> {
    Step::new("release").action(|ctx: &Ctx, _| CatalogOp::ReleaseRestore(ctx.params.clone()).into())
}

// What the steps above read of the facts.

impl Facts {
    /// None before the snapshot is pinned.
    fn instances(&self) -> &[PinnedInstance] {
        self.pinned.as_ref().map(|pinned| pinned.instances.as_slice()).unwrap_or_default()
    }

    /// All disks, instance by instance, in boot order.
    fn disks(&self) -> impl Iterator<Item = (&PinnedInstance, &PinnedDisk)> {
        self.instances().iter().flat_map(|instance| instance.disks.iter().map(move |disk| (instance, disk)))
    }

    fn disk_count(&self) -> Branch {
        branch_of(self.disks().count())
    }
}

/// Panics: never for what the snapshot recorded: it had fewer disks than branches.
fn branch_of(index: usize) -> Branch {
    Branch::try_from(index).expect("a snapshot has fewer than 65536 disks")
}

/// On whose behalf all is made.
fn user_id(ctx: &Ctx) -> String {
    let pinned = ctx.facts.pinned.as_ref().expect("the cloud is asked once the snapshot is pinned");
    pinned.workload_user_id.to_string()
}

fn disk<'a>(ctx: &Ctx<'a>, branch: Branch) -> (&'a PinnedInstance, &'a PinnedDisk) {
    ctx.facts.disks().nth(usize::from(branch)).expect("branches are counted over the same disks")
}

/// The new volumes of an instance, in boot order.
fn volumes_of(ctx: &Ctx, instance: Branch) -> Vec<String> {
    let before = ctx.facts.instances().iter().take(usize::from(instance));
    let first: usize = before.map(|instance| instance.disks.len()).sum();
    let count = ctx.facts.instances()[usize::from(instance)].disks.len();
    (first..first + count).map(|index| ctx.facts.volumes[&branch_of(index)].to_string()).collect()
}

fn disk_subject(ctx: &Ctx, branch: Branch) -> String {
    let (instance, disk) = disk(ctx, branch);
    format!("disk {} of instance {}", disk.device, instance.new_name)
}

fn instance_subject(ctx: &Ctx, branch: Branch) -> String {
    format!("instance {}", ctx.params.instances[usize::from(branch)].new_name)
}

/// Finds the effect of a branch, whether or not anybody heard of its making.
fn tag(ctx: &Ctx, step: &str, branch: Branch) -> String {
    Tag::new(ctx.saga_id, step, branch).as_str().to_owned()
}
