//! The part of `leftover_sweep` that looks at compute hosts: backup jobs, checkpoints, bitmaps and old blocks of snapshots that
//! are over, guests that stay frozen, journals of jobs that nobody waits for.
//!
//! A host tells what there is, and the catalog knows what of it is in use: what an unfinished saga made, what the next snapshot
//! goes on from, and all of an instance whose workload is at work. First what guests feel is removed, then what takes room.

use std::collections::{BTreeMap, BTreeSet};

use model::{HostName, InstanceId, JobId, Owner, SagaId, SnapshotId};
use proto::cmd::v1 as cmd;
use proto::convert::PlacedAt;
use proto::rep::v1 as rep;
use saga::{Branch, Step};
use serde::{Deserialize, Serialize};

use super::super::catalog_op::CatalogOp;
use super::super::remote::Remote;
use super::super::{Output, answer, budget};
use super::{Ctx, LeftoverSweep, Params, count, reported};

/// What the steps learned of hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// By host.
    pub found: BTreeMap<Branch, Vec<HostThing>>,
    /// By host: why it could not be looked at, or not at all of it.
    pub unseen: BTreeMap<Branch, String>,
    pub leftovers: Vec<HostLeftover>,
    /// By its place among the leftovers: why it could not be removed.
    pub kept: BTreeMap<usize, String>,
    /// By their places.
    pub removed: BTreeSet<usize>,
}

/// Something that a host told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostThing {
    pub kind: HostKind,
    pub instance_id: Option<InstanceId>,
    pub snapshot_id: Option<SnapshotId>,
    pub job_id: Option<JobId>,
    pub saga_id: Option<SagaId>,
    pub name: String,
    /// As the cloud noted it on the host.
    pub owner: Option<Owner>,
    pub age_seconds: Option<u64>,
    pub size_bytes: Option<u64>,
    /// Of a record of changes: the snapshot from which the next one goes on by it.
    pub base_of: Option<SnapshotId>,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostKind {
    Cut,
    Checkpoint,
    Bitmap,
    Scratch,
    FrozenGuest,
    Journal,
}

/// Something on a host that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLeftover {
    pub host: HostName,
    pub thing: HostThing,
    /// Absent: nobody knows.
    pub owner: Option<Owner>,
    /// Since its saga ended, or else as the host tells it.
    pub age_seconds: Option<u64>,
    /// For people.
    pub why: String,
    pub may_be_removed: bool,
}

impl HostKind {
    const ALL: [Self; 6] =
        [Self::Cut, Self::Checkpoint, Self::Bitmap, Self::Scratch, Self::FrozenGuest, Self::Journal];

    /// As on the wire, and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Checkpoint => "checkpoint",
            Self::Bitmap => "bitmap",
            Self::Scratch => "scratch",
            Self::FrozenGuest => "frozen_guest",
            Self::Journal => "journal",
        }
    }

    /// Whether it may be in the way of a guest, or of a job: it goes first, and others depend on it.
    #[must_use]
    pub const fn is_of_guest(self) -> bool {
        matches!(self, Self::Cut | Self::FrozenGuest | Self::Journal)
    }
}

impl HostThing {
    /// Reads a host's word; `None`: it makes no sense, or is of a kind that a later version has.
    #[must_use]
    pub fn read(wire: &rep::HostLeftover) -> Option<Self> {
        let kind = HostKind::ALL.into_iter().find(|kind| kind.as_str() == wire.kind)?;
        let owner = wire.project_id.parse().ok().zip(wire.user_id.parse().ok());
        let thing = Self {
            kind,
            instance_id: wire.instance_id.parse().ok(),
            snapshot_id: wire.snapshot_id.parse().ok(),
            job_id: wire.job_id.parse().ok(),
            saga_id: wire.saga_id.parse().ok(),
            name: wire.name.chars().filter(|letter| !letter.is_control()).take(200).collect(),
            owner: owner.map(|(project_id, user_id)| Owner { project_id, user_id }),
            age_seconds: wire.age_seconds,
            size_bytes: wire.size_bytes,
            base_of: wire.base_of_snapshot_id.parse().ok(),
        };
        let is_whole = match kind {
            HostKind::Cut | HostKind::Checkpoint | HostKind::Bitmap => {
                thing.instance_id.is_some() && thing.snapshot_id.is_some()
            }
            HostKind::Scratch => thing.snapshot_id.is_some(),
            HostKind::FrozenGuest => thing.instance_id.is_some(),
            HostKind::Journal => thing.job_id.is_some(),
        };
        is_whole.then_some(thing)
    }

    /// By which people find it.
    #[must_use]
    pub fn id(&self) -> String {
        let words = [
            self.instance_id.map(|id| id.to_string()),
            self.snapshot_id.map(|id| id.to_string()),
            self.job_id.map(|id| id.to_string()),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join("/")
    }
}

impl Facts {
    /// What is no more, for the log.
    pub(super) fn removed(&self) -> impl Iterator<Item = String> {
        let gone = self.removed.iter().filter_map(|place| self.leftovers.get(*place));
        gone.map(|HostLeftover { host, thing, why, .. }| {
            format!("{} {} on host {host}: {why}", thing.kind.as_str(), thing.id())
        })
    }
}

pub(super) fn list_on_hosts() -> Step<LeftoverSweep> {
    Step::new("list_on_hosts")
        .branches(|params: &Params, _: &super::Facts| count(params.hosts.len()))
        .action(|ctx: &Ctx, branch| {
            let host = ctx.params.hosts[usize::from(branch)].clone();
            let subject = format!("host {host}");
            let command = cmd::ListLeftovers::default();
            Remote::placed(PlacedAt::Host(host), command, subject).tolerating(reported()).into()
        })
        .learn(|facts: &mut super::Facts, branch, output: &Output| match output {
            Output::Failed(failure) => drop(facts.hosts.unseen.insert(branch, failure.to_string())),
            answered => {
                let (things, is_cut_short) = answer::host_things(answered);
                if is_cut_short {
                    let reason = format!("it has more than the {} that it told: look again", things.len());
                    facts.hosts.unseen.insert(branch, reason);
                }
                facts.hosts.found.insert(branch, things);
            }
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::MOVER_CALL_DEADLINE)
}

pub(super) fn judge_on_hosts() -> Step<LeftoverSweep> {
    Step::new("judge_on_hosts")
        .action(|ctx: &Ctx, _| {
            let found = ctx.facts.hosts.found.iter().flat_map(|(branch, things)| {
                let host = &ctx.params.hosts[usize::from(*branch)];
                things.iter().map(move |thing| (host.clone(), thing.clone()))
            });
            let Params { age_min_seconds, is_by_itself, .. } = *ctx.params;
            CatalogOp::JudgeHostLeftovers { age_min_seconds, is_by_itself, found: found.collect() }.into()
        })
        .learn(|facts: &mut super::Facts, _, output: &Output| {
            facts.hosts.leftovers = answer::host_leftovers_judged(output);
            facts.hosts.found.clear();
        })
}

pub(super) fn remove(name: &'static str, is_ours: fn(HostKind) -> bool) -> Step<LeftoverSweep> {
    Step::new(name)
        .branches(
            move |params: &Params, facts: &super::Facts| {
                if params.is_removed { count(removable(&facts.hosts, is_ours).len()) } else { 0 }
            },
        )
        .action(move |ctx: &Ctx, branch| {
            let place = removable(&ctx.facts.hosts, is_ours)[usize::from(branch)];
            let HostLeftover { host, thing, .. } = &ctx.facts.hosts.leftovers[place];
            let text = |id: Option<String>| id.unwrap_or_default();
            let command = cmd::RemoveLeftover {
                kind: thing.kind.as_str().to_owned(),
                instance_id: text(thing.instance_id.map(|id| id.to_string())),
                snapshot_id: text(thing.snapshot_id.map(|id| id.to_string())),
                job_id: text(thing.job_id.map(|id| id.to_string())),
                ..Default::default()
            };
            let subject = format!("{} {}", thing.kind.as_str(), thing.id());
            Remote::placed(PlacedAt::Host(host.clone()), command, subject).tolerating(reported()).into()
        })
        .learn(move |facts: &mut super::Facts, branch, output: &Output| {
            let place = removable(&facts.hosts, is_ours)[usize::from(branch)];
            match output {
                Output::Failed(failure) => drop(facts.hosts.kept.insert(place, failure.to_string())),
                _ => drop(facts.hosts.removed.insert(place)),
            }
        })
        .attempts_max(budget::CLOUD_CALL_ATTEMPTS)
        .deadline(budget::MOVER_CALL_DEADLINE)
}

fn removable(facts: &Facts, is_ours: fn(HostKind) -> bool) -> Vec<usize> {
    let mine = |(_, it): &(usize, &HostLeftover)| it.may_be_removed && is_ours(it.thing.kind);
    facts.leftovers.iter().enumerate().filter(mine).map(|(place, _)| place).collect()
}
