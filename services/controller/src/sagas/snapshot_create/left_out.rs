//! Instances that are not in the snapshot although the workload has them: what failed of them, and when. Where the workload
//! allows it, the others go on (rules in docs/sagas.md, "Partial snapshots").
//!
//! A failure that leaves an instance out is an answer to the step that it happens in, so the machine knows nothing of it. From
//! then on no step has a branch for the instance; the lists that earlier steps made their branches of stay as they were, for
//! their compensations count on them. That is what [`Stage`] is for. What the instance left lies about until the pivot, where
//! the compensations would take it with all the rest, and is taken away behind it: a host that is away for long keeps no
//! other instance from its snapshot.

use std::collections::BTreeSet;

use cloud::InstanceDescription;
use model::{Failure, InstanceId};
use saga::{Branch, Step};
use serde::{Deserialize, Serialize};

use super::cut::end_cut;
use super::given_over::removal;
use super::prepare::remove_records;
use super::round::{self, Round, RoundFacts};
use super::transfer::purge_transfer;
use super::{Ctx, Facts, Params, SnapshotCreate};
use crate::sagas::catalog_op::InstanceFailure;
use crate::sagas::remote::{Remote, Tolerance};
use crate::sagas::{Output, budget, records};

/// When in a round an instance failed, in the order of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// The transfers of the first round are taken back.
    Purge,
    /// What else the first round left of it is taken away.
    Clear,
    Describe,
    DescribeConnector,
    Freeze,
    CutLocalDisks,
    CreateVolumeSnapshots,
    Thaw,
    DescribeAgain,
    Check,
    CreateTemporaryVolumes,
    AttachTemporaryVolumes,
    Transfer,
    Verify,
    /// All that is left is in the snapshot.
    Commit,
}

/// Why an instance is not in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeftOut {
    stage: Stage,
    code: String,
    message: String,
}

impl RoundFacts {
    /// Whether an instance had not failed before this stage of the round.
    pub(super) fn is_in(&self, place: Branch, stage: Stage) -> bool {
        self.left_out.get(&place).is_none_or(|left_out| left_out.stage >= stage)
    }

    /// Remembers that an instance failed, if `output` says so; its first failure counts.
    pub(super) fn note_failure(&mut self, place: Branch, stage: Stage, output: &Output) {
        if let Output::Failed(Failure { code, message, .. }) = output {
            let (code, message) = (code.clone(), message.clone());
            self.left_out.entry(place).or_insert(LeftOut { stage, code, message });
        }
    }

    /// The same of a disk, which its instance's failure then names.
    pub(super) fn note_failure_of_disk(&mut self, disk: Branch, stage: Stage, output: &Output) {
        let Output::Failed(failure) = output else { return };
        let disks = self.disks();
        let disk = disks[usize::from(disk)];
        let (place, message) =
            (disk.instance_index, format!("disk {}: {}", disk.disk.device, failure.message));
        self.note_failure(place, stage, &Output::Failed(Failure { message, ..failure.clone() }));
    }
}

impl Facts {
    pub(super) fn is_left_out(&self, place: Branch) -> bool {
        self.left_out(place).is_some()
    }

    fn left_out(&self, place: Branch) -> Option<&LeftOut> {
        self.again.left_out.get(&place).or_else(|| self.first.left_out.get(&place))
    }

    /// Whether the snapshot would have an instance without this one.
    fn has_others(&self, params: &Params, place: Branch) -> bool {
        (0..round::count(params.instance_ids.len())).any(|other| other != place && !self.is_left_out(other))
    }

    /// Each instance that failed, as far as it is known, in the order of the workload.
    pub(super) fn failures(&self, params: &Params) -> Vec<InstanceFailure> {
        let failure = |(place, id): (Branch, &InstanceId)| {
            let left_out = self.left_out(place)?;
            let names = self.begun.as_ref().map(|begun| &begun.instance_names);
            let described = self.described(place);
            let name = described.map(|instance| &instance.name).or_else(|| names?.get(id));
            Some(InstanceFailure {
                instance_id: *id,
                name: name.cloned().unwrap_or_else(|| id.to_string()),
                code: left_out.code.clone(),
                message: left_out.message.clone(),
                description: described.cloned(),
            })
        };
        (0..).zip(&params.instance_ids).filter_map(failure).collect()
    }

    /// For people: the cut of an instance.
    pub(super) fn cut_subject(&self, place: Branch) -> String {
        let name = self.described(place).map_or("that was left out", |instance| &instance.name);
        format!("the cut of the local disks of instance {name}")
    }

    fn described(&self, place: Branch) -> Option<&InstanceDescription> {
        self.again.instances.get(&place).or_else(|| self.first.instances.get(&place))
    }
}

/// Whether the snapshot goes on when this instance fails: its workload allows it, and it is not the last.
pub(super) fn may_leave_out(ctx: &Ctx, place: Branch) -> bool {
    let allowed = ctx.facts.begun.as_ref().is_some_and(|begun| begun.allow_partial);
    allowed && ctx.facts.has_others(ctx.params, place)
}

/// Work for an instance that may be left out once it failed for good.
pub(super) fn may_fail(ctx: &Ctx, place: Branch, attempts_max: u32, remote: Remote) -> Remote {
    if may_leave_out(ctx, place) { remote.tolerating(Tolerance::of_all(attempts_max)) } else { remote }
}

// purge_left_out_transfers

/// Of either round, also those that arrived; a purge that was done already is done once more.
pub(super) fn purge_left_out_transfers(round: Round) -> Step<SnapshotCreate> {
    Step::new(round.pick("purge_left_out_transfers", "purge_left_out_transfers_again"))
        .branches(move |_: &Params, facts: &Facts| round::count(transfers(facts, round).len()))
        .action(move |ctx: &Ctx, branch| {
            purge_transfer(ctx, round, transfers(ctx.facts, round)[usize::from(branch)]).into()
        })
        .deadline(budget::DISPATCH_DEADLINE)
}

/// The branches of `transfer_disks` that were for instances which are not in the snapshot.
fn transfers(facts: &Facts, round: Round) -> Vec<Branch> {
    let numbered = (0..).zip(facts.round(round).disks_cut());
    let left_out = numbered.filter(|(_, disk)| facts.is_left_out(disk.instance_index));
    left_out.map(|(branch, _)| branch).collect()
}

// end_left_out_cuts

pub(super) fn end_left_out_cuts(round: Round) -> Step<SnapshotCreate> {
    Step::new(round.pick("end_left_out_cuts", "end_left_out_cuts_again"))
        .branches(move |_: &Params, facts: &Facts| round::count(cuts(facts, round).len()))
        .action(move |ctx: &Ctx, branch| {
            removal(end_cut(ctx, round, cuts(ctx.facts, round)[usize::from(branch)], false)).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            facts.note_given_over(output, |facts| facts.cut_subject(cuts(facts, round)[usize::from(branch)]));
        })
        .deadline(budget::MOVER_CALL_DEADLINE)
}

fn cuts(facts: &Facts, round: Round) -> Vec<Branch> {
    let all = facts.round(round).with_local_disks().into_iter();
    all.filter(|place| facts.is_left_out(*place)).collect()
}

// remove_left_out_records

/// Of disks that were never in any snapshot, and are not in this one: their instance failed, or they were detached between
/// the rounds.
pub(super) fn remove_left_out_records() -> Step<SnapshotCreate> {
    Step::new("remove_left_out_records")
        .branches(|_: &Params, facts: &Facts| {
            let is_partial = !facts.first.left_out.is_empty() || !facts.again.left_out.is_empty();
            round::count(usize::from(is_partial || !facts.again.instances.is_empty()))
        })
        .action(|ctx: &Ctx, _| remove_records(ctx, left_out_records(ctx.facts)))
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

fn left_out_records(facts: &Facts) -> Vec<String> {
    let final_disks = facts.final_disks();
    let kept: Vec<_> =
        final_disks.iter().map(|(of, disk)| facts.round(*of).lease(disk.index).lineage_id).collect();
    let leases =
        [&facts.first.lineages, &facts.again.lineages].into_iter().flatten().flat_map(|all| &all.disks);
    let new = leases.filter(|lease| lease.is_new && !kept.contains(&lease.lineage_id));
    let names: BTreeSet<String> = new.map(|lease| records::lineage_record_name(lease.lineage_id)).collect();
    names.into_iter().collect()
}
