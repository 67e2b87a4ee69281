//! An instance that moves to another host after it was looked up, while the command waits in the queue of its old host:
//! that host refuses it, it is looked up again, and its new host does the work, once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bus_config::queue;
use integration_tests::scenario::move_instance;
use integration_tests::wait;
use integration_tests::world::Spec;
use model::{HostName, SagaId};
use rest_api::{Saga, SagaJob};
use rustix::process::Signal;

use crate::drill::Drill;
use crate::fixture::Shop;

const STEP_DEADLINE: Duration = Duration::from_secs(60);

fn show_saga(shop: &Shop, id: SagaId) -> Result<Saga> {
    Ok(shop.world.block_on(shop.world.client.show_saga(id))?)
}

/// The only job of a step.
fn job_of(saga: Saga, step: &str) -> Option<SagaJob> {
    saga.jobs.into_iter().find(|job| job.step == step)
}

/// Waits until a command lies with a host that does not read on.
fn wait_for_command(shop: &Shop, host: &HostName) -> Result<()> {
    let queue = queue::mover_host(host);
    wait::until(STEP_DEADLINE, &format!("a command waits in {queue}"), || {
        let queues = shop.world.block_on(shop.world.broker.queues())?;
        let counts =
            queues.into_iter().find(|counts| counts.name == queue).context("the host has a queue")?;
        Ok((counts.messages_ready + counts.messages_unacknowledged > 0).then_some(()))
    })
}

/// Stops the datamover of the web server's host, moves the server when a command for it waits there, and goes on.
fn move_web_under_a_command(shop: &Shop, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let (from, to): (HostName, HostName) = ("host-a".parse()?, "host-b".parse()?);
    let datamover = &shop.world.datamovers[&from];
    datamover.signal(Signal::STOP)?;
    act()?;
    wait_for_command(shop, &from)?;
    move_instance(&shop.world.places.cloud(), shop.web, &from, &to)?;
    datamover.signal(Signal::CONT)
}

/// Checks that the old host was asked first; gives the job of the attempt that did it.
fn assert_asked_again(shop: &Shop, saga: SagaId, step: &str) -> Result<SagaJob> {
    let job = job_of(show_saga(shop, saga)?, step).context("the job is known")?;
    ensure!(job.attempt > 1, "{step} was not refused by the old host: attempt {}", job.attempt);
    shop.assert_no_effect_twice()?;
    shop.assert_no_error_logged()?;
    Ok(job)
}

#[test]
fn a_guest_that_moved_is_frozen_on_its_new_host() -> Result<()> {
    let shop = Shop::open_for_web_only(Spec::default())?;
    let mut started = None;
    move_web_under_a_command(&shop, || {
        started = Some(shop.world.start_snapshot(shop.workload, true)?);
        Ok(())
    })?;
    let snapshot = shop.world.wait_for_snapshot(started.context("it was started")?)?;
    shop.assert_taken(&snapshot, 0)?;
    assert_asked_again(&shop, snapshot.summary.saga_id, "freeze_guests")?;
    Ok(())
}

#[test]
fn a_disk_whose_instance_moved_is_transferred_by_its_new_host() -> Result<()> {
    let shop = Shop::open_for_web_only(Spec::default())?;
    // The look before the transfer takes long enough to stop the old host between thaw and transfer.
    let slow = "effect = \"describe_instance\"\nfail = \"delay\"\ndelay_ms = 5000\nafter = 1\ntimes = 1";
    let drill = Drill::begin(&shop, &[slow])?;
    let id = shop.world.start_snapshot(shop.workload, true)?;
    let saga = shop.world.block_on(shop.world.client.show_snapshot(id))?.summary.saga_id;
    wait::until(STEP_DEADLINE, "the guest is thawed, and looked at again", || {
        Ok(job_of(show_saga(&shop, saga)?, "describe_instances_again").map(drop))
    })?;
    move_web_under_a_command(&shop, || Ok(()))?;
    let snapshot = shop.world.wait_for_snapshot(id)?;
    drop(drill);
    shop.assert_taken(&snapshot, 0)?;
    let job = assert_asked_again(&shop, saga, "transfer_disks")?;
    ensure!(job.worker.as_deref() == Some("host-b"), "it was done by {:?}", job.worker);
    Ok(())
}
