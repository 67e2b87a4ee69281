//! Each actor of each service panics, in turn: the process notices, ends with a code that says so and names the actor; and
//! started again it works.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::process::{Process, Program};
use integration_tests::wait;
use integration_tests::world::Spec;

use crate::fixture::Shop;

/// What the watchdog ends a process with.
const ACTOR_PANICKED: i32 = 70;
const NOTICE_DEADLINE: Duration = Duration::from_secs(60);

/// An actor, and whether its panic ends the process.
struct Listed {
    name: String,
    ends: bool,
}

/// The actors of a service, as ARCHITECTURE.md lists them: `| service | `actor` | ... | when it panics |`.
fn actors_of(service: &str) -> Result<Vec<Listed>> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md"))?;
    let rows = text.lines().filter(|line| line.starts_with(&format!("| {service} | `")));
    let listed = |row: &str| {
        Some(Listed { name: row.split('`').nth(1)?.to_owned(), ends: row.contains("process ends, 70") })
    };
    let actors: Vec<Listed> = rows.filter_map(listed).collect();
    ensure!(!actors.is_empty(), "ARCHITECTURE.md lists no actor of {service}");
    Ok(actors)
}

fn check_each_panic_is_noticed(shop: &mut Shop, service: &str) -> Result<()> {
    for actor in actors_of(service)? {
        let name = &actor.name;
        let process = process_of(shop, service)?;
        process.kill()?;
        let drilled: Program = process.program().with_env("HOLDFAST_DRILL", &format!("panic:{name}"));
        let log_before = process.log().len();
        let mut drilled = drilled.start()?;
        give_work(shop, service, name)?;
        if actor.ends {
            let status =
                drilled.wait_for_end(NOTICE_DEADLINE).with_context(|| format!("{service}: {name}"))?;
            ensure!(status.code() == Some(ACTOR_PANICKED), "{service}: {name}: {status}\n{}", drilled.log());
        } else {
            let noticed = || Ok(drilled.log()[log_before..].contains("panicked").then_some(()));
            wait::until(NOTICE_DEADLINE, &format!("the panic of {name} is noticed"), noticed)?;
            ensure!(drilled.is_running(), "{service}: {name} took the process down");
        }
        ensure!(drilled.log()[log_before..].contains(name.as_str()), "the log does not name {name}");
        drop(drilled);
        shop.start_again(service)?;
        shop.settle()?;
    }
    Ok(())
}

/// An actor panics at its first work, so each gets some: the intake a job over the bus, a pool a disk to write, the others
/// a snapshot.
fn give_work(shop: &mut Shop, service: &str, actor: &str) -> Result<()> {
    if service == "controller" {
        return shop.submit_over_the_bus(actor);
    }
    if actor.starts_with("pool_consumer") {
        // The other host would take from the same queue.
        shop.world.datamovers.values_mut().nth(1).context("a second datamover")?.kill()?;
        let snapshot = shop.last_snapshot()?;
        shop.world.start_selective_restore(snapshot, &[(shop.web, "web-of-drill")])?;
        return Ok(());
    }
    shop.world.start_snapshot(shop.workload, true)?;
    Ok(())
}

fn process_of<'a>(shop: &'a mut Shop, service: &str) -> Result<&'a mut Process> {
    match service {
        "controller" => Ok(&mut shop.world.controller),
        "dmapi" => Ok(&mut shop.world.dmapi),
        _ => shop.world.datamovers.values_mut().next().context("a datamover"),
    }
}

#[test]
fn every_actor_of_the_controller_that_panics_is_noticed() -> Result<()> {
    let mut shop = Shop::open(Spec::default())?;
    check_each_panic_is_noticed(&mut shop, "controller")?;
    shop.world.take_snapshot(shop.workload, true).map(drop)
}

#[test]
fn every_actor_of_dmapi_that_panics_is_noticed() -> Result<()> {
    let mut shop = Shop::open(Spec::default())?;
    check_each_panic_is_noticed(&mut shop, "dmapi")?;
    shop.world.take_snapshot(shop.workload, true).map(drop)
}

#[test]
fn every_actor_of_a_datamover_that_panics_is_noticed() -> Result<()> {
    let mut shop = Shop::open(Spec::default())?;
    shop.world.take_snapshot(shop.workload, true)?;
    check_each_panic_is_noticed(&mut shop, "datamover")?;
    shop.world.take_snapshot(shop.workload, true).map(drop)
}
