//! What comes before the second round: all that the first left of the lost instances goes, and they are read anew. Each step
//! has no branches where nothing was lost. What they take away is taken away for good, so they have no compensation.

use saga::{Branch, Step};

use super::cut::{delete_volume_snapshot, end_cut};
use super::left_out::{Stage, may_fail};
use super::prepare::{describe_instance, remove_records, write_records};
use super::round::{self, Round, again_plan};
use super::transfer::purge_transfer;
use super::{Ctx, Facts, Params, SnapshotCreate, temporary};
use crate::sagas::catalog_op::CatalogOp;
use crate::sagas::{Output, answer, budget, records};

fn once_if_lost(_: &Params, facts: &Facts) -> Branch {
    round::count(usize::from(!facts.again.instances.is_empty()))
}

// purge_lost_transfers

/// All disks of a lost instance go, also those that arrived: its disks are of one point in time, or of none.
pub(super) fn purge_lost_transfers() -> Step<SnapshotCreate> {
    Step::new("purge_lost_transfers")
        .branches(|_: &Params, facts: &Facts| round::count(transfers_lost(facts).len()))
        .action(|ctx: &Ctx, branch| {
            let transfer = transfers_lost(ctx.facts)[usize::from(branch)];
            let place = ctx.facts.first.disks_cut()[usize::from(transfer)].instance_index;
            let remote = purge_transfer(ctx, Round::First, transfer);
            may_fail(ctx, place, budget::MOVER_CALL_ATTEMPTS, remote).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            let transfer = transfers_lost(facts)[usize::from(branch)];
            let place = facts.first.disks_cut()[usize::from(transfer)].instance_index;
            facts.again.note_failure(place, Stage::Purge, output);
        })
        .attempts_max(budget::MOVER_CALL_ATTEMPTS)
        .deadline(budget::DISPATCH_DEADLINE)
}

/// The branches of `transfer_disks` that were for lost instances.
fn transfers_lost(facts: &Facts) -> Vec<Branch> {
    let lost = facts.lost_instances();
    let numbered = (0..).zip(facts.first.disks_cut());
    numbered.filter(|(_, disk)| lost.contains(&disk.instance_index)).map(|(branch, _)| branch).collect()
}

// end_lost_cuts

pub(super) fn end_lost_cuts() -> Step<SnapshotCreate> {
    Step::new("end_lost_cuts")
        .branches(|_: &Params, facts: &Facts| round::count(cuts_lost(facts).len()))
        .action(|ctx: &Ctx, branch| {
            let place = cuts_lost(ctx.facts)[usize::from(branch)];
            let remote = end_cut(ctx, Round::First, place, false);
            may_fail(ctx, place, budget::MOVER_CALL_ATTEMPTS, remote).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            let place = cuts_lost(facts)[usize::from(branch)];
            facts.again.note_failure(place, Stage::Clear, output);
        })
        .attempts_max(budget::MOVER_CALL_ATTEMPTS)
        .deadline(budget::MOVER_CALL_DEADLINE)
}

/// The lost instances with local disks, by their place in `Params`.
fn cuts_lost(facts: &Facts) -> Vec<Branch> {
    let lost = facts.lost_instances();
    facts.first.with_local_disks().into_iter().filter(|place| lost.contains(place)).collect()
}

// delete_lost_temporary_volumes

/// Before their volume snapshots, which some storage keeps as long as there is a volume made of them.
pub(super) fn delete_lost_temporary_volumes() -> Step<SnapshotCreate> {
    Step::new("delete_lost_temporary_volumes")
        .branches(|_: &Params, facts: &Facts| round::count(temporary_volumes_lost(facts).len()))
        .action(|ctx: &Ctx, branch| {
            let (volume, place) = temporary_volumes_lost(ctx.facts)[usize::from(branch)];
            let remote = temporary::delete(ctx, Round::First, volume);
            may_fail(ctx, place, budget::CLOUD_CALL_ATTEMPTS, remote).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            let (_, place) = temporary_volumes_lost(facts)[usize::from(branch)];
            facts.again.note_failure(place, Stage::Clear, output);
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

/// The branches of `create_temporary_volumes` that were for lost instances, and the places of these. Where a transfer could not be
/// taken back, its volume may still be connected: it goes behind the pivot, after another purge.
fn temporary_volumes_lost(facts: &Facts) -> Vec<(Branch, Branch)> {
    let lost = facts.lost_instances();
    let is_free = |place: Branch| lost.contains(&place) && facts.again.is_in(place, Stage::Clear);
    temporary::all(&facts.first).into_iter().filter(|(_, place)| is_free(*place)).collect()
}

// delete_lost_volume_snapshots

/// Before the second cut, so that a volume never bears more than its base and one of ours: what the quotas were asked for.
pub(super) fn delete_lost_volume_snapshots() -> Step<SnapshotCreate> {
    Step::new("delete_lost_volume_snapshots")
        .branches(|_: &Params, facts: &Facts| round::count(volume_snapshots_lost(facts).len()))
        .action(|ctx: &Ctx, branch| {
            let volume = volume_snapshots_lost(ctx.facts)[usize::from(branch)];
            let place = ctx.facts.first.volumes()[usize::from(volume)].0.instance_index;
            let remote = delete_volume_snapshot(ctx, Round::First, volume);
            may_fail(ctx, place, budget::CLOUD_CALL_ATTEMPTS, remote).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            let volume = volume_snapshots_lost(facts)[usize::from(branch)];
            let place = facts.first.volumes()[usize::from(volume)].0.instance_index;
            facts.again.note_failure(place, Stage::Clear, output);
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

/// The branches of `create_volume_snapshots` that were for lost instances.
fn volume_snapshots_lost(facts: &Facts) -> Vec<Branch> {
    let lost = facts.lost_instances();
    let numbered = (0..).zip(facts.first.volumes());
    numbered.filter(|(_, (disk, _))| lost.contains(&disk.instance_index)).map(|(branch, _)| branch).collect()
}

// describe_lost_instances

pub(super) fn describe_lost_instances() -> Step<SnapshotCreate> {
    Step::new("describe_lost_instances")
        .branches(|params: &Params, facts: &Facts| {
            round::count(facts.to_describe(Round::Again, params).len())
        })
        .action(|ctx: &Ctx, branch| {
            let place = ctx.facts.to_describe(Round::Again, ctx.params)[usize::from(branch)];
            describe_instance(ctx, place).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            let place = facts.lost_to_describe()[usize::from(branch)];
            facts.again.note_failure(place, Stage::Describe, output);
            facts.again.instances.extend(answer::instance(output).map(|instance| (place, instance)));
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

// acquire_lineage_leases_again

/// Disks may have come. What is leased already stays so; `release_lineage_leases` gives all of it back.
pub(super) fn acquire_lineage_leases_again() -> Step<SnapshotCreate> {
    Step::new("acquire_lineage_leases_again")
        .branches(once_if_lost)
        .action(|ctx: &Ctx, _| {
            let instances = ctx.facts.again.instances.values().cloned().collect();
            CatalogOp::AcquireLineagesAgain { params: ctx.params.clone(), instances }.into()
        })
        .learn(|facts: &mut Facts, _, output: &Output| {
            facts.again.lineages = answer::lineages_acquired(output);
        })
        .attempts_max(budget::LEASE_ATTEMPTS)
}

// write_first_records_again

pub(super) fn write_first_records_again() -> Step<SnapshotCreate> {
    Step::new("write_first_records_again")
        .branches(once_if_lost)
        .action(|ctx: &Ctx, _| write_records(ctx, records::first(&again_plan(ctx))))
        .undo("remove_records", |ctx: &Ctx, _| remove_records(ctx, records::names_new(&again_plan(ctx))))
        .attempts_max(budget::TARGET_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}
