//! What comes before the first freeze: what is there is read, the lineages are leased, the target is written to.

use proto::cmd::v1::planned::Kind;
use proto::cmd::v1::{self as cmd, PlannedVolume};
use saga::{Branch, Step};

use super::left_out::{Stage, may_fail};
use super::round::{self, Round, first_plan, instance_id, instance_subject, target_subject};
use super::temporary::is_attached;
use super::{Ctx, Facts, Params, SnapshotCreate};
use crate::sagas::catalog_op::CatalogOp;
use crate::sagas::remote::Remote;
use crate::sagas::{Output, Request, answer, budget, records};

// begin

pub(super) fn begin() -> Step<SnapshotCreate> {
    Step::new("begin")
        .action(|ctx: &Ctx, _| CatalogOp::BeginSnapshot(ctx.params.clone()).into())
        .learn(|facts: &mut Facts, _, output: &Output| facts.begun = answer::snapshot_begun(output))
        .undo("end_snapshot", |ctx: &Ctx, _| {
            let failures = ctx.facts.failures(ctx.params);
            CatalogOp::EndSnapshot { params: ctx.params.clone(), failures }.into()
        })
}

// describe_instances

pub(super) fn describe_instances() -> Step<SnapshotCreate> {
    Step::new("describe_instances")
        .branches(|params: &Params, facts: &Facts| {
            round::count(facts.to_describe(Round::First, params).len())
        })
        .action(|ctx: &Ctx, branch| describe_instance(ctx, branch).into())
        .learn(|facts: &mut Facts, branch, output: &Output| {
            facts.first.note_failure(branch, Stage::Describe, output);
            facts.first.instances.extend(answer::instance(output).map(|instance| (branch, instance)));
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

pub(super) fn describe_instance(ctx: &Ctx, place: Branch) -> Remote {
    let command = cmd::DescribeInstance {
        project_id: ctx.params.project_id.to_string(),
        user_id: round::user_id(ctx),
        instance_id: instance_id(ctx, place).to_string(),
        ..Default::default()
    };
    let remote = Remote::cloud(command, instance_subject(ctx, place));
    may_fail(ctx, place, budget::CLOUD_CALL_ATTEMPTS, remote)
}

// check_quotas

/// One volume snapshot of each volume, and one temporary volume where it is reached by an attachment only; local disks count for
/// no quota.
pub(super) fn check_quotas() -> Step<SnapshotCreate> {
    Step::new("check_quotas")
        .branches(|_: &Params, facts: &Facts| round::count(usize::from(!facts.first.volumes().is_empty())))
        .action(|ctx: &Ctx, _| {
            let volumes = ctx.facts.first.volumes();
            let planned = volumes.iter().flat_map(|(it, _)| {
                let (volume_type, size_bytes) = (it.disk.volume_type.clone(), it.disk.size.0);
                let volume = PlannedVolume { volume_type, size_bytes };
                let temporary = is_attached(it).then(|| Kind::Volume(volume.clone()));
                [Kind::VolumeSnapshot(volume)].into_iter().chain(temporary)
            });
            Remote::check_quotas(&ctx.params.project_id, round::user_id(ctx), planned).into()
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

// acquire_lineage_leases

pub(super) fn acquire_lineage_leases() -> Step<SnapshotCreate> {
    Step::new("acquire_lineage_leases")
        .action(|ctx: &Ctx, _| {
            let instances = ctx.facts.first.instances.values().cloned().collect();
            CatalogOp::AcquireLineages { params: ctx.params.clone(), instances }.into()
        })
        .learn(|facts: &mut Facts, _, output: &Output| {
            facts.first.lineages = answer::lineages_acquired(output);
        })
        .undo("release_lineage_leases", |ctx: &Ctx, _| CatalogOp::ReleaseLineages(ctx.params.clone()).into())
        .attempts_max(budget::LEASE_ATTEMPTS)
}

// write_first_records

pub(super) fn write_first_records() -> Step<SnapshotCreate> {
    Step::new("write_first_records")
        .action(|ctx: &Ctx, _| write_records(ctx, records::first(&first_plan(ctx))))
        .undo("remove_records", |ctx: &Ctx, _| remove_records(ctx, records::names_new(&first_plan(ctx))))
        .attempts_max(budget::TARGET_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

pub(super) fn write_records(ctx: &Ctx, records: Vec<cmd::Record>) -> Request {
    let target_id = ctx.params.target_id.to_string();
    Remote::cloud(cmd::WriteRecords { target_id, records, ..Default::default() }, target_subject(ctx)).into()
}

pub(super) fn remove_records(ctx: &Ctx, names: Vec<String>) -> Request {
    let target_id = ctx.params.target_id.to_string();
    Remote::cloud(cmd::RemoveRecords { target_id, names, ..Default::default() }, target_subject(ctx)).into()
}
