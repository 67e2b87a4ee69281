//! The pivot, and what is left to do behind it: final records, and the cloud as it was, but for what the next snapshot builds on.

use model::{Consistency, KeepBase, Timestamp};
use saga::{Branch, Step};

use super::cut::{delete_tagged, delete_volume_snapshot, end_cut, volume_snapshot_tag};
use super::given_over::removal;
use super::prepare::write_records;
use super::round::{self, Disk, Round, RoundFacts, final_plan};
use super::{Ctx, Facts, Params, SnapshotCreate, temporary};
use crate::sagas::catalog_op::{CatalogOp, DiskRecord, KeptBase, SnapshotRecord, Transferred};
use crate::sagas::{Output, answer, budget, records};

// record_snapshot: the pivot

pub(super) fn record_snapshot() -> Step<SnapshotCreate> {
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
    let disks = facts.final_disks().into_iter().map(|(round, disk)| {
        let known = facts.round(round);
        DiskRecord {
            instance_id: disk.instance.id,
            disk_id: disk.disk.id.clone(),
            subject: disk.subject(),
            lease: known.lease(disk.index).clone(),
            transferred: transferred(known, &disk),
            verified_digest: known.verified_digests.get(&disk.index).cloned().unwrap_or_default(),
            kept_base: kept_base(ctx, round, &disk),
        }
    });
    let consistencies = facts.consistencies();
    let lowest = consistencies.iter().map(|(_, consistency)| *consistency).min();
    SnapshotRecord {
        consistency: lowest.unwrap_or(Consistency::Crash),
        disks: disks.collect(),
        consistencies,
        left_out: facts.failures(ctx.params),
        misread: facts.misread(),
    }
}

fn transferred(known: &RoundFacts, disk: &Disk) -> Transferred {
    let figures = known.transferred.get(&disk.index).cloned().unwrap_or_default();
    // The datamover knows of no base that it was not told of.
    let lease = known.lease(disk.index);
    let is_false = lease.base.as_ref().is_some_and(|base| base.is_false);
    let full_read_reason = match figures.full_read_reason {
        Some(reason) if !is_false => Some(reason),
        reason => lease.base_mismatch().or(reason),
    };
    Transferred { full_read_reason, ..figures }
}

// write_final_records

pub(super) fn write_final_records() -> Step<SnapshotCreate> {
    Step::new("write_final_records")
        .action(|ctx: &Ctx, _| {
            let committed_at: Timestamp =
                ctx.facts.committed_at.expect("final records are written once the pivot told when it was");
            write_records(ctx, records::last(&final_plan(ctx), &snapshot_record(ctx), committed_at))
        })
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

// end_cuts_keeping_changes

pub(super) fn end_cuts_keeping_changes(round: Round) -> Step<SnapshotCreate> {
    Step::new(round.pick("end_cuts_keeping_changes", "end_cuts_again_keeping_changes"))
        .branches(move |_: &Params, facts: &Facts| round::count(cuts(facts, round).len()))
        .action(move |ctx: &Ctx, branch| {
            removal(end_cut(ctx, round, cuts(ctx.facts, round)[usize::from(branch)], true)).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            facts.note_given_over(output, |facts| facts.cut_subject(cuts(facts, round)[usize::from(branch)]));
        })
        .deadline(budget::MOVER_CALL_DEADLINE)
}

/// The instances whose cut of this round is in the snapshot.
fn cuts(facts: &Facts, round: Round) -> Vec<Branch> {
    let all = facts.round(round).with_local_disks().into_iter();
    all.filter(|place| facts.counts(round, *place)).collect()
}

// delete_temporary_volumes

/// Also of instances that failed; those that were lost in the first round are gone since before the second, unless that failed.
pub(super) fn delete_temporary_volumes(round: Round) -> Step<SnapshotCreate> {
    Step::new(round.pick("delete_temporary_volumes", "delete_temporary_volumes_again"))
        .branches(move |_: &Params, facts: &Facts| round::count(temporary_volumes(facts, round).len()))
        .action(move |ctx: &Ctx, branch| {
            removal(temporary::delete(ctx, round, temporary_volumes(ctx.facts, round)[usize::from(branch)]))
                .into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            facts.note_given_over(output, |facts| {
                let volume = temporary_volumes(facts, round)[usize::from(branch)];
                temporary::subject(facts.round(round), volume)
            });
        })
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

fn temporary_volumes(facts: &Facts, round: Round) -> Vec<Branch> {
    let is_there = |place: Branch| facts.counts(round, place) || facts.is_left_out(place);
    let all = temporary::all(facts.round(round)).into_iter();
    all.filter(|(_, place)| is_there(*place)).map(|(branch, _)| branch).collect()
}

// delete_volume_snapshots

/// All of the round, but those that the next snapshot builds on.
pub(super) fn delete_volume_snapshots(round: Round) -> Step<SnapshotCreate> {
    Step::new(round.pick("delete_volume_snapshots", "delete_volume_snapshots_again"))
        .branches(move |_: &Params, facts: &Facts| round::count(unneeded(facts, round).len()))
        .action(move |ctx: &Ctx, branch| {
            let volume = unneeded(ctx.facts, round)[usize::from(branch)];
            removal(delete_volume_snapshot(ctx, round, volume)).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            facts.note_given_over(output, |facts| {
                let volume = unneeded(facts, round)[usize::from(branch)];
                of_volume(&facts.round(round).volumes()[usize::from(volume)].0.subject())
            });
        })
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

/// The branches of `create_volume_snapshots` whose volume snapshot is not kept.
fn unneeded(facts: &Facts, round: Round) -> Vec<Branch> {
    let numbered = (0..).zip(facts.round(round).volumes());
    // Those of the first round that were lost are gone since before the second, unless that failed.
    let is_there =
        |disk: &Disk| facts.counts(round, disk.instance_index) || facts.is_left_out(disk.instance_index);
    let unneeded = numbered.filter(|(_, (disk, _))| is_there(disk) && !is_kept(facts, round, disk));
    unneeded.map(|(branch, _)| branch).collect()
}

/// Whether the volume snapshot of a disk stays as the base of the next snapshot.
fn is_kept(facts: &Facts, round: Round, disk: &Disk) -> bool {
    let keep_base = facts.begun.as_ref().map(|begun| begun.keep_base);
    let transferred = facts.round(round).transferred.get(&disk.index);
    keep_base == Some(KeepBase::Auto)
        && facts.counts(round, disk.instance_index)
        && transferred.is_some_and(|transferred| transferred.keeps_changes)
}

fn kept_base(ctx: &Ctx, round: Round, disk: &Disk) -> Option<KeptBase> {
    let known = ctx.facts.round(round);
    let branch = known.volumes().iter().position(|(volume, _)| volume.index == disk.index)?;
    let volume_snapshot_id = *known.volume_snapshots.get(&disk.index)?;
    is_kept(ctx.facts, round, disk).then(|| KeptBase {
        snapshot_id: ctx.params.snapshot_id,
        volume_snapshot_id,
        tag: volume_snapshot_tag(ctx, round, round::count(branch)),
        is_false: false,
    })
}

// delete_earlier_bases

/// What the snapshot before kept: this one has its own, or keeps none any more.
pub(super) fn delete_earlier_bases() -> Step<SnapshotCreate> {
    Step::new("delete_earlier_bases")
        .branches(|_: &Params, facts: &Facts| round::count(earlier_bases(facts).len()))
        .action(|ctx: &Ctx, branch| {
            let (subject, tag) = earlier_bases(ctx.facts)[usize::from(branch)].clone();
            removal(delete_tagged(ctx, tag, subject)).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            facts.note_given_over(output, |facts| of_volume(&earlier_bases(facts)[usize::from(branch)].0));
        })
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

/// Subject and tag of each.
fn earlier_bases(facts: &Facts) -> Vec<(String, String)> {
    let base = |(round, disk): &(Round, Disk)| {
        let base = facts.round(*round).lease(disk.index).base.as_ref();
        base.map(|base| (disk.subject(), base.tag.clone()))
    };
    facts.final_disks().iter().filter_map(base).collect()
}

// find_orphaned_bases, delete_orphaned_bases

pub(super) fn find_orphaned_bases() -> Step<SnapshotCreate> {
    Step::new("find_orphaned_bases")
        .action(|ctx: &Ctx, _| {
            let instances = ctx.facts.final_instances().into_values();
            let disks = instances.map(|instance| {
                (instance.id, instance.disks_to_back_up().map(|disk| disk.id.clone()).collect())
            });
            CatalogOp::ForgetOrphanedBases { params: ctx.params.clone(), disks: disks.collect() }.into()
        })
        .learn(|facts: &mut Facts, _, output: &Output| facts.orphaned_bases = answer::bases_orphaned(output))
}

/// Disks were detached or excluded, instances taken out: nothing will build on what is kept of them.
pub(super) fn delete_orphaned_bases() -> Step<SnapshotCreate> {
    Step::new("delete_orphaned_bases")
        .branches(|_: &Params, facts: &Facts| round::count(facts.orphaned_bases.len()))
        .action(|ctx: &Ctx, branch| {
            let base = ctx.facts.orphaned_bases[usize::from(branch)].clone();
            removal(delete_tagged(ctx, base.tag, base.subject)).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            facts.note_given_over(output, |facts| {
                of_volume(&facts.orphaned_bases[usize::from(branch)].subject)
            });
        })
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

// release

pub(super) fn release() -> Step<SnapshotCreate> {
    Step::new("release").action(|ctx: &Ctx, _| {
        CatalogOp::ReleaseSnapshot { params: ctx.params.clone(), stays: ctx.facts.stays() }.into()
    })
}

fn of_volume(subject: &str) -> String {
    format!("the volume snapshot of {subject}")
}
