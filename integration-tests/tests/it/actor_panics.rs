//! Each actor of each service panics, in turn: the process notices, ends with a code that says so and names the actor; and
//! started again it works.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::process::{Process, Program};
use integration_tests::world::Spec;

use crate::fixture::Shop;

/// What the watchdog ends a process with.
const ACTOR_PANICKED: i32 = 70;
const NOTICE_DEADLINE: Duration = Duration::from_secs(60);

/// The actors of a service, as ARCHITECTURE.md lists them: `| service | `actor` | ...`.
fn actors_of(service: &str) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md"))?;
    let rows = text.lines().filter(|line| line.starts_with(&format!("| {service} | `")));
    let actors: Vec<String> = rows.filter_map(|row| row.split('`').nth(1)).map(str::to_owned).collect();
    ensure!(!actors.is_empty(), "ARCHITECTURE.md lists no actor of {service}");
    Ok(actors)
}

fn check_each_panic_is_noticed(shop: &mut Shop, service: &str) -> Result<()> {
    for actor in actors_of(service)? {
        let process = process_of(shop, service)?;
        process.kill()?;
        let drilled: Program = process.program().with_env("HOLDFAST_DRILL", &format!("panic:{actor}"));
        let mut drilled = drilled.start()?;
        // An actor works when there is work: a snapshot gives some to each.
        let _ = shop.world.start_snapshot(shop.workload, true);
        let status = drilled.wait_for_end(NOTICE_DEADLINE).with_context(|| format!("{service}: {actor}"))?;
        ensure!(status.code() == Some(ACTOR_PANICKED), "{service}: {actor}: {status}\n{}", drilled.log());
        ensure!(drilled.log().contains(&actor), "the log does not name {actor}");
        shop.start_again(service)?;
        shop.settle()?;
    }
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
    check_each_panic_is_noticed(&mut shop, "datamover")?;
    shop.world.take_snapshot(shop.workload, true).map(drop)
}
