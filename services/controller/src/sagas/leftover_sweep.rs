//! `leftover_sweep`: looks for what sagas that are over left in the cloud, and removes it where that was asked for.
//!
//! | step | leaves |
//! |---|---|
//! | `list_tagged` | nothing; `Facts` know all that bears a tag of Holdfast, project by project, and which could not be seen |
//! | `judge_leftovers` | nothing; `Facts` know which of it no saga and no next snapshot needs |
//! | `remove_instances`, `remove_others` | the cloud without what may be removed |
//! | `list_on_hosts`, `judge_on_hosts`, `remove_from_guests`, `remove_from_hosts` | the same of the compute hosts: see `hosts` |
//! | `tell_removed` | a line in the log for each thing that was removed |
//!
//! It has no way back and needs none: what is removed is of use to nobody. What could not be removed is in the report, and does
//! not fail the saga. A user's volume is never removed, nor what a restore made that succeeded, nor what no saga of this catalog
//! made: that may be another Holdfast's.

pub mod hosts;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{HostName, Owner, ProjectId};
use proto::cmd::v1 as cmd;
use saga::{Branch, Saga, Step, Steps};
use serde::{Deserialize, Serialize};

use super::catalog_op::CatalogOp;
use super::remote::{Remote, Tolerance};
use super::{Output, Request, answer, budget};

/// The definition.
#[derive(Debug)]
pub struct LeftoverSweep;

type Ctx<'a> = saga::Ctx<'a, LeftoverSweep>;

/// Where to look, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    /// Of whoever asked.
    pub project_id: ProjectId,
    /// With whose rights it is looked.
    pub owners: Vec<Owner>,
    /// Since the end of the saga.
    pub age_min_seconds: u64,
    pub is_removed: bool,
    /// No person asked for it: what a person may have meant to be as it is stays so. That is a frozen guest, and what a restore
    /// left.
    #[serde(default)]
    pub is_by_itself: bool,
    /// Those whose datamovers give signs of life.
    #[serde(default)]
    pub hosts: Vec<HostName>,
    /// Those whose datamovers do not, or are of a version that cannot look.
    #[serde(default)]
    pub silent_hosts: Vec<HostName>,
}

/// What the steps learned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// By owner, until it is judged.
    pub found: BTreeMap<Branch, Vec<Tagged>>,
    /// By owner: why nothing could be seen.
    pub unseen: BTreeMap<Branch, String>,
    pub leftovers: Vec<Leftover>,
    /// By tag: why it could not be removed.
    pub kept: BTreeMap<String, String>,
    pub removed: Vec<String>,
    #[serde(default)]
    pub hosts: hosts::Facts,
}

/// Something that bears a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tagged {
    pub kind: Kind,
    pub id: String,
    pub name: String,
    pub tag: String,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Instance,
    Volume,
    VolumeSnapshot,
    Port,
}

/// Something that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    pub owner: Owner,
    pub thing: Tagged,
    /// Since its saga ended; absent: there is none.
    pub age_seconds: Option<u64>,
    /// For people.
    pub why: String,
    pub may_be_removed: bool,
}

impl Saga for LeftoverSweep {
    const KIND: &'static str = "leftover_sweep";
    const VERSION: u32 = 2;
    const DEADLINE: Duration = Duration::from_secs(4 * 3600);
    type Params = Params;
    type Facts = Facts;
    type Request = Request;
    type Output = Output;

    fn steps() -> Steps<Self> {
        Steps::new()
            .step(list_tagged())
            .step(judge_leftovers())
            .step(remove("remove_instances", |kind| matches!(kind, Kind::Instance | Kind::Port)))
            .step(remove("remove_others", |kind| matches!(kind, Kind::Volume | Kind::VolumeSnapshot)))
            .step(hosts::list_on_hosts())
            .step(hosts::judge_on_hosts())
            .step(hosts::remove("remove_from_guests", hosts::HostKind::is_of_guest))
            .step(hosts::remove("remove_from_hosts", |kind| !kind.is_of_guest()))
            .step(tell_removed())
    }
}

// list_tagged

fn list_tagged() -> Step<LeftoverSweep> {
    Step::new("list_tagged")
        .branches(|params: &Params, _: &Facts| count(params.owners.len()))
        .action(|ctx: &Ctx, branch| {
            let owner = &ctx.params.owners[usize::from(branch)];
            let command = cmd::ListTagged {
                project_id: owner.project_id.to_string(),
                user_id: owner.user_id.to_string(),
                ..Default::default()
            };
            Remote::cloud(command, format!("project {}", owner.project_id)).tolerating(reported()).into()
        })
        .learn(|facts: &mut Facts, branch, output: &Output| match output {
            Output::Failed(failure) => drop(facts.unseen.insert(branch, failure.to_string())),
            answered => drop(facts.found.insert(branch, answer::tagged(answered))),
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

// judge_leftovers

fn judge_leftovers() -> Step<LeftoverSweep> {
    Step::new("judge_leftovers")
        .action(|ctx: &Ctx, _| {
            let found = ctx.facts.found.iter().flat_map(|(branch, things)| {
                let owner = &ctx.params.owners[usize::from(*branch)];
                things.iter().map(move |thing| (owner.clone(), thing.clone()))
            });
            let Params { age_min_seconds, is_by_itself, .. } = *ctx.params;
            CatalogOp::JudgeLeftovers { age_min_seconds, is_by_itself, found: found.collect() }.into()
        })
        .learn(|facts: &mut Facts, _, output: &Output| {
            facts.leftovers = answer::leftovers_judged(output);
            // It was judged, and would be written anew with each event.
            facts.found.clear();
        })
}

// remove_instances, remove_others

fn remove(name: &'static str, is_ours: fn(Kind) -> bool) -> Step<LeftoverSweep> {
    Step::new(name)
        .branches(
            move |params: &Params, facts: &Facts| {
                if params.is_removed { count(removable(facts, is_ours).len()) } else { 0 }
            },
        )
        .action(move |ctx: &Ctx, branch| {
            let Leftover { owner, thing, .. } = &removable(ctx.facts, is_ours)[usize::from(branch)];
            let (project_id, user_id) = (owner.project_id.to_string(), owner.user_id.to_string());
            let (tag, header) = (thing.tag.clone(), None);
            let looks_twice = false;
            let subject = format!("{} {}", thing.name, thing.id);
            let remote = match thing.kind {
                Kind::Instance | Kind::Port => Remote::cloud(
                    cmd::DeleteInstance { header, project_id, tag, user_id, looks_twice },
                    subject,
                ),
                Kind::Volume => Remote::cloud(
                    cmd::DeleteVolume { header, project_id, tag, user_id, looks_twice },
                    subject,
                ),
                Kind::VolumeSnapshot => Remote::cloud(
                    cmd::DeleteVolumeSnapshots { header, project_id, tag, user_id, looks_twice },
                    subject,
                ),
            };
            remote.tolerating(reported()).into()
        })
        .learn(move |facts: &mut Facts, branch, output: &Output| {
            let tag = removable(facts, is_ours)[usize::from(branch)].thing.tag.clone();
            match output {
                Output::Failed(failure) => drop(facts.kept.insert(tag, failure.to_string())),
                _ if facts.removed.contains(&tag) => {}
                _ => facts.removed.push(tag),
            }
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::CLOUD_CALL_DEADLINE)
}

// tell_removed

fn tell_removed() -> Step<LeftoverSweep> {
    Step::new("tell_removed").action(|ctx: &Ctx, _| {
        let is_gone = |leftover: &&Leftover| ctx.facts.removed.contains(&leftover.thing.tag);
        let of_cloud = ctx.facts.leftovers.iter().filter(is_gone).map(|leftover| {
            let (thing, project_id) = (&leftover.thing, &leftover.owner.project_id);
            format!(
                "{:?} {} ({}) of project {project_id}: {}",
                thing.kind, thing.name, thing.id, leftover.why
            )
        });
        CatalogOp::TellRemoved(of_cloud.chain(ctx.facts.hosts.removed()).collect()).into()
    })
}

/// One for each tag: they are removed by it.
fn removable(facts: &Facts, is_ours: fn(Kind) -> bool) -> Vec<Leftover> {
    let mut all: Vec<Leftover> =
        facts.leftovers.iter().filter(|it| it.may_be_removed && is_ours(it.thing.kind)).cloned().collect();
    all.sort_by(|a, b| (&a.thing.tag, a.thing.kind).cmp(&(&b.thing.tag, b.thing.kind)));
    all.dedup_by(|a, b| a.thing.tag == b.thing.tag);
    all
}

/// A cloud that does not answer for one project hides no other, and what cannot be removed keeps nothing else.
fn reported() -> Tolerance {
    Tolerance::of_all(3)
}

fn count(count: usize) -> Branch {
    Branch::try_from(count).unwrap_or(Branch::MAX)
}
