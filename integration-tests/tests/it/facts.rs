//! Facts for another service: the Python example of the documentation, as it is, enrolled as the documentation says.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bus_config::{VHOST, queue};
use integration_tests::process::binary;
use integration_tests::wait;
use integration_tests::world::Spec;
use secrecy::ExposeSecret as _;

use crate::fixture::Shop;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/subscribe_facts.py");
/// A restarted broker takes half a minute on a busy machine, and the example pauses up to 30 s between attempts.
const DEADLINE: Duration = Duration::from_secs(120);

/// `holdfast-controller intake …` against the shop's broker; gives what it prints.
fn intake(shop: &Shop, args: &[&str]) -> Result<String> {
    let (user, password) = shop.world.broker.admin_login();
    let password_file = shop.world.places.etc().join("broker-admin.password");
    std::fs::write(&password_file, password.expose_secret())?;
    let output = Command::new(binary("holdfast-controller")?)
        .arg("intake")
        .args(args)
        .args(["--management-url", &shop.world.broker.management_url(), "--admin-user", user])
        .arg("--admin-password-file")
        .arg(&password_file)
        .current_dir(shop.world.places.etc())
        .output()?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// The example at work. Dropping it kills it.
struct Subscriber<'a> {
    shop: &'a Shop,
    service: &'static str,
    child: Option<Child>,
}

impl Drop for Subscriber<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl<'a> Subscriber<'a> {
    fn start(shop: &'a Shop, service: &'static str) -> Result<Self> {
        let mut subscriber = Self { shop, service, child: None };
        subscriber.start_again()?;
        Ok(subscriber)
    }

    fn start_again(&mut self) -> Result<()> {
        let user = format!("holdfast-intake-{}", self.service);
        let password =
            std::fs::read_to_string(self.shop.world.places.etc().join(format!("{user}.password")))?;
        let address = self.shop.world.broker.amqp_url().replace("amqp://", "");
        let log = std::fs::File::options().create(true).append(true).open(self.log())?;
        let child = Command::new("/usr/bin/python3")
            .arg(EXAMPLE)
            .arg("--state")
            .arg(self.shop.world.places.state().join(format!("{}.json", self.service)))
            .env("HOLDFAST_INTAKE_URL", format!("amqp://{user}:{}@{address}/{VHOST}", password.trim()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it runs")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.shop.world.places.logs().join(format!("{}.log", self.service))
    }

    fn lines(&self) -> Result<Vec<String>> {
        Ok(std::fs::read_to_string(self.log())?.lines().map(str::to_owned).collect())
    }

    /// Waits until so many sagas were told to have succeeded.
    fn wait_for_sagas(&self, count: usize) -> Result<()> {
        wait::until(DEADLINE, &format!("{} hears of {count} sagas", self.service), || {
            let ended = self.lines()?.iter().filter(|line| line.contains(" saga.succeeded ")).count();
            Ok((ended >= count).then_some(()))
        })
        .with_context(|| format!("{:?}\n{}", self.lines(), self.shop.world.logs()))
    }

    /// Waits until it is connected for the `count`th time.
    fn wait_for_connection(&self, count: usize) -> Result<()> {
        wait::until(DEADLINE, &format!("{} connects", self.service), || {
            let connected = self.lines()?.iter().filter(|line| *line == "connected").count();
            Ok((connected >= count).then_some(()))
        })
        .with_context(|| format!("{:?}", self.lines()))
    }

    /// The numbers of the facts that were printed.
    fn numbers(&self) -> Result<BTreeSet<u64>> {
        let lines = self.lines()?;
        let facts = lines.iter().filter_map(|line| line.strip_prefix("fact demo "));
        facts.map(|fact| Ok(fact.split(' ').next().context("a number")?.parse()?)).collect()
    }

    fn lost(&self) -> Result<Vec<String>> {
        Ok(self.lines()?.into_iter().filter(|line| line.starts_with("lost ")).collect())
    }
}

#[test]
fn a_subscriber_hears_every_fact_of_its_project_over_kills_and_lost_connections() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let printed = intake(&shop, &["add", "watcher", "--project", "demo"])?;
    ensure!(printed.contains("only listens"), "{printed}");
    intake(&shop, &["add", "elsewhere", "--project", "another"])?;
    let mut watcher = Subscriber::start(&shop, "watcher")?;
    let elsewhere = Subscriber::start(&shop, "elsewhere")?;
    watcher.wait_for_connection(1)?;
    elsewhere.wait_for_connection(1)?;

    shop.world.take_snapshot(shop.workload, true)?;
    watcher.wait_for_sagas(1)?;
    // What happens while it is down waits in its queue.
    watcher.kill()?;
    shop.world.take_snapshot(shop.workload, false)?;
    watcher.start_again()?;
    watcher.wait_for_sagas(2)?;
    // It comes back by itself.
    shop.world.block_on(shop.world.broker.admin().close_connections("holdfast-intake-watcher"))?;
    watcher.wait_for_connection(3)?;
    shop.world.take_snapshot(shop.workload, false)?;
    watcher.wait_for_sagas(3)?;

    let numbers = watcher.numbers()?;
    let all: BTreeSet<u64> =
        (numbers.first().copied().context("facts")?..=*numbers.last().context("facts")?).collect();
    ensure!(numbers == all && watcher.lost()?.is_empty(), "{:?}", watcher.lines()?);
    for fact in [
        "snapshot.creating",
        "snapshot.uploading",
        "snapshot.available",
        "workload.locked",
        "workload.available",
    ] {
        let times = watcher.lines()?.iter().filter(|line| line.contains(&format!(" {fact} "))).count();
        ensure!(times >= 3, "{fact} was told {times} times: {:?}", watcher.lines()?);
    }
    let leaked: Vec<String> = elsewhere.lines()?.into_iter().filter(|line| line != "connected").collect();
    ensure!(leaked.is_empty(), "another project's facts came: {leaked:?}");
    Ok(())
}

#[test]
fn a_queue_that_overflows_shows_as_a_gap_of_exactly_what_was_dropped() -> Result<()> {
    const KEPT: u64 = 3;
    let shop = Shop::open(Spec::default())?;
    intake(&shop, &["add", "slow", "--project", "demo"])?;
    let mut slow = Subscriber::start(&shop, "slow")?;
    slow.wait_for_connection(1)?;
    shop.world.take_snapshot(shop.workload, true)?;
    slow.wait_for_sagas(1)?;
    ensure!(slow.lost()?.is_empty(), "{:?}", slow.lines()?);
    let before = *slow.numbers()?.last().context("facts")?;
    slow.kill()?;

    let name = queue::subscriber("slow");
    let policy = format!(
        r#"{{"policies":[{{"vhost":"{VHOST}","name":"drill","pattern":"^{}$","apply-to":"queues","priority":20,
            "definition":{{"max-length":{KEPT},"overflow":"drop-head"}}}}]}}"#,
        name.replace('.', r"\\.")
    );
    shop.world.block_on(shop.world.broker.admin().import_definitions(&serde_json::from_str(&policy)?))?;
    shop.world.take_snapshot(shop.workload, false)?;
    wait::until(DEADLINE, "the queue holds what it may", || {
        let queues = shop.world.block_on(shop.world.broker.queues())?;
        let queue = queues.into_iter().find(|queue| queue.name == name).context("the queue")?;
        Ok((queue.messages_ready == KEPT).then_some(()))
    })?;
    slow.start_again()?;
    slow.wait_for_sagas(2)?;

    let after = *slow.numbers()?.last().context("facts")?;
    ensure!(slow.lost()? == [format!("lost demo {}-{}", before + 1, after - KEPT)], "{:?}", slow.lines()?);
    let heard: BTreeSet<u64> = slow.numbers()?.into_iter().filter(|number| *number > before).collect();
    ensure!(heard == (after - KEPT + 1..=after).collect(), "{heard:?}");
    Ok(())
}

#[test]
fn enrolling_is_repeatable_takes_back_what_is_not_named_and_removing_leaves_nothing() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let add = ["add", "ledger", "--kind", "snapshot", "--project", "demo", "--project", "another"];
    let printed = intake(&shop, &add)?;
    ensure!(printed.contains("kinds = [\"snapshot\"]\nprojects = [\"demo\", \"another\"]"), "{printed}");
    ensure!(intake(&shop, &add)? == printed, "the second time says the same");
    let listed = || -> Result<String> {
        let listed = intake(&shop, &["list"])?;
        Ok(listed.lines().find(|line| line.starts_with("ledger")).unwrap_or_default().to_owned())
    };
    ensure!(listed()?.ends_with("  evt.another.*.* evt.demo.*.*"), "{}", listed()?);
    intake(&shop, &["add", "ledger", "--kind", "snapshot", "--project", "demo"])?;
    ensure!(listed()?.ends_with("  evt.demo.*.*"), "{}", listed()?);
    intake(&shop, &["add", "ledger", "--all-projects"])?;
    ensure!(listed()?.ends_with("  evt.*.*.*"), "{}", listed()?);
    for _ in 0..2 {
        intake(&shop, &["remove", "ledger"])?;
    }
    ensure!(listed()?.is_empty(), "{}", listed()?);
    let queues = shop.world.block_on(shop.world.broker.queues())?;
    ensure!(!queues.iter().any(|it| it.name == queue::subscriber("ledger")), "its queue is still there");
    Ok(())
}
