//! The long part: disks are moved to the target, and what arrived is read back.

use cloud::Moment;
use proto::cmd::v1 as cmd;
use proto::common::v1::LocalMoment;
use proto::convert::PlacedAt;
use saga::{Branch, Direction, Step};

use super::cut::freeze_step;
use super::left_out::{Stage, may_fail};
use super::round::{self, Disk, Round, RoundFacts, text};
use super::temporary::is_attached;
use super::{Ctx, Facts, Params, SnapshotCreate};
use crate::sagas::remote::{Codes, Remote, Tolerance};
use crate::sagas::{Output, answer, budget, job_id};

/// The datamover's word for what a user did to the instance meanwhile.
const POINT_IN_TIME_LOST: &str = "POINT_IN_TIME_LOST";

/// Why a disk that arrived is read once more.
const CHANGES_FALSE: &str =
    "it was read by a record of changes that another disk of its instance proved false";

// transfer_disks

pub(super) fn transfer_disks(round: Round) -> Step<SnapshotCreate> {
    Step::new(step_name(round))
        // The workload is serial: now the next instance.
        .repeats_from(freeze_step(round))
        .branches(move |_: &Params, facts: &Facts| {
            let disks = facts.round(round).disks_cut();
            facts.due(round, disks.iter().map(|disk| disk.instance_index))
        })
        .action(move |ctx: &Ctx, branch| {
            let place = ctx.facts.round(round).disks_cut()[usize::from(branch)].instance_index;
            let remote = transfer_disk(ctx, round, branch);
            let remote = match round {
                // Its instance is cut once more.
                Round::First => remote.tolerating(Tolerance {
                    attempts_max: 1,
                    codes: Codes::Only(&[POINT_IN_TIME_LOST]),
                    instead: None,
                }),
                Round::Again => remote,
            };
            may_fail(ctx, place, budget::TRANSFER_ATTEMPTS, remote).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            let disk = facts.round(round).disks_cut()[usize::from(branch)].index;
            let known = facts.round_mut(round);
            match output {
                Output::Failed(failure) if round == Round::First && failure.code == POINT_IN_TIME_LOST => {
                    known.lost.insert(disk, failure.message.clone());
                }
                output => {
                    known.note_failure_of_disk(disk, Stage::Transfer, output);
                    known.transferred.extend(answer::transferred(output).map(|it| (disk, it)));
                    if round == Round::First {
                        // Their instance is cut once more, and then they are read whole.
                        let misread = known.misread().into_iter();
                        known.lost.extend(misread.map(|disk| (disk, CHANGES_FALSE.to_owned())));
                    }
                }
            }
        })
        .undo("purge_transfers", move |ctx: &Ctx, branch| purge_transfer(ctx, round, branch).into())
        .attempts_max(budget::TRANSFER_ATTEMPTS)
        .deadline(budget::DISPATCH_DEADLINE)
}

fn transfer_disk(ctx: &Ctx, round: Round, branch: Branch) -> Remote {
    let facts = ctx.facts.round(round);
    let disk = facts.disks_cut()[usize::from(branch)];
    let lease = facts.lease(disk.index);
    let base = lease.usable_base().map(|base| base.volume_snapshot_id);
    let command = cmd::TransferDisk {
        workload_id: ctx.params.workload_id.to_string(),
        snapshot_id: ctx.params.snapshot_id.to_string(),
        instance_id: disk.instance.id.to_string(),
        disk_id: disk.disk.id.to_string(),
        volume_snapshot_id: text(facts.volume_snapshots.get(&disk.index)),
        local_moment: local_moment(ctx, round, &disk).into(),
        target_id: ctx.params.target_id.to_string(),
        lineage_id: lease.lineage_id.to_string(),
        lineage_epoch: lease.epoch,
        parent_snapshot_id: text(lease.parent_snapshot_id.as_ref()),
        base_volume_snapshot_id: text(base.as_ref()),
        chunk_size_bytes: lease.chunk_size.0,
        sealed: facts.sealed.get(&disk.index).cloned().unwrap_or_default(),
        ..Default::default()
    };
    let at = attached_to(facts, &disk).unwrap_or(PlacedAt::Instance(disk.instance.id));
    Remote::placed(at, command, disk.subject())
}

/// What was attached to a host is read there, wherever its instance is by now.
fn attached_to(facts: &RoundFacts, disk: &Disk) -> Option<PlacedAt> {
    let connector = facts.connectors.get(&disk.instance_index).filter(|_| is_attached(disk))?;
    Some(PlacedAt::Host(connector.host.clone()))
}

fn local_moment(ctx: &Ctx, round: Round, disk: &Disk) -> LocalMoment {
    let moment = ctx.facts.round(round).cut_moments.get(&disk.instance_index);
    match (disk.disk.volume_id, moment) {
        (None, Some(Moment::Cut)) => LocalMoment::Cut,
        (None, Some(Moment::AsIs)) => LocalMoment::AsIs,
        _ => LocalMoment::Unspecified,
    }
}

/// Stops the transfer on the host that has it, bars its late attempts, and removes its objects.
pub(super) fn purge_transfer(ctx: &Ctx, round: Round, branch: Branch) -> Remote {
    let facts = ctx.facts.round(round);
    let disk = facts.disks_cut()[usize::from(branch)];
    let transfer_job = job_id(ctx.saga_id, step_name(round), branch, Direction::Action);
    let command = cmd::PurgeTransfer {
        transfer_job_id: transfer_job.to_string(),
        snapshot_id: ctx.params.snapshot_id.to_string(),
        target_id: ctx.params.target_id.to_string(),
        lineage_id: facts.lease(disk.index).lineage_id.to_string(),
        ..Default::default()
    };
    // Nobody else can disconnect a volume from a host, and what is connected must not be deleted.
    let otherwise = attached_to(facts, &disk).unwrap_or(PlacedAt::Target(ctx.params.target_id));
    Remote::where_it_ran(transfer_job, otherwise, command, disk.subject())
}

const fn step_name(round: Round) -> &'static str {
    round.pick("transfer_disks", "transfer_disks_again")
}

// verify_manifests

pub(super) fn verify_manifests() -> Step<SnapshotCreate> {
    Step::new("verify_manifests")
        .branches(|_: &Params, facts: &Facts| round::count(facts.disks_to_verify().len()))
        .action(|ctx: &Ctx, branch| {
            let (round, disk) = ctx.facts.disks_to_verify()[usize::from(branch)];
            let command = cmd::VerifyManifest {
                target_id: ctx.params.target_id.to_string(),
                lineage_id: ctx.facts.round(round).lease(disk.index).lineage_id.to_string(),
                snapshot_id: ctx.params.snapshot_id.to_string(),
                ..Default::default()
            };
            let remote = Remote::placed(PlacedAt::Target(ctx.params.target_id), command, disk.subject());
            may_fail(ctx, disk.instance_index, budget::MOVER_CALL_ATTEMPTS, remote).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            let (round, disk) = facts.disks_to_verify()[usize::from(branch)];
            let (disk, known) = (disk.index, facts.round_mut(round));
            known.note_failure_of_disk(disk, Stage::Verify, output);
            known.verified_digests.extend(answer::verified_digest(output).map(|digest| (disk, digest)));
        })
        .attempts_max(budget::MOVER_CALL_ATTEMPTS)
        .deadline(budget::MOVER_LONG_DEADLINE)
}
