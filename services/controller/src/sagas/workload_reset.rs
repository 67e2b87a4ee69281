//! `workload_reset`: removes all that Holdfast keeps in the cloud for a workload's next increment, so that the next snapshot is
//! a full one.
//!
//! When it starts, the workload is locked by this saga. What each step leaves behind:
//!
//! | step | leaves | taken back by |
//! |---|---|---|
//! | `begin` | nothing; `Facts` know what is kept | `end_clearing`: the workload is free |
//! | `drop_changes` | hosts without records of changes | never: the next snapshot reads more |
//! | `delete_bases` | the storage without kept bases | never, as before |
//! | **`record_reset`** | the pivot: bases forgotten, the next snapshot is full, the workload is free | never |
//!
//! Why this order: the catalog forgets a base once it is gone, so that one which could not be removed is tried again.

use std::time::Duration;

use saga::{Saga, Step, Steps};

use super::catalog_op::CatalogOp;
use super::clearing::{self, Facts, Params};
use super::{Output, Request, budget};

/// The definition.
#[derive(Debug)]
pub struct WorkloadReset;

impl Saga for WorkloadReset {
    const KIND: &'static str = "workload_reset";
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
            .pivot(record_reset())
    }
}

// record_reset: the pivot

fn record_reset() -> Step<WorkloadReset> {
    Step::new("record_reset")
        .action(|ctx: &saga::Ctx<WorkloadReset>, _| CatalogOp::RecordReset(ctx.params.clone()).into())
}
