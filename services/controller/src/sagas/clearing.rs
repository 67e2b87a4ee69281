//! What `workload_reset` and `workload_delete` have in common: all that Holdfast keeps for the next increment goes, from the
//! storage and from the hosts. What these steps take away is taken away for good, so they have no compensation: a saga that
//! turns back leaves a workload whose next snapshot reads more.

use model::{InstanceId, ProjectId, UserId, WorkloadId};
use proto::cmd::v1 as cmd;
use proto::convert::PlacedAt;
use proto::rep::v1 as rep;
use saga::{Branch, Saga, Step};
use serde::{Deserialize, Serialize};

use super::catalog_op::CatalogOp;
use super::remote::{Codes, INSTANCE_GONE, Remote, Tolerance};
use super::{Output, Request, answer, budget};

/// What is to be cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    pub project_id: ProjectId,
    pub workload_id: WorkloadId,
    /// Whatever is kept elsewhere stays there: for a workload whose cloud cannot be asked any more.
    pub database_only: bool,
}

/// What the steps learned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    begun: Option<ClearingBegun>,
}

/// What is kept for the next increment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearingBegun {
    pub user_id: UserId,
    /// Those with local disks.
    pub instance_ids: Vec<InstanceId>,
    pub bases: Vec<TaggedBase>,
}

/// A base, as the cloud finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedBase {
    /// For people.
    pub subject: String,
    pub tag: String,
}

/// A definition that clears.
pub(super) trait Clearing:
    Saga<Params = Params, Facts = Facts, Request = Request, Output = Output>
{
}
impl<S: Saga<Params = Params, Facts = Facts, Request = Request, Output = Output>> Clearing for S {}

type Ctx<'a, S> = saga::Ctx<'a, S>;

// begin

pub(super) fn begin<S: Clearing>() -> Step<S> {
    Step::new("begin")
        .action(|ctx: &Ctx<'_, S>, _| CatalogOp::BeginClearing(ctx.params.clone()).into())
        .learn(|facts: &mut Facts, _, output: &Output| facts.begun = answer::clearing_begun(output))
        .undo("end_clearing", |ctx: &Ctx<'_, S>, _| CatalogOp::EndClearing(ctx.params.clone()).into())
}

// drop_changes

pub(super) fn drop_changes<S: Clearing>() -> Step<S> {
    Step::new("drop_changes")
        .branches(|params: &Params, facts: &Facts| count(params, facts.begun().instance_ids.len()))
        .action(|ctx: &Ctx<'_, S>, branch| {
            let id = ctx.facts.begun().instance_ids[usize::from(branch)];
            let command = cmd::DropChanges { instance_id: id.to_string(), ..Default::default() };
            // Where the instance is on no host any more, neither are its records.
            let nothing = Some(answer::Answer::Done(rep::Done {}));
            let gone = Tolerance { attempts_max: 1, codes: Codes::Only(INSTANCE_GONE), instead: nothing };
            Remote::placed(PlacedAt::Instance(id), command, format!("instance {id}")).tolerating(gone).into()
        })
        .attempts_max(budget::MOVER_CALL_ATTEMPTS)
        .deadline(budget::MOVER_CALL_DEADLINE)
}

// delete_bases

pub(super) fn delete_bases<S: Clearing>() -> Step<S> {
    Step::new("delete_bases")
        .branches(|params: &Params, facts: &Facts| count(params, facts.begun().bases.len()))
        .action(|ctx: &Ctx<'_, S>, branch| {
            let begun = ctx.facts.begun();
            let base = &begun.bases[usize::from(branch)];
            let command = cmd::DeleteVolumeSnapshots {
                project_id: ctx.params.project_id.to_string(),
                user_id: begun.user_id.to_string(),
                tag: base.tag.clone(),
                ..Default::default()
            };
            Remote::cloud(command, base.subject.clone()).into()
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

impl Facts {
    pub(super) fn begun(&self) -> &ClearingBegun {
        self.begun.as_ref().expect("the cloud is asked once the clearing began")
    }
}

fn count(params: &Params, count: usize) -> Branch {
    let count = if params.database_only { 0 } else { count };
    Branch::try_from(count).expect("a workload has fewer than 65536 disks")
}
