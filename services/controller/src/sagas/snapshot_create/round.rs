//! The two rounds of a snapshot: all instances are cut, and those whose point in time was lost once more. What the steps read
//! of the facts of either: instances and disks in their one order, and their subjects.

use std::collections::BTreeMap;

use cloud::{DiskDescription, InstanceDescription, Moment};
use model::{Consistency, InstanceId, VolumeId, VolumeSnapshotId, WorkloadType};
use saga::Branch;
use serde::{Deserialize, Serialize};

use super::left_out::{LeftOut, Stage};
use super::temporary::HostConnector;
use super::{Ctx, Facts, Params};
use crate::sagas::catalog_op::{LineageLease, LineagesAcquired, Transferred};
use crate::sagas::records::RecordPlan;

/// Which round a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    First,
    /// Of the lost instances only.
    Again,
}

/// What one round learned. Maps are by instance, as in `Params`, or by disk, as in `RoundFacts::disks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RoundFacts {
    pub(super) instances: BTreeMap<Branch, InstanceDescription>,
    pub(super) lineages: Option<LineagesAcquired>,
    pub(super) frozen_counts: BTreeMap<Branch, u32>,
    /// Of the local disks, by instance.
    pub(super) cut_moments: BTreeMap<Branch, Moment>,
    /// By disk.
    pub(super) volume_snapshots: BTreeMap<Branch, VolumeSnapshotId>,
    pub(super) thawed_counts: BTreeMap<Branch, u32>,
    pub(super) instances_after: BTreeMap<Branch, InstanceDescription>,
    /// By instance: what changed in its set of disks while it was cut.
    pub(super) changed: BTreeMap<Branch, String>,
    /// By instance: where what is attached for it is read.
    #[serde(default)]
    pub(super) connectors: BTreeMap<Branch, HostConnector>,
    /// By disk.
    #[serde(default)]
    pub(super) temporary_volumes: BTreeMap<Branch, VolumeId>,
    /// By disk: how that host connects its temporary volume. Only the host can read it.
    #[serde(default)]
    pub(super) sealed: BTreeMap<Branch, Vec<u8>>,
    /// By disk.
    pub(super) transferred: BTreeMap<Branch, Transferred>,
    /// By disk: how its point in time was lost while it was transferred.
    pub(super) lost: BTreeMap<Branch, String>,
    /// By disk: read back from the target.
    pub(super) verified_digests: BTreeMap<Branch, Vec<u8>>,
    /// By instance: how it failed in this round.
    #[serde(default)]
    pub(super) left_out: BTreeMap<Branch, LeftOut>,
}

/// One disk of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk<'a> {
    /// Its place in the round.
    pub(super) index: Branch,
    /// The place of its instance in `Params`.
    pub(super) instance_index: Branch,
    pub(super) instance: &'a InstanceDescription,
    pub(super) disk: &'a DiskDescription,
}

impl Round {
    /// The name of a step in this round. Names are forever: they are in the log.
    pub(super) const fn pick(self, first: &'static str, again: &'static str) -> &'static str {
        match self {
            Self::First => first,
            Self::Again => again,
        }
    }
}

impl Disk<'_> {
    pub(super) fn subject(&self) -> String {
        format!("disk {} of instance {}", self.disk.device, self.instance.name)
    }
}

impl RoundFacts {
    /// Whether nothing of this round is left to do for an instance, until all are done.
    fn is_through(&self, place: Branch) -> bool {
        let moved =
            |disk: &Disk| self.transferred.contains_key(&disk.index) || self.lost.contains_key(&disk.index);
        let mut own = self.disks().into_iter().filter(|disk| disk.instance_index == place);
        self.left_out.contains_key(&place)
            || self.changed.contains_key(&place)
            || own.all(|disk| moved(&disk))
    }

    /// The instances that had not failed before this stage, which is one behind `Describe`.
    pub(super) fn members(&self, stage: Stage) -> Vec<Branch> {
        self.instances.keys().copied().filter(|place| self.is_in(*place, stage)).collect()
    }

    /// All disks, instance by instance, in boot order.
    pub(super) fn disks(&self) -> Vec<Disk<'_>> {
        let disks = self.instances.iter().flat_map(|(place, instance)| {
            let place = *place;
            instance.disks_to_back_up().map(move |disk| (place, instance, disk))
        });
        let numbered = (0..).zip(disks);
        numbered
            .map(|(index, (instance_index, instance, disk))| Disk { index, instance_index, instance, disk })
            .collect()
    }

    /// The disks that are volumes.
    pub(super) fn volumes(&self) -> Vec<(Disk<'_>, VolumeId)> {
        let is_in = |disk: &Disk| self.is_in(disk.instance_index, Stage::CreateVolumeSnapshots);
        let disks = self.disks().into_iter().filter(is_in);
        disks.filter_map(|disk| disk.disk.volume_id.map(|id| (disk, id))).collect()
    }

    /// The instances that have other disks as well, by their place in `Params`.
    pub(super) fn with_local_disks(&self) -> Vec<Branch> {
        let local = self.disks().into_iter().filter(|disk| disk.disk.volume_id.is_none());
        let mut instances: Vec<Branch> = local.map(|disk| disk.instance_index).collect();
        instances.dedup();
        instances.retain(|place| self.is_in(*place, Stage::CutLocalDisks));
        instances
    }

    /// The disks of an instance that are no volumes.
    pub(super) fn local_disks_of(&self, instance: Branch) -> Vec<Disk<'_>> {
        let is_own = |disk: &Disk| disk.instance_index == instance && disk.disk.volume_id.is_none();
        self.disks().into_iter().filter(is_own).collect()
    }

    /// The disks that have a point in time: whose instance did not change while it was cut.
    pub(super) fn disks_cut(&self) -> Vec<Disk<'_>> {
        let is_cut = |place: Branch| !self.changed.contains_key(&place) && self.is_in(place, Stage::Transfer);
        self.disks().into_iter().filter(|disk| is_cut(disk.instance_index)).collect()
    }

    /// The local disks that arrived without what a record of changes left out, although another disk of their instance proved
    /// it false: their hypervisor kept one record of all.
    pub(super) fn misread(&self) -> Vec<Branch> {
        let local: Vec<_> = self.disks().into_iter().filter(|disk| disk.disk.volume_id.is_none()).collect();
        let arrived = |disk: &Disk| self.transferred.get(&disk.index);
        let is_false = |disk: &Disk| arrived(disk).is_some_and(|it| it.changes_false);
        let went_by_it = |disk: &Disk| {
            self.lease(disk.index).parent_snapshot_id.is_some()
                && arrived(disk).is_some_and(|it| it.full_read_reason.is_none())
        };
        let is_misread = |disk: &&Disk| {
            let mut others = local.iter().filter(|other| other.instance_index == disk.instance_index);
            went_by_it(disk) && others.any(is_false)
        };
        local.iter().filter(is_misread).map(|disk| disk.index).collect()
    }

    pub(super) fn lease(&self, disk: Branch) -> &LineageLease {
        let lineages = self.lineages.as_ref().expect("disks move only once their lineages are leased");
        &lineages.disks[usize::from(disk)]
    }
}

impl Facts {
    pub(super) const fn round(&self, round: Round) -> &RoundFacts {
        match round {
            Round::First => &self.first,
            Round::Again => &self.again,
        }
    }

    pub(super) const fn round_mut(&mut self, round: Round) -> &mut RoundFacts {
        match round {
            Round::First => &mut self.first,
            Round::Again => &mut self.again,
        }
    }

    /// How many of these places are due to be frozen by now: all, or one instance after the other, in the order of the workload.
    pub(super) fn due_to_freeze(&self, round: Round, places: impl IntoIterator<Item = Branch>) -> Branch {
        let known = self.round(round);
        let at_work = known.instances.keys().find(|place| self.is_serial() && !known.is_through(**place));
        let is_due = |place: &Branch| at_work.is_none_or(|at_work| place <= at_work);
        count(places.into_iter().filter(is_due).count())
    }

    /// How many of these places are due for what comes after the freeze. An instance that fails in the middle of its lap does
    /// not let the next one into that lap: it was not frozen in it.
    pub(super) fn due(&self, round: Round, places: impl IntoIterator<Item = Branch>) -> Branch {
        let known = self.round(round);
        // A freeze that failed was answered, too: whether the guest is frozen all the same nobody knows.
        let is_due = |place: &Branch| {
            !self.is_serial()
                || known.frozen_counts.contains_key(place)
                || !known.is_in(*place, Stage::CutLocalDisks)
        };
        count(places.into_iter().filter(is_due).count())
    }

    fn is_serial(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.workload_type == WorkloadType::Serial)
    }

    /// The instances that a round describes, by their place in `Params`.
    pub(super) fn to_describe(&self, round: Round, params: &Params) -> Vec<Branch> {
        match round {
            Round::First => (0..count(params.instance_ids.len())).collect(),
            Round::Again => self.lost_to_describe(),
        }
    }

    pub(super) fn lost_to_describe(&self) -> Vec<Branch> {
        let lost = self.lost_instances().into_iter();
        lost.filter(|place| self.again.is_in(*place, Stage::Describe)).collect()
    }

    /// The instances whose point in time was lost in the first round, and that did not fail otherwise.
    pub(super) fn lost_instances(&self) -> Vec<Branch> {
        let disks = self.first.disks();
        let by_transfer = self.first.lost.keys().map(|disk| disks[usize::from(*disk)].instance_index);
        let mut lost: Vec<Branch> = self.first.changed.keys().copied().chain(by_transfer).collect();
        lost.sort_unstable();
        lost.dedup();
        lost.retain(|place| !self.first.left_out.contains_key(place));
        lost
    }

    /// Whether an instance is in the snapshot as it was in this round.
    pub(super) fn counts(&self, round: Round, instance: Branch) -> bool {
        self.counts_at(Stage::Commit, round, instance)
    }

    fn counts_at(&self, stage: Stage, round: Round, instance: Branch) -> bool {
        self.again.instances.contains_key(&instance) == (round == Round::Again)
            && self.first.is_in(instance, stage)
            && self.again.is_in(instance, stage)
    }

    /// The disks of the snapshot, instance by instance, in boot order, each of the round that counts.
    pub(super) fn final_disks(&self) -> Vec<(Round, Disk<'_>)> {
        self.disks_at(|round, place| self.counts(round, place))
    }

    /// Those that were transferred.
    pub(super) fn disks_to_verify(&self) -> Vec<(Round, Disk<'_>)> {
        self.disks_at(|round, place| self.counts_at(Stage::Verify, round, place))
    }

    /// Those that are described, also of instances that fail.
    fn disks_described(&self) -> Vec<(Round, Disk<'_>)> {
        self.disks_at(|round, place| self.counts_at(Stage::Purge, round, place))
    }

    fn disks_at(&self, counts: impl Fn(Round, Branch) -> bool) -> Vec<(Round, Disk<'_>)> {
        let of = |round| self.round(round).disks().into_iter().map(move |disk| (round, disk));
        let all = of(Round::First).chain(of(Round::Again));
        let mut disks: Vec<_> = all.filter(|(round, disk)| counts(*round, disk.instance_index)).collect();
        disks.sort_by_key(|(_, disk)| (disk.instance_index, disk.index));
        disks
    }

    /// The instances as they were in the round that counts, also those that fail.
    fn instances_described(&self) -> BTreeMap<Branch, &InstanceDescription> {
        let all = self.first.instances.iter().chain(&self.again.instances);
        all.map(|(place, instance)| (*place, instance)).collect()
    }

    /// The instances of the snapshot.
    pub(super) fn final_instances(&self) -> BTreeMap<Branch, &InstanceDescription> {
        let mut all = self.instances_described();
        all.retain(|place, _| !self.is_left_out(*place));
        all
    }

    /// Disks of the snapshot, for messages: see `RoundFacts::misread`.
    pub(super) fn misread(&self) -> Vec<String> {
        let disks = self.final_disks().into_iter();
        let misread = disks.filter(|(round, disk)| self.round(*round).misread().contains(&disk.index));
        misread.map(|(_, disk)| disk.subject()).collect()
    }

    /// An instance is filesystem-consistent only when its thaw really thawed something.
    pub(super) fn consistencies(&self) -> Vec<(InstanceId, Consistency)> {
        let consistency = |place: &Branch| {
            let round = if self.counts(Round::Again, *place) { Round::Again } else { Round::First };
            match self.round(round).thawed_counts.get(place) {
                Some(1..) => Consistency::Filesystem,
                Some(0) | None => Consistency::Crash,
            }
        };
        self.final_instances().iter().map(|(place, instance)| (instance.id, consistency(place))).collect()
    }
}

/// Panics: never for what the app accepted: it bounds instances, and the cloud bounds disks.
pub(super) fn count(count: usize) -> Branch {
    Branch::try_from(count).expect("a workload has fewer than 65536 disks")
}

pub(super) fn instance_id(ctx: &Ctx, place: Branch) -> InstanceId {
    ctx.params.instance_ids[usize::from(place)]
}

pub(super) fn instance_subject(ctx: &Ctx, place: Branch) -> String {
    match ctx.facts.first.instances.get(&place) {
        Some(instance) => format!("instance {}", instance.name),
        None => format!("instance {}", instance_id(ctx, place)),
    }
}

pub(super) fn target_subject(ctx: &Ctx) -> String {
    format!("backup target {}", ctx.params.target_id)
}

/// On whose behalf the cloud is asked.
pub(super) fn user_id(ctx: &Ctx) -> String {
    let begun = ctx.facts.begun.as_ref().expect("the cloud is asked once the snapshot began");
    begun.workload_user_id.to_string()
}

/// What the records say before the second round.
pub(super) fn first_plan<'a>(ctx: &Ctx<'a>) -> RecordPlan<'a> {
    let lineages =
        ctx.facts.first.lineages.as_ref().expect("records are written once the lineages are leased");
    record_plan(ctx, ctx.facts.first.instances.values().collect(), lineages.clone())
}

/// What the records say before the transfers of the second round.
pub(super) fn again_plan<'a>(ctx: &Ctx<'a>) -> RecordPlan<'a> {
    plan_of(ctx, ctx.facts.disks_described(), ctx.facts.instances_described())
}

/// What the records say in the end.
pub(super) fn final_plan<'a>(ctx: &Ctx<'a>) -> RecordPlan<'a> {
    let plan = plan_of(ctx, ctx.facts.final_disks(), ctx.facts.final_instances());
    RecordPlan { left_out: ctx.facts.failures(ctx.params), ..plan }
}

fn plan_of<'a>(
    ctx: &Ctx<'a>,
    disks: Vec<(Round, Disk<'a>)>,
    instances: BTreeMap<Branch, &'a InstanceDescription>,
) -> RecordPlan<'a> {
    let facts = ctx.facts;
    let lineages = facts.first.lineages.as_ref().expect("records are written once the lineages are leased");
    let leases = disks.into_iter().map(|(round, disk)| facts.round(round).lease(disk.index).clone());
    let lineages = LineagesAcquired { disks: leases.collect(), ..*lineages };
    record_plan(ctx, instances.into_values().collect(), lineages)
}

fn record_plan<'a>(
    ctx: &Ctx<'a>,
    instances: Vec<&'a InstanceDescription>,
    lineages: LineagesAcquired,
) -> RecordPlan<'a> {
    let begun = ctx.facts.begun.as_ref().expect("records are written once the snapshot began");
    RecordPlan { params: ctx.params, begun, instances, lineages, left_out: Vec::new() }
}

pub(super) fn text(id: Option<&impl ToString>) -> String {
    id.map(ToString::to_string).unwrap_or_default()
}
