//! Who works: takes snapshots and brings them back, cancels now and then, looks at each byte that came back, and deletes
//! what he has seen. He does not know who kills; an answer that is lost he looks for by the name he gave.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use model::{InstanceId, RestoreId, SagaId, SnapshotId, VolumeId};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::{Rng as _, seq::IndexedRandom as _};
use rest_api::{NewRestore, NewSnapshot, Restore, Snapshot};

use super::account::Account;
use super::estate::{Estate, Point};
use crate::jobs;
use crate::world::World;

/// Two cores carry no more at once.
const JOBS_MAX: usize = 4;
const CALL_DEADLINE: Duration = Duration::from_secs(3);
const LOOK_INTERVAL: Duration = Duration::from_millis(700);
/// A request may lie in the socket of a controller that is frozen, and be read when it goes on.
const REQUEST_LOST_AFTER: Duration = Duration::from_secs(40);

/// An available snapshot.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub(super) id: SnapshotId,
    pub(super) site: usize,
    pub(super) name: String,
}

/// A job under way.
struct Job {
    name: String,
    site: usize,
    what: What,
    asked_at: Instant,
    look_at: Instant,
    cancel_at: Option<Instant>,
}

#[derive(Clone)]
enum What {
    Snapshot { full: bool, id: Option<SnapshotId> },
    Restore { of: Taken, one_click: bool, id: Option<RestoreId> },
}

/// Where he works.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) world: &'a World,
    pub(super) estate: &'a Estate,
}

/// What became of a request.
pub(super) enum Answer<T> {
    Got(T),
    Refused(String),
    /// It may have been done or not.
    Lost,
}

/// The one.
pub(super) struct User {
    rng: StdRng,
    next: Instant,
    number: u32,
    jobs: Vec<Job>,
    /// By the name of the snapshot, noted before it is asked for.
    pub(super) points: BTreeMap<String, Point>,
    pub(super) taken: Vec<Taken>,
    pub(super) seen_restores: Vec<RestoreId>,
}

impl User {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            next: Instant::now(),
            number: 0,
            jobs: Vec::new(),
            points: BTreeMap::new(),
            taken: Vec::new(),
            seen_restores: Vec::new(),
        }
    }

    /// Looks after his jobs, and starts one when it is time and `calm` is not asked for.
    pub(super) fn tick(&mut self, place: Place<'_>, account: &mut Account, calm: bool) -> Result<()> {
        for mut job in std::mem::take(&mut self.jobs) {
            if !self.look(&mut job, place, account)? {
                self.jobs.push(job);
            } else if matches!(job.what, What::Restore { one_click: true, .. }) {
                place.estate.set_aside(&place.world.places.cloud(), job.site, false)?;
            }
        }
        if !calm && self.jobs.len() < JOBS_MAX && Instant::now() >= self.next {
            self.next = Instant::now() + Duration::from_millis(self.rng.random_range(200..3_000));
            self.start(place, account)?;
        }
        Ok(())
    }

    /// What he still waits for.
    pub(super) fn waits_for(&self) -> Vec<&str> {
        self.jobs.iter().map(|job| job.name.as_str()).collect()
    }

    fn start(&mut self, place: Place<'_>, account: &mut Account) -> Result<()> {
        let estate = place.estate;
        let site = self.rng.random_range(0..estate.sites.len());
        let roll = self.rng.random_range(0..100);
        let cancel = self.rng.random_ratio(3, 20).then(|| self.rng.random_range(0..6_000));
        let mine: Vec<Taken> = self.taken.iter().filter(|taken| taken.site == site).cloned().collect();
        let of = mine.choose(&mut self.rng).cloned();
        let is_busy = self
            .jobs
            .iter()
            .any(|job| job.site == site && !matches!(job.what, What::Restore { one_click: false, .. }));
        self.number += 1;
        let now = Instant::now();
        let what = match of {
            None if is_busy => return Ok(()),
            None => What::Snapshot { full: true, id: None },
            Some(_) if roll < 50 && is_busy => return Ok(()),
            Some(_) if roll < 50 => What::Snapshot { full: roll < 12, id: None },
            Some(of) => What::Restore { of, one_click: roll > 92 && !is_busy, id: None },
        };
        let mut job = Job {
            name: format!("job-{}", self.number),
            site,
            what,
            asked_at: now,
            look_at: now + LOOK_INTERVAL,
            cancel_at: cancel.map(|after| now + Duration::from_millis(after)),
        };
        account.count(format!("asked {}", kind(&job.what)));
        let refused = match job.what.clone() {
            What::Snapshot { full, .. } => self.ask_for_snapshot(&mut job, full, place)?,
            What::Restore { of, one_click, .. } => self.ask_for_restore(&mut job, &of, one_click, place)?,
        };
        match refused {
            Some(code) => account.count(format!("refused {} {code}", kind(&job.what))),
            None => self.jobs.push(job),
        }
        Ok(())
    }

    fn ask_for_snapshot(&mut self, job: &mut Job, full: bool, place: Place<'_>) -> Result<Option<String>> {
        let Place { world, estate } = place;
        let point = estate.change(job.site, &mut self.rng)?;
        self.points.insert(job.name.clone(), point);
        let workload = estate.sites[job.site].workload.context("it is protected")?;
        let names = NewSnapshot { name: Some(job.name.clone()), ..NewSnapshot::default() };
        Ok(match call(world, world.client.create_snapshot(workload, full, names)) {
            Answer::Got(snapshot) => {
                job.what = What::Snapshot { full, id: Some(snapshot.summary.id) };
                None
            }
            Answer::Refused(code) => Some(code),
            Answer::Lost => None,
        })
    }

    fn ask_for_restore(
        &mut self,
        job: &mut Job,
        of: &Taken,
        one_click: bool,
        place: Place<'_>,
    ) -> Result<Option<String>> {
        let Place { world, estate } = place;
        let machines = &estate.sites[job.site].machines;
        let count = self.rng.random_range(1..=machines.len());
        let chosen = machines.iter().take(count);
        let chosen: Vec<_> =
            chosen.map(|machine| (machine.id, format!("{}-of-{}", machine.name, job.name))).collect();
        let options = if one_click { jobs::one_click() } else { jobs::selective(&chosen) };
        if one_click {
            estate.set_aside(&world.places.cloud(), job.site, true)?;
        }
        let new = NewRestore { name: Some(job.name.clone()), options, ..NewRestore::default() };
        Ok(match call(world, world.client.create_restore(of.id, new)) {
            Answer::Got(restore) => {
                job.what = What::Restore { of: of.clone(), one_click, id: Some(restore.summary.id) };
                None
            }
            Answer::Refused(code) => {
                if one_click {
                    estate.set_aside(&world.places.cloud(), job.site, false)?;
                }
                Some(code)
            }
            Answer::Lost => None,
        })
    }

    /// Looks at one job; whether it is over.
    fn look(&mut self, job: &mut Job, place: Place<'_>, account: &mut Account) -> Result<bool> {
        let Place { world, estate } = place;
        let now = Instant::now();
        if now < job.look_at {
            return Ok(false);
        }
        job.look_at = now + LOOK_INTERVAL;
        match job.what.clone() {
            What::Snapshot { id: None, full } => {
                let workload = estate.sites[job.site].workload;
                let Answer::Got(all) = call(world, world.client.list_snapshots(workload)) else {
                    return Ok(false);
                };
                let found = all.into_iter().find(|one| one.name == job.name).map(|one| one.id);
                job.what = What::Snapshot { full, id: found };
                Ok(found.is_none() && is_given_up(job, account))
            }
            What::Restore { id: None, of, one_click } => {
                let Answer::Got(all) = call(world, world.client.list_restores(None)) else {
                    return Ok(false);
                };
                let found = all.into_iter().find(|one| one.name == job.name).map(|one| one.id);
                job.what = What::Restore { of, one_click, id: found };
                Ok(found.is_none() && is_given_up(job, account))
            }
            What::Snapshot { id: Some(id), full } => {
                if cancel_is_due(job, now) {
                    count_cancel(account, call(world, world.client.cancel_snapshot(id)), job);
                }
                let Answer::Got(snapshot) = call(world, world.client.show_snapshot(id)) else {
                    return Ok(false);
                };
                if !is_over(world, &snapshot.summary.status, snapshot.summary.saga_id) {
                    return Ok(false);
                }
                // What was read before the saga was over may be what it was one moment before its end.
                let Answer::Got(snapshot) = call(world, world.client.show_snapshot(id)) else {
                    return Ok(false);
                };
                self.settle_snapshot(job, &snapshot, full, account);
                Ok(true)
            }
            What::Restore { id: Some(id), of, .. } => {
                if cancel_is_due(job, now) {
                    count_cancel(account, call(world, world.client.cancel_restore(id)), job);
                }
                let Answer::Got(restore) = call(world, world.client.show_restore(id)) else {
                    return Ok(false);
                };
                if !is_over(world, &restore.summary.status, restore.summary.saga_id) {
                    return Ok(false);
                }
                let Answer::Got(restore) = call(world, world.client.show_restore(id)) else {
                    return Ok(false);
                };
                account.count(ended(
                    kind(&job.what),
                    &restore.summary.status,
                    restore.summary.error_code.as_deref(),
                ));
                self.settle_restore(&restore, &of.name, place, account)?;
                Ok(true)
            }
        }
    }

    fn settle_snapshot(&mut self, job: &Job, snapshot: &Snapshot, full: bool, account: &mut Account) {
        let summary = &snapshot.summary;
        account.count(ended(
            kind(&What::Snapshot { full, id: None }),
            &summary.status,
            summary.error_code.as_deref(),
        ));
        account.add("bytes read from disks".to_owned(), summary.bytes_read);
        account.add("bytes stored on the target".to_owned(), summary.uploaded_size);
        if matches!(summary.status.as_str(), "available" | "restoring") {
            self.taken.push(Taken { id: summary.id, site: job.site, name: job.name.clone() });
        }
    }

    /// Compares each byte of a restore that is `available`, and deletes it.
    pub(super) fn settle_restore(
        &mut self,
        restore: &Restore,
        snapshot_name: &str,
        place: Place<'_>,
        account: &mut Account,
    ) -> Result<()> {
        let Place { world, estate } = place;
        self.seen_restores.push(restore.summary.id);
        if restore.summary.status != "available" {
            return Ok(());
        }
        let point = self.points.get(snapshot_name).context("the point is known")?;
        let mut volumes: Vec<VolumeId> = Vec::new();
        for disk in &restore.disks {
            let volume = disk.volume_id.context("an available restore has volumes")?;
            let expected = point.get(&(disk.instance_id, disk.id.to_string()));
            let found = Estate::volume_digest(&world.places.cloud(), volume)?;
            if expected != Some(&found) {
                account.find(format!(
                    "restore {}: disk {} differs from {snapshot_name}",
                    restore.summary.id, disk.id
                ));
            }
            account.add("bytes restored and compared".to_owned(), disk.size);
            account.count("disks restored and compared".to_owned());
            volumes.push(volume);
        }
        let instances: Vec<InstanceId> = restore.instances.iter().filter_map(|one| one.id).collect();
        estate.delete_restored(&world.places.cloud(), &instances, &volumes)
    }
}

/// Asks, and does not wait for ever.
pub(super) fn call<T>(world: &World, call: impl Future<Output = Result<T, rest_api::Error>>) -> Answer<T> {
    match world.block_on(async { tokio::time::timeout(CALL_DEADLINE, call).await }) {
        Ok(Ok(value)) => Answer::Got(value),
        Ok(Err(rest_api::Error::Refused { status, detail, .. })) if status < 500 => {
            Answer::Refused(detail.error_code)
        }
        Ok(Err(_)) | Err(_) => Answer::Lost,
    }
}

/// Whether a job and its saga ended, or stuck.
pub(super) fn is_over(world: &World, status: &str, saga: SagaId) -> bool {
    // `restoring` is an available snapshot that a restore reads, and a restore under way: the saga tells them apart.
    if !matches!(status, "available" | "restoring" | "error" | "cancelled") {
        return false;
    }
    let Answer::Got(saga) = call(world, world.client.show_saga(saga)) else { return false };
    matches!(saga.summary.phase.as_str(), "succeeded" | "compensated" | "stuck" | "abandoned")
}

fn is_given_up(job: &Job, account: &mut Account) -> bool {
    let given_up = job.asked_at.elapsed() > REQUEST_LOST_AFTER;
    if given_up {
        account.count(format!("lost request {}", kind(&job.what)));
    }
    given_up
}

fn cancel_is_due(job: &mut Job, now: Instant) -> bool {
    job.cancel_at.take_if(|at| *at <= now).is_some()
}

fn count_cancel<T>(account: &mut Account, answer: Answer<T>, job: &Job) {
    let answer = match answer {
        Answer::Got(_) => "taken".to_owned(),
        Answer::Refused(code) => code,
        Answer::Lost => "no answer".to_owned(),
    };
    account.count(format!("cancel {}: {answer}", kind(&job.what)));
}

const fn kind(what: &What) -> &'static str {
    match what {
        What::Snapshot { full: true, .. } => "full snapshot",
        What::Snapshot { full: false, .. } => "incremental snapshot",
        What::Restore { one_click: true, .. } => "one-click restore",
        What::Restore { one_click: false, .. } => "selective restore",
    }
}

fn ended(kind: &str, status: &str, code: Option<&str>) -> String {
    let status = if status == "restoring" { "available" } else { status };
    format!("ended {kind}: {status} {}", code.unwrap_or_default()).trim_end().to_owned()
}
