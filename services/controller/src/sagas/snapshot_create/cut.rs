//! The point in time: guests are frozen, their disks cut, and thawed at once; then it is looked whether the disks that were
//! cut are those that the instances have. Once in each round.

use cloud::{Moment, Tag};
use model::SnapshotId;
use proto::cmd::v1 as cmd;
use proto::convert::PlacedAt;
use proto::rep::v1 as rep;
use saga::{Branch, Direction, Step};

use super::left_out::{Stage, may_fail, may_leave_out};
use super::prepare::describe_instance;
use super::round::{self, Round, instance_id, instance_subject, text};
use super::{Ctx, Facts, Params, SnapshotCreate};
use crate::sagas::catalog_op::{CatalogOp, Checked, WhenChanged};
use crate::sagas::remote::{Codes, INSTANCE_GONE, Remote, Tolerance};
use crate::sagas::{Output, answer, budget, job_id};

/// The datamover thaws by its own timer after this long: guests tolerate it, and databases mostly do.
const FREEZE_DURATION_MAX_MS: u32 = 20_000;
/// A guest that does not freeze within this many attempts is cut as it is.
const FREEZE_ATTEMPTS_MAX: u32 = 3;
/// Failures of a freeze or thaw that are not the guest's, but of finding it: they fail the step, as the transfer would fail
/// next.
const NOT_THE_GUEST: &[&str] = &[
    "INSTANCE_NOT_FOUND",
    "INSTANCE_DELETED",
    "INSTANCE_SHELVED",
    "INSTANCE_MIGRATING",
    "INSTANCE_BUILDING",
    "INSTANCE_NEVER_PLACED",
    "CLOUD_DATABASE_DOWN",
    "CLOUD_DATABASE_REFUSED",
    "CLOUD_DATABASE_UNREADABLE",
    "FOREIGN_INSTANCE",
    "HOST_NOT_ENROLLED",
    "DATAMOVER_NOT_RUNNING",
    "UNROUTABLE",
];

/// The number of instances of a round that did not fail before a stage.
fn per_instance(round: Round, stage: Stage) -> impl Fn(&Params, &Facts) -> Branch {
    move |_, facts| facts.due(round, facts.round(round).members(stage))
}

/// The place in `Params` of the instance that such a branch is about.
fn member(facts: &Facts, round: Round, stage: Stage, branch: Branch) -> Branch {
    facts.round(round).members(stage)[usize::from(branch)]
}

// freeze_guests

pub(super) const fn freeze_step(round: Round) -> &'static str {
    round.pick("freeze_guests", "freeze_guests_again")
}

pub(super) fn freeze_guests(round: Round) -> Step<SnapshotCreate> {
    Step::new(freeze_step(round))
        .branches(move |_: &Params, facts: &Facts| {
            facts.due_to_freeze(round, facts.round(round).members(Stage::Freeze))
        })
        .action(move |ctx: &Ctx, branch| {
            let place = member(ctx.facts, round, Stage::Freeze, branch);
            let command = cmd::FreezeGuest {
                instance_id: instance_id(ctx, place).to_string(),
                freeze_duration_max_ms: FREEZE_DURATION_MAX_MS,
                ..Default::default()
            };
            // A guest that will not freeze is cut as it is: the snapshot is then as after a power cut.
            let refused = answer::Answer::GuestFrozen(rep::GuestFrozen { frozen_count: 0 });
            let at = PlacedAt::Instance(instance_id(ctx, place));
            let remote = Remote::placed(at, command, instance_subject(ctx, place))
                .tolerating(of_the_guest(FREEZE_ATTEMPTS_MAX, refused));
            may_fail(ctx, place, budget::MOVER_CALL_ATTEMPTS, remote).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            let place = member(facts, round, Stage::Freeze, branch);
            let known = facts.round_mut(round);
            known.note_failure(place, Stage::Freeze, output);
            known.frozen_counts.extend(answer::frozen_count(output).map(|count| (place, count)));
        })
        .undo("thaw_guests", move |ctx: &Ctx, branch| {
            thaw_guest(ctx, member(ctx.facts, round, Stage::Freeze, branch)).into()
        })
        .attempts_max(budget::MOVER_CALL_ATTEMPTS)
        .deadline(budget::MOVER_CALL_DEADLINE)
}

// cut_local_disks

const fn cut_step(round: Round) -> &'static str {
    round.pick("cut_local_disks", "cut_local_disks_again")
}

/// All local disks of an instance at one point in time; no volume snapshot can be made of them.
pub(super) fn cut_local_disks(round: Round) -> Step<SnapshotCreate> {
    Step::new(cut_step(round))
        .branches(move |_: &Params, facts: &Facts| facts.due(round, facts.round(round).with_local_disks()))
        .action(move |ctx: &Ctx, branch| {
            let place = with_local_disks(ctx, round, branch);
            let disks = ctx.facts.round(round).local_disks_of(place);
            let command = cmd::CutDisks {
                instance_id: instance_id(ctx, place).to_string(),
                snapshot_id: ctx.params.snapshot_id.to_string(),
                disk_ids: disks.iter().map(|disk| disk.disk.id.to_string()).collect(),
                base_snapshot_id: text(base_of_local_disks(ctx, round, place).as_ref()),
                ..Default::default()
            };
            let at = PlacedAt::Instance(instance_id(ctx, place));
            let remote = Remote::placed(at, command, instance_subject(ctx, place));
            may_fail(ctx, place, budget::MOVER_CALL_ATTEMPTS, remote).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            let place = facts.round(round).with_local_disks()[usize::from(branch)];
            facts.round_mut(round).note_failure(place, Stage::CutLocalDisks, output);
            let moment: Option<Moment> = answer::disks_cut(output);
            facts.round_mut(round).cut_moments.extend(moment.map(|moment| (place, moment)));
        })
        .undo("end_cuts", move |ctx: &Ctx, branch| {
            end_cut(ctx, round, with_local_disks(ctx, round, branch), false).into()
        })
        .attempts_max(budget::MOVER_CALL_ATTEMPTS)
        .deadline(budget::MOVER_CALL_DEADLINE)
}

/// Ends the cut of an instance on the host that made it, and bars late attempts to make it.
pub(super) fn end_cut(ctx: &Ctx, round: Round, place: Branch, keep_changes: bool) -> Remote {
    let instances = ctx.facts.round(round).with_local_disks();
    let branch = instances.iter().position(|it| *it == place).expect("what ends was cut in this round");
    let cut_job = job_id(ctx.saga_id, cut_step(round), round::count(branch), Direction::Action);
    let command = cmd::EndCut {
        instance_id: instance_id(ctx, place).to_string(),
        snapshot_id: ctx.params.snapshot_id.to_string(),
        keep_changes,
        cut_job_id: cut_job.to_string(),
        ..Default::default()
    };
    // Where nobody cut and the instance is gone, there is nothing to end.
    let nothing = Some(answer::Answer::Done(rep::Done {}));
    let gone = Tolerance { attempts_max: 1, codes: Codes::Only(INSTANCE_GONE), instead: nothing };
    let at = PlacedAt::Instance(instance_id(ctx, place));
    Remote::where_it_ran(cut_job, at, command, instance_subject(ctx, place)).tolerating(gone)
}

fn with_local_disks(ctx: &Ctx, round: Round, branch: Branch) -> Branch {
    ctx.facts.round(round).with_local_disks()[usize::from(branch)]
}

/// One for the instance: disks that were in no snapshot yet have none, and are read whole.
fn base_of_local_disks(ctx: &Ctx, round: Round, place: Branch) -> Option<SnapshotId> {
    let facts = ctx.facts.round(round);
    facts.local_disks_of(place).iter().find_map(|disk| facts.lease(disk.index).parent_snapshot_id)
}

// create_volume_snapshots

pub(super) fn create_volume_snapshots(round: Round) -> Step<SnapshotCreate> {
    Step::new(volume_snapshots_step(round))
        .branches(move |_: &Params, facts: &Facts| {
            let volumes = facts.round(round).volumes();
            facts.due(round, volumes.iter().map(|(disk, _)| disk.instance_index))
        })
        .action(move |ctx: &Ctx, branch| {
            let (disk, volume_id) = ctx.facts.round(round).volumes()[usize::from(branch)];
            let command = cmd::CreateVolumeSnapshot {
                project_id: ctx.params.project_id.to_string(),
                user_id: round::user_id(ctx),
                volume_id: volume_id.to_string(),
                tag: volume_snapshot_tag(ctx, round, branch),
                ..Default::default()
            };
            let remote = Remote::cloud(command, disk.subject());
            may_fail(ctx, disk.instance_index, budget::CLOUD_CALL_ATTEMPTS, remote).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            let disk = facts.round(round).volumes()[usize::from(branch)].0.index;
            facts.round_mut(round).note_failure_of_disk(disk, Stage::CreateVolumeSnapshots, output);
            facts.round_mut(round).volume_snapshots.extend(answer::created(output).map(|id| (disk, id)));
        })
        .undo("delete_volume_snapshots", move |ctx: &Ctx, branch| {
            delete_volume_snapshot(ctx, round, branch).into()
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

/// Deletes what `create_volume_snapshots` made for a volume of the round.
pub(super) fn delete_volume_snapshot(ctx: &Ctx, round: Round, branch: Branch) -> Remote {
    let facts = ctx.facts.round(round);
    let (disk, _) = facts.volumes()[usize::from(branch)];
    // Nobody heard what came of the creation.
    let looks_twice = !facts.volume_snapshots.contains_key(&disk.index);
    let command = delete_command(ctx, volume_snapshot_tag(ctx, round, branch));
    Remote::cloud(cmd::DeleteVolumeSnapshots { looks_twice, ..command }, disk.subject())
}

pub(super) fn delete_tagged(ctx: &Ctx, tag: String, subject: String) -> Remote {
    Remote::cloud(delete_command(ctx, tag), subject)
}

fn delete_command(ctx: &Ctx, tag: String) -> cmd::DeleteVolumeSnapshots {
    cmd::DeleteVolumeSnapshots {
        project_id: ctx.params.project_id.to_string(),
        user_id: round::user_id(ctx),
        tag,
        ..Default::default()
    }
}

/// Finds the volume snapshots of a branch, whether or not anybody heard of their making.
pub(super) fn volume_snapshot_tag(ctx: &Ctx, round: Round, branch: Branch) -> String {
    Tag::new(ctx.saga_id, volume_snapshots_step(round), branch).as_str().to_owned()
}

const fn volume_snapshots_step(round: Round) -> &'static str {
    round.pick("create_volume_snapshots", "create_volume_snapshots_again")
}

// thaw_guests

/// Settles `freeze_guests`: it runs once on either path.
pub(super) fn thaw_guests(round: Round) -> Step<SnapshotCreate> {
    Step::new(round.pick("thaw_guests", "thaw_guests_again"))
        .settles(freeze_step(round))
        .branches(per_instance(round, Stage::Freeze))
        .action(move |ctx: &Ctx, branch| {
            let place = member(ctx.facts, round, Stage::Freeze, branch);
            may_fail(ctx, place, budget::MOVER_CALL_ATTEMPTS, thaw_guest(ctx, place)).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            let place = member(facts, round, Stage::Freeze, branch);
            let known = facts.round_mut(round);
            known.note_failure(place, Stage::Thaw, output);
            known.thawed_counts.extend(answer::thawed_count(output).map(|count| (place, count)));
        })
        .attempts_max(budget::MOVER_CALL_ATTEMPTS)
        .deadline(budget::MOVER_CALL_DEADLINE)
}

fn thaw_guest(ctx: &Ctx, place: Branch) -> Remote {
    let command = cmd::ThawGuest { instance_id: instance_id(ctx, place).to_string(), ..Default::default() };
    // A guest that will not be thawed thaws by the datamover's timer; nothing proves then that it was frozen in the cut.
    let refused = answer::Answer::GuestThawed(rep::GuestThawed { thawed_count: 0 });
    Remote::placed(PlacedAt::Instance(instance_id(ctx, place)), command, instance_subject(ctx, place))
        .tolerating(of_the_guest(budget::MOVER_CALL_ATTEMPTS, refused))
}

fn of_the_guest(attempts_max: u32, instead: answer::Answer) -> Tolerance {
    Tolerance { attempts_max, codes: Codes::AllBut(NOT_THE_GUEST), instead: Some(instead) }
}

// describe_instances_again, check_instances

pub(super) fn describe_instances_again(round: Round) -> Step<SnapshotCreate> {
    Step::new(round.pick("describe_instances_again", "describe_lost_instances_again"))
        .branches(per_instance(round, Stage::DescribeAgain))
        .action(move |ctx: &Ctx, branch| {
            describe_instance(ctx, member(ctx.facts, round, Stage::DescribeAgain, branch)).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            let place = member(facts, round, Stage::DescribeAgain, branch);
            let known = facts.round_mut(round);
            known.note_failure(place, Stage::DescribeAgain, output);
            known.instances_after.extend(answer::instance(output).map(|instance| (place, instance)));
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

/// Finds disks that came or went while the cloud cut: the instance is then cut once more; after that it failed with
/// `INSTANCE_CHANGED`.
pub(super) fn check_instances(round: Round) -> Step<SnapshotCreate> {
    Step::new(round.pick("check_instances", "check_instances_again"))
        .branches(per_instance(round, Stage::Check))
        .action(move |ctx: &Ctx, branch| {
            let (place, facts) = (member(ctx.facts, round, Stage::Check, branch), ctx.facts.round(round));
            CatalogOp::CheckInstance {
                params: ctx.params.clone(),
                before: Box::new(facts.instances[&place].clone()),
                after: Box::new(facts.instances_after[&place].clone()),
                when_changed: match round {
                    Round::First => WhenChanged::CutAgain,
                    Round::Again if may_leave_out(ctx, place) => WhenChanged::LeaveOut,
                    Round::Again => WhenChanged::Refuse,
                },
            }
            .into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            let place = member(facts, round, Stage::Check, branch);
            let known = facts.round_mut(round);
            known.note_failure(place, Stage::Check, output);
            match answer::instance_checked(output) {
                Some(Checked::Changed(change)) => drop(known.changed.insert(place, change)),
                Some(Checked::LeftOut(failure)) => {
                    known.note_failure(place, Stage::Check, &Output::Failed(failure));
                }
                Some(Checked::Same) | None => {}
            }
        })
}
