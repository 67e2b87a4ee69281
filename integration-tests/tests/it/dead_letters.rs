//! Messages that make no sense, or kill whoever reads them: each ends as a dead letter with its reason, is seen, sent again
//! or dropped by an operator, and stops no service.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bus::{BODY_SIZE_MAX, Envelope, PublishError, Publisher, Session};
use bus_config::{Role, exchange, key, queue, user};
use integration_tests::process::Process;
use integration_tests::wait;
use integration_tests::world::Spec;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use model::{HostName, MessageId, SnapshotId};
use prost::{Message as _, Name as _};
use proto::intake::v1::submit_job::Job;
use proto::intake::v1::{Accepted, SnapshotWorkload, SubmitJob};
use rest_api::DeadLetterSummary;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::fixture::Shop;

/// Long, because a machine may run many worlds at once.
const LETTER_DEADLINE: Duration = Duration::from_secs(120);
/// Six deliveries with growing pauses between them take 71 s.
const PANICS_DEADLINE: Duration = Duration::from_secs(240);

/// A shop, and the users whose messages die.
struct Bench {
    shop: Shop,
    host: HostName,
    billing: Session,
    billing_password: SecretString,
    mover: Session,
    controller: Session,
}

impl Bench {
    fn open() -> Result<Self> {
        let shop = Shop::open(Spec::default())?;
        let host = shop.world.spec.hosts[0].clone();
        let billing_role = Role::Intake("billing".to_owned(), model::JobKind::ALL.to_vec());
        let billing_password = shop.world.block_on(shop.world.broker.create_user(&billing_role))?;
        let billing = shop.world.session_as(&billing_role.user(), billing_password.clone())?;
        let password_of = |config: &str| -> Result<SecretString> {
            let file = shop.world.places.etc().join(format!("{config}.password"));
            Ok(SecretString::from(std::fs::read_to_string(file)?.trim().to_owned()))
        };
        let mover = shop.world.session_as(&user::mover(&host), password_of(&format!("datamover-{host}"))?)?;
        let controller = shop.world.session_as(user::CONTROLLER, password_of("controller")?)?;
        Ok(Self { shop, host, billing, billing_password, mover, controller })
    }

    fn publish(&self, publisher: &Publisher, exchange: &str, key: &str, envelope: &Envelope) -> Result<()> {
        Ok(self.shop.world.block_on(publisher.publish(exchange, key, envelope))?)
    }

    fn wait_for_letter(&self, id: &str) -> Result<DeadLetterSummary> {
        let seen = wait::until(LETTER_DEADLINE, &format!("{id} is a dead letter"), || {
            let letters = self.shop.world.list_dead_letters()?;
            Ok(letters.into_iter().find(|letter| letter.id == id))
        });
        seen.with_context(|| self.shop.world.logs())
    }

    /// Runs the command line; gives its exit code and what it wrote.
    fn holdfast(&self, args: &[&str]) -> Result<(i32, String)> {
        let output = self.shop.world.cli(args).output()?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ok((output.status.code().context("the command line was killed")?, text))
    }

    fn show(&self, id: &str) -> Result<Value> {
        let (code, text) = self.holdfast(&["bus", "dead", "show", id, "-f", "json"])?;
        ensure!(code == 0, "{text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Publishes as the billing service would that uses no client of ours.
    fn publish_raw(&self, properties: BasicProperties, body: &[u8]) -> Result<()> {
        let mut uri: AMQPUri = self.shop.world.broker.amqp_url().parse().map_err(anyhow::Error::msg)?;
        uri.vhost = bus_config::VHOST.to_owned();
        uri.authority.userinfo.username = self.billing.user().to_owned();
        uri.authority.userinfo.password = self.billing_password.expose_secret().to_owned();
        let properties = properties.with_user_id(self.billing.user().into());
        self.shop.world.block_on(async {
            let connection = Connection::connect_uri(uri, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let sent = channel.basic_publish(
                exchange::INTAKE.into(),
                "job.snapshot".into(),
                options,
                body,
                properties,
            );
            let confirmed = sent.await?.await?;
            ensure!(confirmed.is_ack(), "{confirmed:?}");
            Ok(())
        })
    }
}

fn message(type_name: &str, body: impl Into<bytes::Bytes>) -> Envelope {
    Envelope::new(MessageId::from_uuid(runtime::Entropy.uuid()), type_name, body)
}

fn submit_job(shop: &Shop, key: &str) -> Envelope {
    let snapshot = SnapshotWorkload {
        workload_id: shop.workload.to_string(),
        full: true,
        ..SnapshotWorkload::default()
    };
    let job = SubmitJob {
        idempotency_key: key.to_owned(),
        project_id: shop.world.spec.project.to_string(),
        job: Some(Job::SnapshotWorkload(snapshot)),
    };
    message(&SubmitJob::full_name(), job.encode_to_vec())
}

#[test]
fn a_senseless_message_is_a_dead_letter_that_says_why_until_an_operator_drops_it() -> Result<()> {
    let bench = Bench::open()?;
    let world = &bench.shop.world;
    let (intake, rep) = (bench.billing.publisher(), bench.mover.publisher());

    let undecodable = message(&SubmitJob::full_name(), &b"\xff\xfesecret-of-billing"[..]);
    bench.publish(&intake, exchange::INTAKE, "job.snapshot", &undecodable)?;
    let unknown = message("holdfast.rep.v1.Nonsense", &b"hello"[..]);
    bench.publish(&rep, exchange::REP, "rep.job_succeeded", &unknown)?;
    let command = message("holdfast.cmd.v1.Nonsense", &b"hello"[..]);
    let command_key = key::mover_host(&bench.host, "nonsense");
    bench.publish(&bench.controller.publisher(), exchange::CMD, &command_key, &command)?;
    let other_host = proto::rep::v1::JobAccepted { host: "host-b".to_owned(), ..Default::default() };
    let foreign = message(&proto::rep::v1::JobAccepted::full_name(), other_host.encode_to_vec());
    bench.publish(&rep, exchange::REP, "rep.job_accepted", &foreign)?;

    for (sent, code, queue, sender) in [
        (&undecodable, "UNDECODABLE", queue::INTAKE, bench.billing.user()),
        (&unknown, "UNKNOWN_TYPE", queue::CTRL_REP, bench.mover.user()),
        (&command, "UNKNOWN_TYPE", &queue::mover_host(&bench.host), user::CONTROLLER),
        (&foreign, "SENDER_REFUSED", queue::CTRL_REP, bench.mover.user()),
    ] {
        let letter = bench.wait_for_letter(&sent.message_id.to_string())?;
        ensure!(letter.code == code, "{letter:?}");
        ensure!(letter.queue.as_deref() == Some(queue) && letter.kind == sent.type_name, "{letter:?}");
        ensure!(letter.sender.as_deref() == Some(sender), "{letter:?}");
        ensure!(letter.died_at.is_some() && letter.death_count == 1 && letter.retriable, "{letter:?}");
    }
    let shown = bench.show(&command.message_id.to_string())?;
    ensure!(shown["content"]["form"] == "withheld" && shown["laid_by"] == bench.mover.user(), "{shown:#}");
    ensure!(bench.show(&unknown.message_id.to_string())?["content"]["value"] == "hello");
    let shown = bench.show(&undecodable.message_id.to_string())?;
    ensure!(shown["content"]["form"] == "hex" && shown["exchange"] == exchange::INTAKE, "{shown:#}");
    ensure!(shown["routing_key"] == "job.snapshot" && shown["laid_by"] == user::CONTROLLER, "{shown:#}");

    // A table for people, and the filters.
    let (code, table) = bench.holdfast(&["bus", "dead", "list", "--reason", "UNKNOWN_TYPE"])?;
    ensure!(code == 0 && table.contains("Nonsense") && !table.contains("UNDECODABLE"), "{table}");
    let id = undecodable.message_id.to_string();
    // What made no sense makes none the second time, and the letter says that it died twice.
    let (code, text) = bench.holdfast(&["bus", "dead", "retry", &id])?;
    ensure!(code == 0 && text.contains("retried"), "{text}");
    let again = wait::until(LETTER_DEADLINE, "it is a dead letter again", || {
        let again = bench.wait_for_letter(&id)?;
        Ok((again.death_count == 2).then_some(again))
    })?;
    ensure!(
        again.code == "UNDECODABLE" && again.sender.as_deref() == Some(bench.billing.user()),
        "{again:?}"
    );

    let (code, text) = bench.holdfast(&["bus", "dead", "drop", &id])?;
    ensure!(code == 2 && text.contains("--reason"), "{text}");
    let (code, text) = bench.holdfast(&["bus", "dead", "drop", &id, "--reason", "billing is mended"])?;
    ensure!(code == 0 && text.contains("dropped"), "{text}");
    let (code, text) = bench.holdfast(&["bus", "dead", "show", &id])?;
    ensure!(code == 3 && text.contains("DEAD_LETTER_NOT_FOUND"), "{text}");
    ensure!(world.list_dead_letters()?.len() == 3);
    let (code, text) = bench.holdfast(&["bus", "dead", "drop", "--all", "--reason", "a test"])?;
    ensure!(code == 0 && text.matches("dropped").count() == 3, "{text}");
    ensure!(world.list_dead_letters()?.is_empty());

    let log = world.controller.log();
    let record =
        log.lines().find(|line| line.contains("billing is mended")).context("no record of the drop")?;
    for known in [id.as_str(), "a dead letter is dropped", "alice", "UNDECODABLE", bench.billing.user()] {
        ensure!(record.contains(known), "{known} is missing: {record}");
    }
    ensure!(!log.contains("secret-of-billing"), "a body is in the log");
    // All services are as they were.
    world.take_snapshot(bench.shop.workload, true).map(drop)
}

#[test]
fn an_oversized_message_is_refused_at_the_sender_or_is_a_dead_letter_that_cannot_come_back() -> Result<()> {
    let bench = Bench::open()?;
    let body = vec![7; BODY_SIZE_MAX + 1];
    let sent = message(&SubmitJob::full_name(), body.clone());
    let refused =
        bench.shop.world.block_on(bench.billing.publisher().publish(exchange::INTAKE, "job.snapshot", &sent));
    ensure!(matches!(refused, Err(PublishError::TooLarge { .. })), "{refused:?}");
    // Another program's client has no such scruples.
    let properties = BasicProperties::default()
        .with_type("holdfast.intake.v1.SubmitJob".into())
        .with_message_id(sent.message_id.to_string().as_str().into());
    bench.publish_raw(properties.clone(), &body)?;
    let letter = bench.wait_for_letter(&sent.message_id.to_string())?;
    ensure!(letter.code == "BODY_TOO_LARGE" && letter.size == body.len() as u64, "{letter:?}");
    ensure!(!letter.retriable, "{letter:?}");
    let (code, text) = bench.holdfast(&["bus", "dead", "retry", &letter.id])?;
    ensure!(code == 1 && text.contains("DEAD_LETTER_NOT_RETRIABLE"), "{text}");
    // Beyond its own limit the broker takes nothing.
    let refused =
        bench.publish_raw(properties, &vec![7; 2 << 20]).expect_err("the broker took it").to_string();
    ensure!(refused.contains("larger than configured max size"), "{refused}");

    // One without an id is addressed by a derived one.
    bench.publish_raw(BasicProperties::default().with_type("x".into()), b"who am I")?;
    let nameless = wait::until(LETTER_DEADLINE, "the letter without an id", || {
        let letters = bench.shop.world.list_dead_letters()?;
        Ok(letters.into_iter().find(|letter| letter.code == "MALFORMED_ENVELOPE"))
    })?;
    ensure!(bench.show(&nameless.id)?["content"]["value"] == "who am I");
    let (code, text) =
        bench.holdfast(&["bus", "dead", "drop", &nameless.id, &letter.id, "--reason", "a test"])?;
    ensure!(code == 0 && text.matches("dropped").count() == 2, "{text}");
    Ok(())
}

#[test]
fn a_command_that_kills_its_reader_again_and_again_is_a_dead_letter_and_sent_again_does_its_work_once()
-> Result<()> {
    let mut bench = Bench::open()?;
    bench.shop.world.dmapi.kill()?;
    let drilled = bench.shop.world.dmapi.program().with_env("HOLDFAST_DRILL", "handler_abort:placer");
    let snapshot = bench.shop.world.start_snapshot(bench.shop.workload, true)?;
    let mut process: Process = drilled.start()?;
    let mut death_count = 0;
    let letter = wait::until(LETTER_DEADLINE, "the command is a dead letter", || {
        // As systemd does.
        if !process.is_running() {
            death_count += 1;
            process.start_again()?;
        }
        let letters = bench.shop.world.list_dead_letters()?;
        Ok(letters.into_iter().find(|letter| letter.queue.as_deref() == Some(queue::DMAPI)))
    })
    .with_context(|| bench.shop.world.logs())?;
    drop(process);
    ensure!(letter.code == "DELIVERY_LIMIT" && letter.reason.contains(queue::DMAPI), "{letter:?}");
    ensure!(death_count >= 5, "dmapi was killed {death_count} times only");
    let shown = bench.show(&letter.id)?;
    ensure!(shown["content"]["form"] == "message" && shown["laid_by"] == "the broker", "{shown:#}");
    ensure!(shown["sender"] == user::CONTROLLER, "{shown:#}");

    bench.shop.start_again("dmapi")?;
    let (code, text) = bench.holdfast(&[
        "bus",
        "dead",
        "retry",
        "--all",
        "--queue",
        queue::DMAPI,
        "--reason",
        &letter.code,
    ])?;
    ensure!(code == 0 && text.contains(&letter.id), "{text}");
    let snapshot = bench.shop.world.wait_for_snapshot(snapshot)?;
    ensure!(snapshot.summary.status == "available", "{:?}\n{}", snapshot.summary, bench.shop.world.logs());
    bench.shop.assert_no_effect_twice()
}

#[test]
fn a_job_whose_handler_panics_each_time_is_a_dead_letter_while_the_service_goes_on_and_is_done_once()
-> Result<()> {
    let mut bench = Bench::open()?;
    let program = bench.shop.world.controller.program().clone();
    bench
        .shop
        .world
        .replace_controller(&program.with_env("HOLDFAST_DRILL", "handler_panic:intake_consumer"))?;
    bench.shop.world.wait_until_ready()?;
    let process_id = bench.shop.world.controller.id();
    let mut job = submit_job(&bench.shop, "invoice-1");
    job.reply_to = Some(queue::subscriber("billing"));
    bench.publish(&bench.billing.publisher(), exchange::INTAKE, "job.snapshot", &job)?;
    let id = job.message_id.to_string();
    let letter = wait::until(PANICS_DEADLINE, "the job is a dead letter", || {
        let letters = bench.shop.world.list_dead_letters()?;
        Ok(letters.into_iter().find(|letter| letter.id == id))
    })?;
    ensure!(letter.code == "DELIVERY_LIMIT", "{letter:?}");
    ensure!(letter.sender.as_deref() == Some(bench.billing.user()), "{letter:?}");
    ensure!(bench.shop.world.controller.id() == process_id && bench.shop.world.controller.is_running());
    let shown = bench.show(&id)?;
    ensure!(shown["content"]["value"]["idempotency_key"] == "invoice-1", "{shown:#}");

    bench.shop.world.replace_controller(&program)?;
    bench.shop.world.wait_until_ready()?;
    let (code, text) = bench.holdfast(&["bus", "dead", "retry", &id])?;
    ensure!(code == 0 && text.contains("retried"), "{text}");
    let answer = bench.take_answer()?;
    ensure!(!answer.duplicate, "{answer:?}");
    let snapshot: SnapshotId = answer.object_id.parse()?;
    let snapshot = bench.shop.world.wait_for_snapshot(snapshot)?;
    ensure!(snapshot.summary.status == "available", "{:?}", snapshot.summary);
    let all = bench.shop.world.block_on(bench.shop.world.client.list_snapshots(Some(bench.shop.workload)))?;
    ensure!(all.len() == 1, "one job made {} snapshots", all.len());
    bench.shop.assert_no_effect_twice()
}

impl Bench {
    /// The answer to the billing service.
    fn take_answer(&self) -> Result<Accepted> {
        let consume = bus::Consume {
            queue: queue::subscriber("billing"),
            prefetch: 1,
            accept_from: bus::AcceptFrom::users([user::CONTROLLER]),
        };
        let mut consumer = self.billing.consume(consume);
        self.shop.world.block_on(async {
            let delivery = tokio::time::timeout(LETTER_DEADLINE, consumer.next()).await?;
            let delivery = delivery.context("the session is closed")?;
            let answer = Accepted::decode(delivery.envelope().body.clone())?;
            delivery.ack().await;
            Ok(answer)
        })
    }
}

#[test]
fn a_world_that_ends_with_a_dead_letter_nobody_announced_fails() -> Result<()> {
    let bench = Bench::open()?;
    let sent = message(&SubmitJob::full_name(), &b"\xff"[..]);
    bench.publish(&bench.billing.publisher(), exchange::INTAKE, "job.snapshot", &sent)?;
    let letter = bench.wait_for_letter(&sent.message_id.to_string())?;
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| drop(bench)));
    let complaint = ended.expect_err("the world ended as if all were well");
    let text = complaint.downcast_ref::<String>().context("a panic with a text")?;
    ensure!(text.contains("1 dead letters") && text.contains(&letter.id), "{text}");
    ensure!(text.contains("UNDECODABLE"), "{text}");
    Ok(())
}
