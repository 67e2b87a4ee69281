//! `holdfast doctor` on a whole Holdfast: all is well, and then one thing after the other is broken at the real broker, on the
//! target or on a host, and each is told by its own code.

use std::os::unix::fs::chown;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bus::{AcceptFrom, BusConfig, Consume, Consumer, Envelope, Session};
use bus_config::{Role, exchange, key, queue};
use integration_tests::doctor::{self, FOUND_MAX};
use integration_tests::process::binary;
use integration_tests::wait;
use integration_tests::world::Spec;
use model::{HostName, MessageId, Verdict};
use prost::{Message as _, Name as _};
use proto::cmd::v1::Examine;
use proto::rep::v1::{Examined, Register};
use rest_api::DoctorCheck;
use runtime::{Clock as _, Entropy, SystemClock};
use secrecy::ExposeSecret as _;

use crate::fixture::Shop;

/// Room on the machine that runs the test is nobody's fault.
const ROOM: &str = "TARGET_NEARLY_FULL";

fn examine(shop: &Shop) -> Result<Vec<DoctorCheck>> {
    let mut checks = shop.world.block_on(shop.world.client.examine(None))?;
    checks.retain(|check| check.code != ROOM);
    Ok(checks)
}

fn wait_for_codes(shop: &Shop, expected: &[&str]) -> Result<Vec<DoctorCheck>> {
    doctor::wait_for_codes(expected, || examine(shop))
}

#[test]
fn a_whole_holdfast_is_well_and_what_breaks_at_the_broker_is_told_by_its_code() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let world = &shop.world;
    wait_for_codes(&shop, &[])?;
    let checks = examine(&shop)?;
    for (service, check) in [
        ("controller", "catalog"),
        ("controller", "clock of the database"),
        ("controller", "broker topology"),
        ("controller", "right to write to holdfast.cmd"),
        ("dmapi", "cloud"),
        ("dmapi", "right to write to holdfast.cmd"),
        ("dmapi", "datamover of host host-a"),
        ("datamover", "account"),
        ("datamover", "clock"),
        ("datamover", "version"),
        ("datamover", "key file"),
        ("datamover", "backup target main"),
        ("project", "role member of user alice"),
    ] {
        let found = checks.iter().any(|it| it.service == service && it.check == check);
        ensure!(found, "{service} looks at no {check}: {checks:#?}");
    }
    ensure!(checks.iter().any(|check| check.check.starts_with("quotas for workload")), "{checks:#?}");

    let admin = world.broker.admin();
    let heal = || world.block_on(admin.import_definitions(&bus_config::definitions()));
    world.block_on(admin.delete_queue(&queue::dead(bus_config::Class::Intake)))?;
    let missing = wait_for_codes(&shop, &["BINDING_MISSING", "QUEUE_MISSING"])?;
    ensure!(missing.iter().all(|check| check.message.contains("broker init")), "{missing:#?}");
    heal()?;
    wait_for_codes(&shop, &[])?;

    world.block_on(admin.delete_policy("holdfast-dead"))?;
    wait_for_codes(&shop, &["POLICY_DIFFERS"])?;
    heal()?;
    wait_for_codes(&shop, &[])?;

    let narrowed = [bus_config::TopicPermission {
        exchange: exchange::CMD,
        write: "^$".to_owned(),
        read: "^$".to_owned(),
    }];
    world.block_on(admin.put_topic_permissions(&Role::Dmapi.user(), &narrowed))?;
    // The broker remembers for each connection what it allowed.
    world.block_on(admin.close_connections(&Role::Dmapi.user()))?;
    let refused = wait_for_codes(&shop, &["BUS_RIGHT_MISSING"])?;
    ensure!(refused.iter().all(|check| check.service == "dmapi"), "{refused:#?}");
    let checked = check_rights(&shop)?;
    ensure!(checked.status.code() == Some(1), "{checked:?}");
    let text = String::from_utf8_lossy(&checked.stdout);
    let bad: Vec<&str> = text.lines().filter(|line| !line.starts_with("ok")).collect();
    ensure!(
        bad.len() == 1 && bad[0].starts_with("fail BROKER_RIGHTS_DIFFER rights of holdfast-dmapi"),
        "{text}"
    );
    world.block_on(admin.put_topic_permissions(&Role::Dmapi.user(), &Role::Dmapi.topic_permissions()))?;
    let checked = check_rights(&shop)?;
    ensure!(checked.status.success(), "{checked:?}");
    world.block_on(admin.close_connections(&Role::Dmapi.user()))?;
    wait_for_codes(&shop, &[])?;
    Ok(())
}

/// What an administrator of the broker is shown of all users' rights.
fn check_rights(shop: &Shop) -> Result<Output> {
    let (user, password) = shop.world.broker.admin_login();
    let file = shop.world.places.etc().join("admin.password");
    std::fs::write(&file, password.expose_secret())?;
    let mut command = Command::new(binary("holdfast-controller")?);
    command.args(["broker", "check", "--management-url", &shop.world.broker.management_url()]);
    command.args(["--admin-user", user, "--admin-password-file"]).arg(file);
    Ok(command.output()?)
}

/// Program, its config, what is replaced in it by what, and the code that tells.
const BROKEN: [(&str, &str, &str, &str, &str); 9] = [
    ("holdfast-datamover", "datamover-host-a", "key_file = \"", "key_file = \"/nonexistent", "fail KEY_FILE"),
    (
        "holdfast-datamover",
        "datamover-host-a",
        "state_dir = \"",
        "state_dir = \"/etc/hostname",
        "STATE_FOLDER_UNUSABLE",
    ),
    (
        "holdfast-datamover",
        "datamover-host-a",
        "key_file",
        "qemu_nbd = \"/nonexistent\"\nkey_file",
        "QEMU_NBD_MISSING",
    ),
    (
        "holdfast-datamover",
        "datamover-host-a",
        "[[target]]\npath = \"",
        "[[target]]\npath = \"/nonexistent",
        "TARGET_",
    ),
    ("holdfast-dmapi", "dmapi", "path = \"", "path = \"/nonexistent", "CLOUD_FOLDER_UNUSABLE"),
    ("holdfast-dmapi", "dmapi", "user = \"", "user = \"nobody-", "BUS_REFUSED"),
    (
        "holdfast-controller",
        "controller",
        "tokens_file = \"",
        "tokens_file = \"/nonexistent",
        "TOKENS_FILE_UNREADABLE",
    ),
    ("holdfast-controller", "controller", "sqlite:", "sqlite:/etc/hostname", "DATABASE_FOLDER_UNUSABLE"),
    (
        "holdfast-controller",
        "controller",
        "url = \"sqlite:",
        "url = \"mysql://u:p@127.0.0.1:1/x?",
        "DATABASE_",
    ),
];

#[test]
fn a_service_tells_by_its_config_alone_what_it_needs_before_it_can_start() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let etc = shop.world.places.etc();
    let check = |program: &str, config: &str| -> Result<Output> {
        let config = etc.join(format!("{config}.toml"));
        Ok(Command::new(binary(program)?).arg("--config").arg(config).arg("--check").output()?)
    };
    let services = [
        ("holdfast-controller", "controller"),
        ("holdfast-dmapi", "dmapi"),
        ("holdfast-datamover", "datamover-host-a"),
    ];
    for (program, config) in services {
        let checked = check(program, config)?;
        ensure!(checked.status.success(), "{program}: {checked:?}");
        ensure!(String::from_utf8_lossy(&checked.stdout).contains("broker: it lets"), "{checked:?}");
    }
    for (program, config, from, to, code) in BROKEN {
        let good = std::fs::read_to_string(etc.join(format!("{config}.toml")))?;
        ensure!(good.contains(from), "{config} has no {from}: {good}");
        std::fs::write(etc.join("bad.toml"), good.replacen(from, to, 1))?;
        let checked = check(program, "bad")?;
        let text = String::from_utf8_lossy(&checked.stdout);
        ensure!(
            checked.status.code() == Some(1) && text.contains(code),
            "{program}, {to}: {text} {checked:?}"
        );
    }
    Ok(())
}

#[test]
fn a_target_without_its_marker_or_of_another_owner_is_told_by_every_host() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let target = shop.world.places.target();
    wait_for_codes(&shop, &[])?;
    let (marker, aside) = (target.join("repo.json"), target.join("aside"));
    std::fs::rename(&marker, &aside)?;
    let found = wait_for_codes(&shop, &["TARGET_NOT_INITIALIZED", "TARGET_NOT_ON_HOST"])?;
    for service in ["controller", "datamover"] {
        let says = |check: &&DoctorCheck| check.service == service && check.code == "TARGET_NOT_INITIALIZED";
        ensure!(found.iter().any(|check| says(&check)), "{service}: {found:#?}");
    }
    std::fs::rename(&aside, &marker)?;
    wait_for_codes(&shop, &[])?;

    if chown(&target, Some(12_345), None).is_err() {
        return Ok(()); // only root may
    }
    let found = wait_for_codes(&shop, &["TARGET_OWNER_FOREIGN"])?;
    ensure!(
        found.len() == 3 && found[0].message.contains("uid 12345"),
        "a controller and two hosts: {found:#?}"
    );
    chown(&target, Some(rustix::process::geteuid().as_raw()), None)?;
    wait_for_codes(&shop, &[])?;
    Ok(())
}

#[test]
fn a_datamover_that_hangs_is_told_as_silent_and_as_what_its_instances_need() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    wait_for_codes(&shop, &[])?;
    let host: HostName = "host-b".parse()?;
    shop.world.datamovers[&host].signal(rustix::process::Signal::KILL)?;
    let found = wait_for_codes(&shop, &["DATAMOVER_NOT_RUNNING", "SERVICE_SILENT"])?;
    ensure!(found.iter().any(|check| check.host == "host-b" && check.code == "SERVICE_SILENT"), "{found:#?}");
    let needed = found.iter().find(|check| check.code == "DATAMOVER_NOT_RUNNING").context("it is needed")?;
    ensure!(needed.service == "dmapi" && needed.message.contains("host-b"), "{needed:#?}");
    shop.world.block_on(shop.world.broker.admin().remove_host(&host))?;
    let found =
        wait_for_codes(&shop, &["BINDING_MISSING", "HOST_NOT_ENROLLED", "QUEUE_MISSING", "SERVICE_SILENT"])?;
    ensure!(found.iter().any(|check| check.message.contains("host add")), "{found:#?}");
    Ok(())
}

/// A datamover of a stranger's making: it registers, and answers every question in its own way.
struct Stranger {
    session: Session,
    questions: Consumer,
    host: HostName,
}

impl Stranger {
    async fn enroll(shop: &Shop, host: &str) -> Result<Self> {
        let host: HostName = host.parse()?;
        let broker = &shop.world.broker;
        let password = broker.enroll_host(&host, &[]).await?;
        let session = Session::start(BusConfig {
            brokers: vec![broker.amqp_url()],
            vhost: bus_config::VHOST.to_owned(),
            user: bus_config::user::mover(&host),
            password,
            connection_name: "stranger".to_owned(),
        })?;
        session.wait_ready(Duration::from_secs(60)).await?;
        let questions = session.consume(Consume {
            queue: queue::mover_host_ctl(&host),
            prefetch: 4,
            accept_from: AcceptFrom::AnyUser,
        });
        Ok(Self { session, questions, host })
    }

    /// Gives signs of life for as long as it is awaited.
    async fn live(host: HostName, session: Session) -> Result<()> {
        let mut beats = tokio::time::interval(Duration::from_secs(1));
        loop {
            beats.tick().await;
            // Whoever does not announce it is not asked.
            let capabilities = vec!["examine".to_owned()];
            let register = Register {
                host: host.to_string(),
                version: "9.9.9".to_owned(),
                capabilities,
                ..Register::default()
            };
            let id = MessageId::from_uuid(Entropy.uuid());
            let envelope = Envelope::new(id, &Register::full_name(), register.encode_to_vec());
            session.publisher().publish(exchange::REP, &key::reply("register"), &envelope).await?;
        }
    }

    async fn say(&self, kind: &str, type_name: &str, body: Vec<u8>) -> Result<()> {
        let envelope = Envelope::new(MessageId::from_uuid(Entropy.uuid()), type_name, body);
        Ok(self.session.publisher().publish(exchange::REP, &key::reply(kind), &envelope).await?)
    }

    /// Answers for as long as it is awaited.
    async fn answer_all(mut self) -> Result<()> {
        while let Some(question) = self.questions.next().await {
            let examine = Examine::decode(question.envelope().body.clone())?;
            question.ack().await;
            let examined = Examined {
                examination_id: examine.examination_id,
                host: self.host.to_string(),
                version: "9.9.9".to_owned(),
                sent_at: SystemClock.now().0 - 60_000_000,
                uid: 4242,
                gid: 4242,
                ..Examined::default()
            };
            self.say("examined", &Examined::full_name(), examined.encode_to_vec()).await?;
        }
        Ok(())
    }
}

#[test]
fn a_host_with_another_clock_version_account_and_target_is_told_so_by_four_codes() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    wait_for_codes(&shop, &[])?;
    let found = shop.world.block_on(async {
        let stranger = Stranger::enroll(&shop, "host-x").await?;
        let living = tokio::spawn(Stranger::live(stranger.host.clone(), stranger.session.clone()));
        wait::until_async(FOUND_MAX, "the stranger is told not to answer", async || {
            let found = shop.world.client.examine(None).await?;
            let says = |check: &DoctorCheck| check.host == "host-x" && check.code == "EXAMINATION_UNANSWERED";
            Ok(found.iter().any(says).then_some(()))
        })
        .await?;
        let answering = tokio::spawn(stranger.answer_all());
        let found = wait::until_async(FOUND_MAX, "the stranger is told apart", async || {
            let mut found = shop.world.client.examine(None).await?;
            found.retain(|check| check.host == "host-x" && check.result != Verdict::Ok);
            Ok((found.len() >= 4).then_some(found))
        });
        let found = found.await;
        answering.abort();
        living.abort();
        found
    })?;
    let mut codes: Vec<_> = found.iter().map(|check| (check.code.as_str(), check.result)).collect();
    codes.sort_unstable();
    ensure!(
        codes
            == [
                ("ACCOUNT_DIFFERS", Verdict::Fail),
                ("CLOCK_SKEWED", Verdict::Fail),
                ("TARGET_NOT_ON_HOST", Verdict::Fail),
                ("VERSIONS_APART", Verdict::Warn),
            ],
        "{found:#?}"
    );
    let clock = found.iter().find(|check| check.code == "CLOCK_SKEWED").context("the clock")?;
    let skew: f32 = clock.message.split(' ').next().context("a number")?.parse()?;
    ensure!((30.0..=60.0).contains(&skew) && clock.message.contains("s behind this"), "{clock:?}");
    Ok(())
}
