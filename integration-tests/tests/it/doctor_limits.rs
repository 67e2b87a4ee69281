//! What bounds `holdfast doctor`: how many may ask at once, whom it asks for whom, how much it looks at, and what it says then.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bus::{AcceptFrom, BusConfig, Consume, Envelope, Session};
use bus_config::{Role, exchange, key, queue};
use integration_tests::doctor::wait_for_codes;
use integration_tests::process::binary;
use integration_tests::scenario::{CloudDisk, CloudInstance, build_cloud};
use integration_tests::wait;
use integration_tests::world::{Spec, World};
use model::{HostName, MessageId, TargetId};
use prost::{Message as _, Name as _};
use proto::rep::v1::Register;
use rest_api::{Client, DoctorCheck};
use runtime::Entropy;
use rustix::process::Signal;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::fixture::{Shop, run_cli};

const ROOM: &str = "TARGET_NEARLY_FULL";
const STATE_MAX: Duration = Duration::from_secs(60);

fn examine(shop: &Shop) -> Result<Vec<DoctorCheck>> {
    let mut checks = shop.world.block_on(shop.world.client.examine(None))?;
    checks.retain(|check| check.code != ROOM);
    Ok(checks)
}

#[test]
fn another_target_at_the_place_of_the_one_that_was_opened_is_told_as_gone() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    wait_for_codes(&[], || examine(&shop))?;
    let marker = shop.world.places.target().join("repo.json");
    let good = std::fs::read_to_string(&marker)?;
    let other = TargetId::from_uuid(Entropy.uuid());
    std::fs::write(&marker, good.replace(&shop.world.target_id.to_string(), &other.to_string()))?;
    let found = wait_for_codes(&["TARGET_GONE", "TARGET_NOT_ON_HOST"], || examine(&shop))?;
    let gone = found.iter().find(|check| check.code == "TARGET_GONE").context("it is told")?;
    ensure!(
        gone.message.contains(&other.to_string()) && gone.message.contains("mount the right one"),
        "{gone:?}"
    );
    std::fs::write(&marker, good)?;
    wait_for_codes(&[], || examine(&shop)).map(drop)
}

#[test]
fn a_user_that_the_broker_lost_is_told_with_the_command_that_makes_it() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let world = &shop.world;
    world.block_on(world.broker.admin().delete_user(&Role::Monitor.user()))?;
    let (user, password) = world.broker.admin_login();
    let file = world.places.etc().join("admin.password");
    std::fs::write(&file, password.expose_secret())?;
    let check = || -> Result<Output> {
        let mut command = Command::new(binary("holdfast-controller")?);
        command.args(["broker", "check", "--management-url", &world.broker.management_url()]);
        Ok(command.args(["--admin-user", user, "--admin-password-file"]).arg(&file).output()?)
    };
    let output = check()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let bad: Vec<&str> = text.lines().filter(|line| !line.starts_with("ok")).collect();
    ensure!(output.status.code() == Some(1) && bad.len() == 1, "{text}");
    ensure!(bad[0].starts_with("fail BROKER_USER_MISSING rights of holdfast-monitor"), "{text}");
    ensure!(bad[0].contains("run holdfast-controller broker init"), "{text}");
    let password = SecretString::from(std::fs::read_to_string(world.places.etc().join("monitor.password"))?);
    world.block_on(world.broker.admin().put_role(&Role::Monitor, &password))?;
    let output = check()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

#[test]
fn a_third_examination_of_one_project_waits_in_the_clients_hands() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    wait_for_codes(&[], || examine(&shop))?;
    for datamover in shop.world.datamovers.values() {
        datamover.signal(Signal::STOP)?; // so that questions take their time
    }
    let client = &shop.world.client;
    let ask = || client.examine(None);
    let (one, two, three) = shop.world.block_on(async { tokio::join!(ask(), ask(), ask()) });
    for datamover in shop.world.datamovers.values() {
        datamover.signal(Signal::CONT)?;
    }
    let refused: Vec<_> = [one, two, three].into_iter().filter_map(Result::err).collect();
    let [rest_api::Error::Refused { status: 409, detail, .. }] = refused.as_slice() else {
        anyhow::bail!("{refused:?}");
    };
    ensure!(detail.error_code == "DOCTOR_BUSY", "{detail:?}");
    ensure!(
        detail.message.contains("2 examinations of project demo") && detail.message.contains("ask again"),
        "{detail:?}"
    );
    // The others are answered, and then there is room again.
    wait_for_codes(&[], || examine(&shop)).map(drop)
}

/// A datamover that lives, runs nothing, and counts what it is asked.
struct Onlooker {
    session: Session,
    host: HostName,
}

impl Onlooker {
    async fn enroll(shop: &Shop, host: &str) -> Result<Self> {
        let host: HostName = host.parse()?;
        let password = shop.world.broker.enroll_host(&host, &[]).await?;
        let session = Session::start(BusConfig {
            brokers: vec![shop.world.broker.amqp_url()],
            vhost: bus_config::VHOST.to_owned(),
            user: bus_config::user::mover(&host),
            password,
            connection_name: "onlooker".to_owned(),
        })?;
        session.wait_ready(STATE_MAX).await?;
        Ok(Self { session, host })
    }

    async fn register(&self) -> Result<()> {
        // Whoever does not announce it is not asked.
        let capabilities = vec!["examine".to_owned()];
        let register = Register { host: self.host.to_string(), capabilities, ..Register::default() };
        let id = MessageId::from_uuid(Entropy.uuid());
        let envelope = Envelope::new(id, &Register::full_name(), register.encode_to_vec());
        Ok(self.session.publisher().publish(exchange::REP, &key::reply("register"), &envelope).await?)
    }
}

#[test]
fn a_user_makes_no_host_work_that_has_no_instance_of_theirs() -> Result<()> {
    let mut shop = Shop::open(Spec::default())?;
    let token = Entropy.uuid().simple().to_string();
    let tokens = shop.world.places.etc().join("tokens.toml");
    let mut text = std::fs::read_to_string(&tokens)?;
    text += &format!(
        "\n[[token]]\ntoken = \"{token}\"\nuser = \"bob\"\nproject = \"demo\"\nroles = [\"member\"]\n"
    );
    std::fs::write(&tokens, text)?;
    shop.world.restart_controller()?;
    shop.world.wait_until_ready()?;
    let bob = Client::new(shop.world.client.endpoint().clone(), &SecretString::from(token))?;
    shop.world.block_on(async {
        let onlooker = Onlooker::enroll(&shop, "host-x").await?;
        let mut questions = onlooker.session.consume(Consume {
            queue: queue::mover_host_ctl(&onlooker.host),
            prefetch: 4,
            accept_from: AcceptFrom::AnyUser,
        });
        wait::until_async(STATE_MAX, "the operator's question reaches the host", async || {
            onlooker.register().await?;
            let (checks, question) = tokio::join!(
                shop.world.client.examine(None),
                tokio::time::timeout(Duration::from_secs(5), questions.next())
            );
            checks?;
            let Ok(Some(question)) = question else { return Ok(None) };
            question.ack().await;
            Ok(Some(()))
        })
        .await?;
        onlooker.register().await?;
        let checks = bob.examine(None).await?;
        ensure!(checks.iter().any(|check| check.check.starts_with("quotas for workload")), "{checks:#?}");
        ensure!(
            checks.iter().all(|check| check.service == "project" && check.host.is_empty()),
            "{checks:#?}"
        );
        let asked = tokio::time::timeout(Duration::from_millis(200), questions.next()).await;
        ensure!(asked.is_err(), "a host without an instance of theirs was asked");
        Ok(())
    })
}

#[test]
fn of_many_workloads_the_first_are_looked_at_and_one_by_its_name() -> Result<()> {
    const COUNT: usize = 51;
    let dir = tempfile::Builder::new().prefix("holdfast-it-").tempdir()?;
    let image = dir.path().join("disk.raw");
    std::fs::File::create(&image)?.set_len(1 << 20)?;
    let make = |number| {
        CloudInstance::new(&format!("vm-{number}"), "host-a", vec![CloudDisk::raw("vda", image.clone())])
    };
    let instances: Vec<CloudInstance> = (0..COUNT).map(make).collect();
    let (root, spec) = (dir.path().join("world"), Spec::default());
    std::fs::create_dir(&root)?;
    let placed = build_cloud(&root.join("cloud"), &spec, &instances)?;
    let world = World::start(&root, spec)?;
    let mut ids = Vec::new();
    for (number, instance) in placed.iter().enumerate() {
        ids.push(world.create_workload(&format!("w-{number}"), &[instance.id])?);
    }
    let checks = world.block_on(world.client.examine(None))?;
    let cut = checks.iter().find(|check| check.code == "CHECKS_CUT_SHORT").context("it is told")?;
    ensure!(
        cut.message.contains("of 51 workloads") && cut.message.contains("--workload"),
        "what to do is in it: {cut:?}"
    );
    let quotas = |checks: &[DoctorCheck]| {
        checks.iter().filter(|check| check.check.starts_with("quotas for workload")).count()
    };
    ensure!(quotas(&checks) == COUNT - 1, "{}", quotas(&checks));

    // The oldest is the one that was left out.
    let output = world.cli(&["doctor", "-f", "json", "--workload", &ids[0].to_string()]).output()?;
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let named = rows.iter().filter(|row| row["check"].as_str().is_some_and(|it| it.contains("for workload")));
    let named: Vec<&Value> = named.collect();
    ensure!(output.status.success() && named.len() == 1, "{rows:#?}");
    ensure!(named[0]["check"].as_str().is_some_and(|it| it.contains(&ids[0].to_string())), "{named:?}");
    ensure!(!rows.iter().any(|row| row["code"] == "CHECKS_CUT_SHORT"), "{rows:#?}");
    Ok(())
}

#[test]
fn a_workload_that_is_not_there_is_refused_by_its_code() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let output =
        run_cli(&shop, &["doctor", "-f", "json", "--workload", "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f"])?;
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    ensure!(!output.status.success(), "{rows:?}");
    ensure!(
        rows.iter().any(|row| row["code"] == "WORKLOAD_NOT_FOUND" && row["result"] == "fail"),
        "{rows:#?}"
    );
    Ok(())
}
