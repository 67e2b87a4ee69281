//! `workload_delete`: removes a workload that has no snapshots any more, and all that Holdfast keeps in the cloud for it.
//!
//! When it starts, the workload is locked by this saga. What each step leaves behind:
//!
//! | step | leaves | taken back by |
//! |---|---|---|
//! | `begin`, `drop_changes`, `delete_bases` | what they leave in `workload_reset` | the same |
//! | **`record_delete`** | the pivot: the workload is `deleted`, its instances are free for others, a fact told | never |
//! | `revoke_trust` | no trust of a user that has no workload left in the project | |
//!
//! Where only the database is cleared, the trust stays while there are bases: with it the sweep of leftovers sees and removes
//! them.
//!
//! Why this order: all that comes before the pivot runs on the trust that goes last. A trust that Keystone will not let go is
//! told of in the log and stays in the list of trusts.

use std::time::Duration;

use proto::cmd::v1 as cmd;
use proto::rep::v1 as rep;
use saga::{Saga, Step, Steps};

use super::catalog_op::CatalogOp;
use super::clearing::{self, Facts, Params};
use super::remote::{Codes, Remote, Tolerance};
use super::{Output, Request, answer, budget};

/// The definition.
#[derive(Debug)]
pub struct WorkloadDelete;

type Ctx<'a> = saga::Ctx<'a, WorkloadDelete>;

impl Saga for WorkloadDelete {
    const KIND: &'static str = "workload_delete";
    const VERSION: u32 = 1;
    const DEADLINE: Duration = budget::JOB_DEADLINE;
    type Params = Params;
    type Facts = Facts;
    type Request = Request;
    type Output = Output;

    fn steps() -> Steps<Self> {
        Steps::new()
            .step(clearing::begin())
            .step(clearing::drop_changes())
            .step(clearing::delete_bases())
            .pivot(record_delete()) // behind this line: forward, never back
            .forward(revoke_trust())
    }
}

// record_delete: the pivot

/// Refuses with `WORKLOAD_HAS_SNAPSHOTS`.
fn record_delete() -> Step<WorkloadDelete> {
    Step::new("record_delete").action(|ctx: &Ctx, _| CatalogOp::RecordDelete(ctx.params.clone()).into())
}

// revoke_trust

fn revoke_trust() -> Step<WorkloadDelete> {
    Step::new("revoke_trust")
        .branches(|params: &Params, facts: &Facts| {
            let strands = params.database_only && !facts.begun().bases.is_empty();
            u16::from(!strands)
        })
        .action(|ctx: &Ctx, _| {
            let user_id = ctx.facts.begun().user_id.to_string();
            let subject = format!("the trust of user {user_id}");
            let project_id = ctx.params.project_id.to_string();
            let command = cmd::RevokeTrust { project_id, user_id, ..Default::default() };
            let kept = Tolerance {
                attempts_max: budget::CLOUD_CALL_ATTEMPTS,
                codes: Codes::Only(&["TRUST_NOT_REVOKED"]),
                instead: Some(answer::Answer::Done(rep::Done {})),
            };
            Remote::cloud(command, subject).tolerating(kept).into()
        })
        .deadline(budget::CLOUD_CALL_DEADLINE)
}
