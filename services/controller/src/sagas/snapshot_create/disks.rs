//! What the steps of `snapshot_create` read of its facts: the disks in their one order, and their subjects.

use cloud::{DiskDescription, InstanceDescription};
use model::{Consistency, InstanceId, Timestamp};
use saga::Branch;

use super::{Ctx, Facts, Params};
use crate::sagas::catalog_op::LineageLease;
use crate::sagas::records::RecordPlan;

/// One disk of the snapshot.
pub(super) struct Disk<'a> {
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
        self.instances
            .values()
            .flat_map(|instance| instance.disks.iter().map(move |disk| Disk { instance, disk }))
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
