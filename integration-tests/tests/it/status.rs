//! What those who watch over the whole are told, compared with what is: over JSON, by Prometheus and in a browser.

mod browser;
mod prometheus;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::config::Timing;
use integration_tests::wait;
use integration_tests::world::{Spec, World};
use rest_api::{HostStatus, LifeState, QueueFigures, Reach, Status};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::fixture::{Shop, Sizes};
use browser::Browser;
use prometheus::Prometheus;

/// Gathered every 2 s, from counts that the broker renews every few seconds.
const SHOWN_DEADLINE: Duration = Duration::from_secs(60);

/// Waits until the status shows what `shows` looks for.
fn wait_until_shown(world: &World, what: &str, shows: impl Fn(&Status) -> bool) -> Result<Status> {
    let mut last = None;
    let shown = wait::until(SHOWN_DEADLINE, &format!("the status shows {what}"), || {
        let status = world.block_on(world.client.show_status())?;
        let found = shows(&status);
        last = Some(status);
        Ok(found.then_some(()))
    });
    let last = last.context("the status was asked")?;
    shown.with_context(|| format!("{last:#?}\n{}", world.logs()))?;
    Ok(last)
}

fn host<'a>(status: &'a Status, name: &str) -> Option<&'a HostStatus> {
    status.hosts.as_ref()?.iter().find(|host| host.host.as_str() == name)
}

fn queue<'a>(status: &'a Status, name: &str) -> Option<&'a QueueFigures> {
    status.queues.as_ref()?.iter().find(|queue| queue.name == name)
}

fn unfinished(status: &Status) -> u64 {
    status.sagas.iter().flat_map(|sagas| &sagas.unfinished).map(|row| row.count).sum()
}

/// Asks a service's management address.
fn fetch(world: &World, service: &str, path: &str) -> Result<(u16, String)> {
    let url = format!("http://{}{path}", world.management_address(service)?);
    world.block_on(async {
        let answer = reqwest::get(url).await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    })
}

#[test]
fn the_status_follows_a_snapshot_and_a_datamover_that_dies_under_it() -> Result<()> {
    let spec = Spec { rate_limit_mib_per_s: Some(3), ..Spec::default() };
    let mut shop = Shop::open_with(spec, Sizes { web_mib: 40, db_mib: 40 })?;
    let work = ["holdfast.q.dmapi", "holdfast.q.ctrl.rep", "holdfast.q.mover.host.host-a"];
    let rested = wait_until_shown(&shop.world, "a site where all is well", |status| {
        let is_read = |name: &&str| queue(status, name).is_some_and(|queue| queue.consumers == Some(1));
        let all_live = status.services.as_ref().is_some_and(|services| services.len() == 4);
        status.problems.is_empty() && all_live && work.iter().all(is_read)
    })?;
    ensure!(rested.broker_management.state == Reach::Ok && unfinished(&rested) == 0, "{rested:#?}");
    let mover = host(&rested, "host-a").context("host-a is shown")?;
    ensure!(
        mover.pools.len() == 1 && mover.version.as_deref() == Some(env!("CARGO_PKG_VERSION")),
        "{mover:?}"
    );

    let snapshot = shop.world.start_snapshot(shop.workload, true)?;
    shop.world.wait_for_transfer_in_progress(snapshot)?;
    wait_until_shown(&shop.world, "a saga, and two hosts at work", |status| {
        let works =
            |name| host(status, name).is_some_and(|host| host.jobs_running > 0 && host.bytes_done > 0);
        unfinished(status) == 1 && works("host-a") && works("host-b")
    })?;

    let doomed = "host-b".parse().context("a host name")?;
    shop.world.datamovers.get_mut(&doomed).context("a datamover")?.kill()?;
    let broken = wait_until_shown(&shop.world, "that host-b is silent", |status| {
        let no_reader = queue(status, "holdfast.q.mover.host.host-b").is_some_and(|q| q.consumers == Some(0));
        no_reader && host(status, "host-b").is_some_and(|host| host.state == LifeState::Silent)
    })?;
    ensure!(host(&broken, "host-a").is_some_and(|host| host.state == LifeState::Up), "{broken:#?}");
    ensure!(
        broken.problems.iter().any(|one| one.contains("the datamover on host-b")),
        "{:?}",
        broken.problems
    );
    let started_before = started_at(&broken, "host-b");
    shop.world.datamovers.get_mut(&doomed).context("a datamover")?.start_again()?;
    shop.world.wait_for_snapshot(snapshot)?;
    let healed = wait_until_shown(&shop.world, "that all is well again", |status| {
        status.problems.is_empty() && unfinished(status) == 0
    })?;
    ensure!(
        started_at(&healed, "host-b") > started_before,
        "the restart of host-b is not shown: {healed:#?}"
    );
    let ended = &healed.sagas.context("sagas are shown")?.ended_last_day;
    ensure!(ended.iter().any(|row| row.phase == "succeeded" && row.count == 1), "{ended:?}");
    Ok(())
}

fn started_at(status: &Status, host: &str) -> Option<rest_api::ApiTime> {
    let services = status.services.as_ref()?;
    let mover = services.iter().find(|one| one.service == "datamover" && one.host.as_str() == host)?;
    Some(mover.started_at)
}

#[test]
fn the_status_shows_a_queue_that_nobody_reads_and_a_letter_that_nobody_understands() -> Result<()> {
    let mut shop = Shop::open(Spec::default())?;
    shop.world.dmapi.kill()?;
    let snapshot = shop.world.start_snapshot(shop.workload, true)?;
    let blocked = wait_until_shown(&shop.world, "commands that wait for dmapi", |status| {
        queue(status, "holdfast.q.dmapi")
            .is_some_and(|queue| queue.depth.is_some_and(|depth| depth > 0) && queue.consumers == Some(0))
    })?;
    let said = "messages wait in holdfast.q.dmapi, and nobody reads it";
    ensure!(blocked.problems.iter().any(|problem| problem == said), "{:?}", blocked.problems);
    plant_dead_letter(&shop.world)?;
    shop.world.announce_dead_letters();
    let planted = wait_until_shown(&shop.world, "a dead letter", |status| {
        let letters = status.dead_letters.iter().flatten();
        letters.filter(|row| row.class == "ctrl").any(|row| row.count == Some(1))
    })?;
    let others = planted.dead_letters.iter().flatten().filter(|row| row.class != "ctrl");
    ensure!(others.clone().count() == 3 && others.clone().all(|row| row.count == Some(0)), "{planted:#?}");
    ensure!(planted.problems.iter().any(|one| one.contains("a dead letter of class ctrl")), "{planted:#?}");

    let table = shop.world.cli(&["top", "--once"]).output()?;
    let table = String::from_utf8(table.stdout)?;
    ensure!(table.contains("! there is a dead letter of class ctrl"), "{table}");

    shop.world.dmapi.start_again()?;
    shop.world.wait_for_snapshot(snapshot)?;
    wait_until_shown(&shop.world, "that the queue is read", |status| {
        queue(status, "holdfast.q.dmapi").is_some_and(|q| q.depth == Some(0) && q.consumers == Some(1))
    })?;
    Ok(())
}

/// Publishes as administrator what no worker would: the controller finds no sender in it.
fn plant_dead_letter(world: &World) -> Result<()> {
    let (user, password) = world.broker.admin_login();
    let url = format!("{}/api/exchanges/holdfast/holdfast.rep/publish", world.broker.management_url());
    let message = json!({
        "properties": {"message_id": runtime::Entropy.uuid().to_string(), "type": "holdfast.rep.v1.Rumour"},
        "routing_key": "rep.rumour", "payload": "nobody said this", "payload_encoding": "string",
    });
    let request =
        reqwest::Client::new().post(url).basic_auth(user, Some(password.expose_secret())).json(&message);
    let answer = world.block_on(async { request.send().await?.error_for_status()?.text().await })?;
    ensure!(answer.contains("\"routed\":true"), "{answer}");
    Ok(())
}

#[test]
fn health_says_that_the_broker_is_gone_and_that_it_is_back() -> Result<()> {
    let mut shop = Shop::open(Spec::default())?;
    let services = ["controller", "dmapi", "datamover-host-a"];
    for service in services {
        let (code, body) = fetch(&shop.world, service, "/health")?;
        ensure!(code == 200 && body.contains("\"healthy\":true"), "{service}: {code} {body}");
    }
    shop.world.with_broker(async |broker| broker.kill().await)?;
    for service in services {
        wait::until(SHOWN_DEADLINE, &format!("{service} says that it is not ready"), || {
            let (code, body) = fetch(&shop.world, service, "/health")?;
            Ok((code == 503 && body.contains("not connected to the broker")).then_some(()))
        })?;
    }
    let lost = wait_until_shown(&shop.world, "that the broker is gone", |status| {
        status.broker.state == Reach::Unreachable && status.broker_management.state == Reach::Unreachable
    })?;
    ensure!(lost.queues.is_none() && lost.dead_letters.is_none() && lost.sagas.is_some(), "{lost:#?}");
    let (_, metrics) = fetch(&shop.world, "controller", "/metrics")?;
    ensure!(metrics.contains("\nholdfast_broker_management_up 0\n"), "{metrics}");
    ensure!(!metrics.contains("holdfast_queue_") && !metrics.contains("holdfast_dead_letters"), "{metrics}");
    shop.world.with_broker(async |broker| broker.resume().await)?;
    for service in services {
        wait::until(SHOWN_DEADLINE, &format!("{service} is ready again"), || {
            Ok((fetch(&shop.world, service, "/health")?.0 == 200).then_some(()))
        })?;
    }
    wait_until_shown(&shop.world, "that all is well again", |status| status.problems.is_empty()).map(drop)
}

#[test]
fn a_real_prometheus_reads_the_metrics_of_every_service() -> Result<()> {
    let shop = Shop::open(Spec { timing: Timing::patient(), ..Spec::default() })?;
    let world = &shop.world;
    world.take_snapshot(shop.workload, true)?;
    wait_until_shown(world, "the snapshot", |status| {
        status.sagas.as_ref().is_some_and(|sagas| sagas.ended_last_day.iter().any(|row| row.count == 1))
    })?;
    let services = ["controller", "dmapi", "datamover-host-a", "datamover-host-b"];
    let mut targets = Vec::new();
    for service in services {
        let (code, text) = fetch(world, service, "/metrics")?;
        ensure!(code == 200, "{service}: {code}");
        prometheus::check_text(&text).with_context(|| format!("{service}:\n{text}"))?;
        ensure!(!text.contains(world.token.expose_secret()), "{service} tells a token");
        targets.push((service, world.management_address(service)?));
    }
    let prometheus = Prometheus::start(&targets)?;
    let wait_for = |query: &str, expected: f64| {
        let mut last = None;
        let found = wait::until(SHOWN_DEADLINE, &format!("{query} is {expected}"), || {
            last = world.block_on(prometheus.query(query))?;
            Ok((last == Some(expected)).then_some(()))
        });
        found.with_context(|| format!("it is {last:?}\n{}", prometheus.log()))
    };
    for service in services {
        wait_for(&format!("up{{job=\"{service}\"}}"), 1.0)?;
        wait_for(&format!("holdfast_ready{{job=\"{service}\"}}"), 1.0)?;
    }
    wait_for("holdfast_service_up{service=\"datamover\",host=\"host-b\"}", 1.0)?;
    wait_for("sum(holdfast_service_up)", 4.0)?;
    wait_for("holdfast_queue_consumers{queue=\"holdfast.q.dmapi\"}", 1.0)?;
    wait_for("holdfast_sagas_ended_last_day{kind=\"snapshot_create\",phase=\"succeeded\"}", 1.0)?;
    wait_for("sum(holdfast_dead_letters)", 0.0)?;
    wait_for("holdfast_outbox_messages", 0.0)?;
    wait_for("holdfast_broker_management_up", 1.0)?;
    wait_for("sum(holdfast_memory_budget_bytes)", 2.0 * 512.0 * 1024.0 * 1024.0)?;
    wait_for("sum(holdfast_leased_jobs)", 0.0)?;
    let handled = world.block_on(
        prometheus.query("holdfast_messages_handled_total{consumer=\"placer\",outcome=\"done\"}"),
    )?;
    ensure!(handled.is_some_and(|count| count >= 3.0), "dmapi placed {handled:?} messages");
    Ok(())
}

#[test]
fn a_browser_shows_the_page_and_keeps_it_fresh() -> Result<()> {
    let shop = Shop::open(Spec { timing: Timing::patient(), ..Spec::default() })?;
    let world = &shop.world;
    world.take_snapshot(shop.workload, true)?;
    wait_until_shown(world, "that all is well", |status| {
        status.problems.is_empty() && unfinished(status) == 0 && queue(status, "holdfast.q.intake").is_some()
    })?;
    let browser = Browser::new()?;
    let url = format!("http://{}/status", world.management_address("controller")?);
    let page = browser.dump(&url, &[])?;
    for part in [
        "All is well",
        "holdfast.q.mover.host.host-b.ctl",
        "datamover",
        "dmapi",
        "succeeded",
        "Nothing waits",
    ] {
        ensure!(page.contains(part), "{part} is not in the page:\n{page}");
    }
    // What comes over the wire is the whole page: no script is needed to read it.
    let (_, html) = fetch(world, "controller", "/status")?;
    ensure!(html.contains("All is well") && html.contains("http-equiv=\"refresh\""), "{html}");

    // The same page from a server that counts: what is shown after some seconds must be what came later.
    let counting = browser::CountingServer::start(html, "All is well")?;
    let fresh = browser.dump(&counting.url(), &["--virtual-time-budget=12000"])?;
    ensure!(
        !fresh.contains("reading 1<") && fresh.contains("reading "),
        "the page was not renewed:\n{fresh}"
    );

    for (name, size) in [("wide", "1200,1500"), ("narrow", "390,2400")] {
        let picture = browser.picture(&url, name, size)?;
        ensure!(picture.metadata()?.len() > 10_000, "{} is hardly a picture", picture.display());
    }
    Ok(())
}
