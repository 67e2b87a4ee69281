//! The judgement. It believes no number of a service: it lists cloud, target, catalog, queues, state folders and logs, and
//! reads every snapshot back.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use model::SnapshotId;
use rest_api::{RestoreSummary, SnapshotSummary};

use super::account::Account;
use super::estate::Estate;
use super::leftovers;
use super::user::{Answer, Place, Taken, User, call, is_over};
use crate::ledger::Ledger;
use crate::wait;
use crate::world::World;

const END_DEADLINE: Duration = Duration::from_secs(900);
const QUEUES_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(40);
/// Snapshots that are brought back by the services; all are read back by the judge himself.
const RESTORES_MAX: usize = 12;

/// Judges all of it. Stops the services.
pub(super) fn judge(
    world: &mut World,
    estate: &Estate,
    user: &mut User,
    before: &Ledger,
    account: &mut Account,
) -> Result<()> {
    super::say("all kills are over; judging");
    let (snapshots, restores) = wait_for_ends(world, account)?;
    adopt(&restores, world, estate, user, account)?;
    let taken = available(&snapshots, estate, user, account);
    account.add("snapshots available at the end".to_owned(), taken.len() as u64);
    restore_some(&taken, world, estate, user, account)?;
    judge_queues(world, account);
    for (name, process) in [("controller", &mut world.controller), ("dmapi", &mut world.dmapi)]
        .into_iter()
        .chain(world.datamovers.values_mut().map(|process| ("datamover", process)))
    {
        match process.stop(STOP_DEADLINE) {
            Ok(status) if status.success() => {}
            Ok(status) => account.find(format!("{name} was asked to stop and ended with {status}")),
            Err(error) => account.find(format!("{name}: {error}")),
        }
    }
    judge_cloud(world, before, account)?;
    leftovers::judge_catalog(world, account)?;
    leftovers::judge_target(world, &snapshots, account)?;
    leftovers::read_back(world, &taken, user, account)?;
    leftovers::judge_state(world, account)?;
    leftovers::judge_logs(world, account)
}

type Jobs = (Vec<SnapshotSummary>, Vec<RestoreSummary>);

fn wait_for_ends(world: &World, account: &mut Account) -> Result<Jobs> {
    let listed = wait::until(END_DEADLINE, "every saga is at rest", || {
        let Answer::Got(snapshots) = call(world, world.client.list_snapshots(None)) else { return Ok(None) };
        let Answer::Got(restores) = call(world, world.client.list_restores(None)) else { return Ok(None) };
        let sagas = snapshots.iter().map(|one| (one.status.as_str(), one.saga_id));
        let mut sagas = sagas.chain(restores.iter().map(|one| (one.status.as_str(), one.saga_id)));
        Ok(sagas.all(|(status, saga)| is_over(world, status, saga)).then_some((snapshots, restores)))
    });
    match listed {
        Ok(listed) => Ok(listed),
        Err(error) => {
            account.find(error.to_string());
            let snapshots = world.block_on(world.client.list_snapshots(None))?;
            Ok((snapshots, world.block_on(world.client.list_restores(None))?))
        }
    }
}

/// Restores whose request was given up for lost, and which came all the same.
fn adopt(
    restores: &[RestoreSummary],
    world: &World,
    estate: &Estate,
    user: &mut User,
    account: &mut Account,
) -> Result<()> {
    let names: BTreeMap<SnapshotId, String> =
        user.taken.iter().map(|taken| (taken.id, taken.name.clone())).collect();
    for summary in restores {
        if user.seen_restores.contains(&summary.id) {
            continue;
        }
        account.count("restores whose request seemed lost".to_owned());
        let restore = world.block_on(world.client.show_restore(summary.id))?;
        if let Some(name) = names.get(&summary.snapshot_id) {
            user.settle_restore(&restore, name, Place { world, estate }, account)?;
        }
    }
    Ok(())
}

/// All available snapshots, also those whose request seemed lost.
fn available(
    snapshots: &[SnapshotSummary],
    estate: &Estate,
    user: &User,
    account: &mut Account,
) -> Vec<Taken> {
    let mut taken = Vec::new();
    for summary in snapshots {
        let site = estate.sites.iter().position(|site| site.workload == Some(summary.workload_id));
        match (summary.status.as_str(), site) {
            ("available", Some(site)) => {
                taken.push(Taken { id: summary.id, site, name: summary.name.clone() });
            }
            ("error" | "cancelled", Some(_)) => {}
            (status, _) => account.find(format!("snapshot {} is {status}", summary.id)),
        }
        if !user.points.contains_key(&summary.name) {
            account.find(format!("snapshot {} was never asked for", summary.id));
        }
    }
    taken
}

/// Brings some back by the services themselves, spread over all that there are.
fn restore_some(
    taken: &[Taken],
    world: &World,
    estate: &Estate,
    user: &mut User,
    account: &mut Account,
) -> Result<()> {
    let every = taken.len().div_ceil(RESTORES_MAX).max(1);
    for (number, one) in taken.iter().step_by(every).enumerate() {
        let machines = &estate.sites[one.site].machines;
        let names: Vec<String> =
            machines.iter().map(|machine| format!("{}-at-the-end-{number}", machine.name)).collect();
        let chosen: Vec<_> =
            machines.iter().zip(&names).map(|(machine, name)| (machine.id, name.as_str())).collect();
        let restore = world.wait_for_restore(world.start_selective_restore(one.id, &chosen)?)?;
        if restore.summary.status != "available" {
            let (status, why) = (&restore.summary.status, &restore.summary.error_msg);
            account.find(format!("snapshot {} cannot be restored: {status}, {why:?}", one.id));
        }
        user.settle_restore(&restore, &one.name, Place { world, estate }, account)?;
        account.count("snapshots restored at the end".to_owned());
    }
    Ok(())
}

/// No dead letter, and nothing under way.
fn judge_queues(world: &World, account: &mut Account) {
    let quiet = wait::until(QUEUES_DEADLINE, "no queue has a message", || {
        let queues = world.block_on(world.broker.queues())?;
        let ours = queues.iter().filter(|queue| !queue.name.contains(".dead."));
        Ok(ours
            .map(|queue| queue.messages_ready + queue.messages_unacknowledged)
            .all(|n| n == 0)
            .then_some(()))
    });
    if let Err(error) = quiet {
        account.find(error.to_string());
    }
    for queue in world.block_on(world.broker.queues()).unwrap_or_default() {
        let count = queue.messages_ready + queue.messages_unacknowledged;
        if queue.name.contains(".dead.") && count > 0 {
            account.find(format!("{count} dead letters in {}", queue.name));
        }
    }
    account.sample_queues(world);
}

/// The cloud is as it was, but for the bytes of the disks that the soak itself changed.
fn judge_cloud(world: &World, before: &Ledger, account: &mut Account) -> Result<()> {
    for line in before.difference(&Ledger::of_cloud(&world.places.cloud())?) {
        if !(line.starts_with("~ instances/") && line.contains("/disk")) {
            account.find(format!("the cloud is not as it was: {line}"));
        }
    }
    Ok(())
}
