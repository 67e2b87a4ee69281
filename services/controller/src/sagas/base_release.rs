//! `base_release`: removes bases that no next snapshot will build on, since their volumes are not in use by the workload's
//! instances any more. While they are there, users cannot delete those volumes.
//!
//! It does not lock the workload: a snapshot of the other disks may run beside it. What each step leaves behind:
//!
//! | step | leaves | taken back by |
//! |---|---|---|
//! | `lease_bases` | leases of those lineages that nobody works on and whose base is still the one that was looked at | `release_leases` |
//! | `delete_bases` | the storage without them | never: the next snapshot of such a disk reads all of it |
//! | **`record_release`** | the pivot: bases forgotten, leases given back, a fact for each volume; volumes that the cloud meant to delete are noted by name | never |
//!
//! A base that the cloud does not let go of stays known as one, and is looked at again after some hours; meanwhile it is listed
//! as a leftover. A user's volume is never deleted here.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{InstanceId, LineageId, ProjectId, UserId, VolumeId, WorkloadId};
use proto::cmd::v1 as cmd;
use saga::{Branch, Saga, Step, Steps};
use serde::{Deserialize, Serialize};

use super::catalog_op::CatalogOp;
use super::remote::{Remote, Tolerance};
use super::{Output, Request, answer, budget};

/// The definition.
#[derive(Debug)]
pub struct BaseRelease;

type Ctx<'a> = saga::Ctx<'a, BaseRelease>;

/// What is to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    pub project_id: ProjectId,
    pub user_id: UserId,
    pub workload_id: WorkloadId,
    pub bases: Vec<NeedlessBase>,
}

/// A base that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedlessBase {
    pub lineage_id: LineageId,
    pub tag: String,
    pub volume_id: VolumeId,
    /// Empty: the volume is gone.
    pub volume_name: String,
    pub instance_id: InstanceId,
    /// Why no snapshot will build on it, for people.
    pub why: String,
    /// Its cloud meant to delete the volume with its instance, and could not.
    pub is_left_behind: bool,
}

/// What the steps learned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The places of those in `Params` whose lineages are ours.
    leased: Vec<usize>,
    /// By their places in `Params`: why the volume snapshot could not be removed, as where a user made a volume of it.
    #[serde(default)]
    pub refused: BTreeMap<usize, String>,
}

impl Saga for BaseRelease {
    const KIND: &'static str = "base_release";
    const VERSION: u32 = 1;
    const DEADLINE: Duration = budget::JOB_DEADLINE;
    type Params = Params;
    type Facts = Facts;
    type Request = Request;
    type Output = Output;

    fn steps() -> Steps<Self> {
        Steps::new().step(lease_bases()).step(delete_bases()).pivot(record_release())
    }
}

// lease_bases

fn lease_bases() -> Step<BaseRelease> {
    Step::new("lease_bases")
        .action(|ctx: &Ctx, _| CatalogOp::LeaseBases(ctx.params.clone()).into())
        .learn(|facts: &mut Facts, _, output: &Output| facts.leased = answer::bases_leased(output))
        .undo("release_leases", |ctx: &Ctx, _| CatalogOp::ReleaseBaseLeases(ctx.params.clone()).into())
}

// delete_bases

fn delete_bases() -> Step<BaseRelease> {
    Step::new("delete_bases")
        .branches(|_: &Params, facts: &Facts| {
            Branch::try_from(facts.leased.len()).expect("a workload has fewer than 65536 disks")
        })
        .action(|ctx: &Ctx, branch| {
            let base = &ctx.params.bases[ctx.facts.leased[usize::from(branch)]];
            let command = cmd::DeleteVolumeSnapshots {
                project_id: ctx.params.project_id.to_string(),
                user_id: ctx.params.user_id.to_string(),
                tag: base.tag.clone(),
                ..Default::default()
            };
            // One that cannot go keeps no other.
            let all = Tolerance::of_all(budget::CLOUD_CALL_ATTEMPTS);
            let subject = format!("volume {} ({})", base.volume_name, base.volume_id);
            Remote::cloud(command, subject).tolerating(all).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| {
            if let Output::Failed(failure) = output {
                let place = facts.leased[usize::from(branch)];
                facts.refused.insert(place, failure.to_string());
            }
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

// record_release: the pivot

fn record_release() -> Step<BaseRelease> {
    Step::new("record_release").action(|ctx: &Ctx, _| {
        let is_gone = |place: &usize| !ctx.facts.refused.contains_key(place);
        let gone = ctx.facts.leased.iter().copied().filter(is_gone).collect();
        CatalogOp::RecordBaseRelease { params: ctx.params.clone(), gone }.into()
    })
}
