//! Volumes that a datamover reaches by an attachment only: of each volume snapshot a temporary volume is made, and attached to the
//! host that will read it. Nothing of it happens while guests are frozen: it may take the storage long.

use cloud::Tag;
use model::{HostName, VolumeId};
use proto::cmd::v1 as cmd;
use proto::convert::PlacedAt;
use saga::{Branch, Step};
use serde::{Deserialize, Serialize};

use super::left_out::{Stage, may_fail};
use super::round::{self, Disk, Round, RoundFacts, instance_id, instance_subject};
use super::{Ctx, Facts, Params, SnapshotCreate};
use crate::sagas::remote::Remote;
use crate::sagas::{Output, answer, budget};

/// How the host of an instance presents itself to storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostConnector {
    pub host: HostName,
    /// In JSON.
    pub properties: String,
    pub public_key: Vec<u8>,
}

impl RoundFacts {
    /// The instances with volumes that are reached by an attachment only, by their place in `Params`.
    fn with_attached(&self, stage: Stage) -> Vec<Branch> {
        let attached = self.disks().into_iter().filter(is_attached);
        let mut instances: Vec<Branch> = attached.map(|disk| disk.instance_index).collect();
        instances.dedup();
        instances.retain(|place| self.is_in(*place, stage));
        instances
    }

    /// These volumes, of instances that have a point in time.
    pub(super) fn attached(&self, stage: Stage) -> Vec<Disk<'_>> {
        let is_cut = |place: Branch| !self.changed.contains_key(&place) && self.is_in(place, stage);
        let disks = self.disks().into_iter().filter(is_attached);
        disks.filter(|disk| is_cut(disk.instance_index)).collect()
    }
}

/// Whether a disk is a volume that is reached by an attachment only.
pub(super) fn is_attached(disk: &Disk) -> bool {
    disk.disk.volume_id.is_some() && disk.disk.volume.connects_by.is_some()
}

// describe_connectors

/// Before any guest is frozen: a host that cannot read such volumes refuses here, while nothing is made yet.
pub(super) fn describe_connectors(round: Round) -> Step<SnapshotCreate> {
    Step::new(round.pick("describe_connectors", "describe_connectors_again"))
        .branches(move |_: &Params, facts: &Facts| {
            round::count(facts.round(round).with_attached(Stage::DescribeConnector).len())
        })
        .action(move |ctx: &Ctx, branch| {
            let place = ctx.facts.round(round).with_attached(Stage::DescribeConnector)[usize::from(branch)];
            let instance_id = instance_id(ctx, place);
            let command =
                cmd::DescribeConnector { instance_id: instance_id.to_string(), ..Default::default() };
            let remote =
                Remote::placed(PlacedAt::Instance(instance_id), command, instance_subject(ctx, place));
            may_fail(ctx, place, budget::MOVER_CALL_ATTEMPTS, remote).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            let known = facts.round_mut(round);
            let place = known.with_attached(Stage::DescribeConnector)[usize::from(branch)];
            known.note_failure(place, Stage::DescribeConnector, output);
            known.connectors.extend(answer::connector(output).map(|connector| (place, connector)));
        })
        .attempts_max(budget::MOVER_CALL_ATTEMPTS)
        .deadline(budget::MOVER_CALL_DEADLINE)
}

// create_temporary_volumes

pub(super) fn create_temporary_volumes(round: Round) -> Step<SnapshotCreate> {
    Step::new(step_name(round))
        .branches(move |_: &Params, facts: &Facts| {
            let disks = facts.round(round).attached(Stage::CreateTemporaryVolumes);
            facts.due(round, disks.iter().map(|disk| disk.instance_index))
        })
        .action(move |ctx: &Ctx, branch| {
            let known = ctx.facts.round(round);
            let disk = known.attached(Stage::CreateTemporaryVolumes)[usize::from(branch)];
            let command = cmd::CreateVolume {
                project_id: ctx.params.project_id.to_string(),
                user_id: round::user_id(ctx),
                name: "holdfast".to_owned(),
                size_bytes: disk.disk.size.0,
                volume_type: disk.disk.volume_type.clone(),
                disk_format: disk.disk.format.as_str().to_owned(),
                tag: tag(ctx, round, branch),
                volume_snapshot_id: round::text(known.volume_snapshots.get(&disk.index)),
                ..Default::default()
            };
            let remote = Remote::cloud(command, disk.subject());
            may_fail(ctx, disk.instance_index, budget::CLOUD_CALL_ATTEMPTS, remote).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            let known = facts.round_mut(round);
            let disk = known.attached(Stage::CreateTemporaryVolumes)[usize::from(branch)].index;
            known.note_failure_of_disk(disk, Stage::CreateTemporaryVolumes, output);
            known.temporary_volumes.extend(answer::created(output).map(|id: VolumeId| (disk, id)));
        })
        .undo("delete_temporary_volumes", move |ctx: &Ctx, branch| delete(ctx, round, branch).into())
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

/// For people: which one it is.
pub(super) fn subject(known: &RoundFacts, branch: Branch) -> String {
    let disk = known.attached(Stage::CreateTemporaryVolumes)[usize::from(branch)];
    format!("the temporary volume of {}", disk.subject())
}

/// Deletes what `create_temporary_volumes` made for a volume of the round, and ends its attachment first.
pub(super) fn delete(ctx: &Ctx, round: Round, branch: Branch) -> Remote {
    let known = ctx.facts.round(round);
    let disk = known.attached(Stage::CreateTemporaryVolumes)[usize::from(branch)];
    let command = cmd::DeleteVolume {
        project_id: ctx.params.project_id.to_string(),
        user_id: round::user_id(ctx),
        tag: tag(ctx, round, branch),
        // Nobody heard what came of the creation.
        looks_twice: !known.temporary_volumes.contains_key(&disk.index),
        ..Default::default()
    };
    Remote::cloud(command, disk.subject())
}

/// The temporary volumes of a round as `delete` numbers them, with the places of their instances.
pub(super) fn all(known: &RoundFacts) -> Vec<(Branch, Branch)> {
    let disks = known.attached(Stage::CreateTemporaryVolumes).into_iter();
    (0..).zip(disks.map(|disk| disk.instance_index)).collect()
}

/// Finds the temporary volume of a branch, whether or not anybody heard of its making.
fn tag(ctx: &Ctx, round: Round, branch: Branch) -> String {
    Tag::new(ctx.saga_id, step_name(round), branch).as_str().to_owned()
}

const fn step_name(round: Round) -> &'static str {
    round.pick("create_temporary_volumes", "create_temporary_volumes_again")
}

// attach_temporary_volumes

pub(super) fn attach_temporary_volumes(round: Round) -> Step<SnapshotCreate> {
    Step::new(round.pick("attach_temporary_volumes", "attach_temporary_volumes_again"))
        .branches(move |_: &Params, facts: &Facts| {
            let disks = facts.round(round).attached(Stage::AttachTemporaryVolumes);
            facts.due(round, disks.iter().map(|disk| disk.instance_index))
        })
        .action(move |ctx: &Ctx, branch| {
            let known = ctx.facts.round(round);
            let disk = known.attached(Stage::AttachTemporaryVolumes)[usize::from(branch)];
            let connector = &known.connectors[&disk.instance_index];
            let command = cmd::AttachVolume {
                project_id: ctx.params.project_id.to_string(),
                user_id: round::user_id(ctx),
                volume_id: round::text(known.temporary_volumes.get(&disk.index)),
                connector: connector.properties.clone().into_bytes(),
                public_key: connector.public_key.clone(),
                ..Default::default()
            };
            let remote = Remote::cloud(command, disk.subject());
            may_fail(ctx, disk.instance_index, budget::CLOUD_CALL_ATTEMPTS, remote).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            let known = facts.round_mut(round);
            let disk = known.attached(Stage::AttachTemporaryVolumes)[usize::from(branch)].index;
            known.note_failure_of_disk(disk, Stage::AttachTemporaryVolumes, output);
            known.sealed.extend(answer::attached(output).map(|sealed| (disk, sealed)));
        })
        .undo("detach_temporary_volumes", move |ctx: &Ctx, branch| {
            let known = ctx.facts.round(round);
            let disk = known.attached(Stage::AttachTemporaryVolumes)[usize::from(branch)];
            let volumes = known.attached(Stage::CreateTemporaryVolumes);
            let volume = volumes.iter().position(|it| it.index == disk.index);
            let volume = round::count(volume.expect("what is attached was made in this round"));
            let command = cmd::DetachVolumes {
                project_id: ctx.params.project_id.to_string(),
                user_id: round::user_id(ctx),
                tag: tag(ctx, round, volume),
                looks_twice: !known.sealed.contains_key(&disk.index),
                ..Default::default()
            };
            Remote::cloud(command, disk.subject()).into()
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}
