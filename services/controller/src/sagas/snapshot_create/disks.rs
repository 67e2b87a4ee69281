//! What the steps of `snapshot_create` read of its facts: the disks in their one order, and their subjects.

use cloud::{DiskDescription, InstanceDescription, Moment};
use model::{Consistency, InstanceId, SnapshotId, Timestamp, VolumeId};
use proto::common::v1::LocalMoment;
use saga::Branch;

use super::{Ctx, Facts, Params};
use crate::sagas::catalog_op::LineageLease;
use crate::sagas::records::RecordPlan;

/// One disk of the snapshot.
pub(super) struct Disk<'a> {
    pub(super) instance_branch: Branch,
    pub(super) instance: &'a InstanceDescription,
    pub(super) disk: &'a DiskDescription,
}

impl Disk<'_> {
    pub(super) fn subject(&self) -> String {
        format!("disk {} of instance {}", self.disk.device, self.instance.name)
    }
}

impl Facts {
    /// All disks, instance by instance, in boot order.
    pub(super) fn disks(&self) -> impl Iterator<Item = Disk<'_>> {
        self.instances.iter().flat_map(|(branch, instance)| {
            let instance_branch = *branch;
            instance.disks_to_back_up().map(move |disk| Disk { instance_branch, instance, disk })
        })
    }

    /// The disks that are volumes, with their branch among all disks.
    pub(super) fn volumes(&self) -> impl Iterator<Item = (Branch, VolumeId, Disk<'_>)> {
        let numbered = (0..).zip(self.disks());
        numbered.filter_map(|(branch, disk)| disk.disk.volume_id.map(|id| (branch, id, disk)))
    }

    /// The instances that have other disks as well, by branch.
    pub(super) fn with_local_disks(&self) -> Vec<Branch> {
        let mut branches: Vec<Branch> = self.local_disks().map(|(_, disk)| disk.instance_branch).collect();
        branches.dedup();
        branches
    }

    /// The disks that are no volumes, with their branch among all disks.
    fn local_disks(&self) -> impl Iterator<Item = (Branch, Disk<'_>)> {
        (0..).zip(self.disks()).filter(|(_, disk)| disk.disk.volume_id.is_none())
    }

    pub(super) fn disk_count(&self) -> Branch {
        branch_of(self.disks().count())
    }

    /// An instance is filesystem-consistent only when its thaw really thawed something.
    pub(super) fn consistencies(&self) -> Vec<(InstanceId, Consistency)> {
        let consistency = |branch| match self.thawed_counts.get(branch) {
            Some(1..) => Consistency::Filesystem,
            Some(0) | None => Consistency::Crash,
        };
        self.instances.iter().map(|(branch, instance)| (instance.id, consistency(branch))).collect()
    }
}

pub(super) fn per_instance(params: &Params) -> Branch {
    branch_of(params.instance_ids.len())
}

/// Panics: never for what the app accepted: it bounds instances, and the cloud bounds disks.
pub(super) fn branch_of(index: usize) -> Branch {
    Branch::try_from(index).expect("a workload has fewer than 65536 disks")
}

pub(super) fn disk<'a>(ctx: &Ctx<'a>, branch: Branch) -> Disk<'a> {
    ctx.facts.disks().nth(usize::from(branch)).expect("branches are counted over the same disks")
}

/// A disk that is a volume, by its branch among those; with its branch among all.
pub(super) fn volume<'a>(ctx: &Ctx<'a>, branch: Branch) -> (Branch, VolumeId, Disk<'a>) {
    ctx.facts.volumes().nth(usize::from(branch)).expect("branches are counted over the same volumes")
}

/// The branch of an instance that has local disks, by its branch among those.
pub(super) fn with_local_disks(ctx: &Ctx, branch: Branch) -> Branch {
    ctx.facts.with_local_disks()[usize::from(branch)]
}

pub(super) fn local_disk_ids(ctx: &Ctx, instance: Branch) -> Vec<String> {
    let own = ctx.facts.local_disks().filter(|(_, disk)| disk.instance_branch == instance);
    own.map(|(_, disk)| disk.disk.id.to_string()).collect()
}

/// One for the instance: disks that were in no snapshot yet have none, and are read whole.
pub(super) fn base_of_local_disks(ctx: &Ctx, instance: Branch) -> Option<SnapshotId> {
    let mut own = ctx.facts.local_disks().filter(|(_, disk)| disk.instance_branch == instance);
    own.find_map(|(branch, _)| lease(ctx, branch).parent_snapshot_id)
}

pub(super) fn local_moment(ctx: &Ctx, instance: Branch) -> LocalMoment {
    match ctx.facts.cut_moments.get(&instance) {
        Some(Moment::Cut) => LocalMoment::Cut,
        Some(Moment::AsIs) => LocalMoment::AsIs,
        Some(Moment::VolumeSnapshot(_)) | None => LocalMoment::Unspecified,
    }
}

pub(super) fn user_id(ctx: &Ctx) -> String {
    let begun = ctx.facts.begun.as_ref().expect("the cloud is asked once the snapshot began");
    begun.workload_user_id.to_string()
}

pub(super) fn lease(ctx: &Ctx, branch: Branch) -> LineageLease {
    let lineages = ctx.facts.lineages.as_ref().expect("disks move only once their lineages are leased");
    lineages.disks[usize::from(branch)].clone()
}

pub(super) fn instance_subject(ctx: &Ctx, branch: Branch) -> String {
    match ctx.facts.instances.get(&branch) {
        Some(instance) => format!("instance {}", instance.name),
        None => format!("instance {}", ctx.params.instance_ids[usize::from(branch)]),
    }
}

pub(super) fn target_subject(ctx: &Ctx) -> String {
    format!("backup target {}", ctx.params.target_id)
}

pub(super) fn record_plan<'a>(ctx: &Ctx<'a>) -> RecordPlan<'a> {
    RecordPlan {
        params: ctx.params,
        begun: ctx.facts.begun.as_ref().expect("records are written once the snapshot began"),
        instances: ctx.facts.instances.values().collect(),
        lineages: ctx.facts.lineages.as_ref().expect("records are written once the lineages are leased"),
    }
}

pub(super) fn committed_at(ctx: &Ctx) -> Timestamp {
    ctx.facts.committed_at.expect("final records are written once the pivot told when it was")
}

pub(super) fn text(id: Option<&impl ToString>) -> String {
    id.map(ToString::to_string).unwrap_or_default()
}
