//! A datamover that is stopped (SIGSTOP) for longer than its lease, as a host that hangs, and then goes on: its right to
//! write ended by its own clock, its work goes to another attempt, and whatever it still says changes nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::wait;
use model::{HostName, SagaId};
use rest_api::SagaJob;
use rustix::process::Signal;

use crate::fixture::Shop;

/// A lease of 8 s, and as long until the controller may judge.
const TAKEOVER_DEADLINE: Duration = Duration::from_secs(60);

/// The largest job of the saga's transfers or writes that somebody runs.
fn running_job(shop: &Shop, saga: SagaId, step: &str) -> Result<SagaJob> {
    let saga = shop.world.block_on(shop.world.client.show_saga(saga))?;
    let running = saga.jobs.into_iter().filter(|job| job.step == step && job.worker.is_some());
    running.max_by_key(|job| job.bytes_total).context("nobody runs such a job")
}

fn wait_for_attempt(shop: &Shop, saga: SagaId, before: &SagaJob) -> Result<()> {
    wait::until(TAKEOVER_DEADLINE, "another attempt begins", || {
        let saga = shop.world.block_on(shop.world.client.show_saga(saga))?;
        let job = saga.jobs.into_iter().find(|job| job.id == before.id).context("the job is known")?;
        Ok((job.attempt > before.attempt).then_some(()))
    })
}

#[test]
fn a_transfer_whose_datamover_hangs_past_its_lease_is_done_once_under_a_new_epoch() -> Result<()> {
    let shop = Shop::open_slow()?;
    let cloud = shop.cloud_ledger()?;
    let id = shop.world.start_snapshot(shop.workload, true)?;
    shop.world.wait_for_transfer_in_progress(id)?;
    let saga = shop.world.block_on(shop.world.client.show_snapshot(id))?.summary.saga_id;
    let job = running_job(&shop, saga, "transfer_disks")?;
    let host: HostName = job.worker.clone().context("a worker")?.parse()?;
    let datamover = &shop.world.datamovers[&host];
    datamover.signal(Signal::STOP)?;
    wait_for_attempt(&shop, saga, &job)?;
    datamover.signal(Signal::CONT)?;
    let snapshot = shop.world.wait_for_snapshot(id)?;
    shop.assert_taken(&snapshot, 0)?;
    ensure!(datamover.log().contains("the job was stopped"), "the first run went on: {}", datamover.log());
    shop.assert_no_effect_twice()?;
    shop.assert_no_error_logged()?;
    let left = cloud.difference(&shop.cloud_ledger()?);
    ensure!(left.is_empty(), "left in the cloud: {left:?}");
    Ok(())
}

#[test]
fn a_write_whose_datamover_hangs_past_its_lease_goes_to_another_and_ends_with_its_bytes() -> Result<()> {
    let shop = Shop::open_slow()?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?.summary.id;
    let id = shop.world.start_selective_restore(snapshot, &[(shop.web, "web-2")])?;
    shop.world.wait_for_write_in_progress(id)?;
    let saga = shop.world.block_on(shop.world.client.show_restore(id))?.summary.saga_id;
    let job = running_job(&shop, saga, "write_disks")?;
    let host: HostName = job.worker.clone().context("a worker")?.parse()?;
    let datamover = &shop.world.datamovers[&host];
    datamover.signal(Signal::STOP)?;
    wait_for_attempt(&shop, saga, &job)?;
    datamover.signal(Signal::CONT)?;
    let restore = shop.world.wait_for_restore(id)?;
    shop.assert_restored(&restore, 0)?;
    shop.assert_no_effect_twice()?;
    shop.assert_no_error_logged()
}
