//! Each service's user tries what it must not, and the broker refuses. The rights under test are those of the table.

use bus::{AcceptFrom, Consume, PublishError, Session};
use bus_config::{Role, exchange, key, queue};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection};
use secrecy::SecretString;
use tokio::time::timeout;

use crate::bench::{Bench, PATIENCE, connect_raw, message, start_session};

/// One user with a session as a service has it, and a bare connection for what no service does.
struct Intruder {
    session: Session,
    raw: Connection,
}

impl Intruder {
    async fn make(bench: &Bench, role: &Role) -> Self {
        let password: SecretString = match role {
            Role::Mover(host, _) if *host == bench.host => bench.mover_password.clone(),
            _ => bench.broker.create_user(role).await.unwrap(),
        };
        let session = start_session(&bench.broker, &role.user(), &password).await;
        let raw = connect_raw(&bench.broker, &role.user(), &password).await;
        Self { session, raw }
    }

    async fn assert_cannot_declare(&self) {
        let channel = self.raw.create_channel().await.unwrap();
        let declare = channel.queue_declare(
            "holdfast.q.mine".into(),
            QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() },
            FieldTable::default(),
        );
        let error = declare.await.unwrap_err().to_string();
        assert!(error.contains("ACCESS_REFUSED") || error.contains("403"), "{error}");
    }

    async fn assert_cannot_publish(&self, exchange: &str, routing_key: &str) {
        let error = self.session.publisher().publish(exchange, routing_key, &message("mine")).await;
        let error = error.expect_err("published");
        assert!(matches!(error, PublishError::Refused { .. }), "{exchange} {routing_key}: {error}");
    }

    async fn assert_cannot_read(&self, queue: &str) {
        let accept_from = AcceptFrom::AnyUser;
        let consumer = self.session.consume(Consume { queue: queue.to_owned(), prefetch: 1, accept_from });
        let mut problem = consumer.problem();
        let refused = problem.wait_for(|problem| {
            problem
                .as_ref()
                .is_some_and(|problem| problem.contains("does not let") && problem.contains(queue))
        });
        timeout(PATIENCE, refused).await.expect("the broker lets it read").unwrap();
    }

    /// The one thing that only the broker can refuse: saying that one is somebody else.
    async fn assert_cannot_say_it_is_another(&self, exchange: &str, routing_key: &str) {
        let channel = self.raw.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let forged = BasicProperties::default().with_user_id(bus_config::user::CONTROLLER.into());
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish(exchange.into(), routing_key.into(), options, b"", forged).await;
        let error = match sent {
            Ok(confirm) => confirm.await.map(|_| ()).expect_err("the forged user was taken").to_string(),
            Err(error) => error.to_string(),
        };
        assert!(error.contains("user_id"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dmapi_places_and_does_nothing_else() {
    let bench = Bench::make().await;
    let dmapi = Intruder::make(&bench, &Role::Dmapi).await;
    let own = key::mover_host(&bench.host, "x");
    dmapi.session.publisher().publish(exchange::CMD, &own, &message("placed")).await.unwrap();
    dmapi
        .session
        .publisher()
        .publish(exchange::REP, &key::reply("job_failed"), &message("no"))
        .await
        .unwrap();
    dmapi.session.publisher().publish(exchange::HB, key::DMAPI_HEARTBEAT, &message("beat")).await.unwrap();
    dmapi.assert_cannot_declare().await;
    dmapi.assert_cannot_publish(exchange::CMD, &key::cloud("delete_volume")).await;
    dmapi.assert_cannot_publish(exchange::CMD, &key::dmapi("x")).await;
    dmapi.assert_cannot_publish(exchange::REP, &key::reply("job_succeeded")).await;
    dmapi.assert_cannot_publish(exchange::HB, &key::heartbeat(&bench.host)).await;
    dmapi.assert_cannot_publish(exchange::INTAKE, "job.snapshot").await;
    dmapi.assert_cannot_publish(exchange::EVT, "evt.p.snapshot.available").await;
    dmapi.assert_cannot_read(&queue::mover_host(&bench.host)).await;
    dmapi.assert_cannot_publish(exchange::DLX, "dead.ctrl").await;
    dmapi.assert_cannot_read(queue::CTRL_REP).await;
    dmapi.assert_cannot_read("holdfast.q.dead.dmapi").await;
    dmapi.assert_cannot_say_it_is_another(exchange::CMD, &own).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datamover_answers_and_beats_for_its_own_host_only() {
    let bench = Bench::make().await;
    let other: model::HostName = format!("other-{}", bench.host).parse().unwrap();
    bench.broker.enroll_host(&other, &["pool".parse().unwrap()]).await.unwrap();
    let mover = Intruder::make(&bench, &Role::Mover(bench.host.clone(), vec![])).await;
    let publisher = mover.session.publisher();
    publisher.publish(exchange::HB, &key::heartbeat(&bench.host), &message("beat")).await.unwrap();
    publisher.publish(exchange::REP, &key::reply("job_succeeded"), &message("done")).await.unwrap();
    mover.assert_cannot_declare().await;
    mover.assert_cannot_publish(exchange::HB, &key::heartbeat(&other)).await;
    mover.assert_cannot_publish(exchange::CMD, &key::mover_host(&other, "x")).await;
    mover.assert_cannot_publish(exchange::CMD, &key::mover_host(&bench.host, "x")).await;
    mover.assert_cannot_publish(exchange::INTAKE, "job.snapshot").await;
    mover.assert_cannot_read(&queue::mover_host(&other)).await;
    mover.assert_cannot_read(&queue::mover_host_ctl(&other)).await;
    mover.assert_cannot_read(&queue::mover_pool(&"pool".parse().unwrap())).await;
    mover.assert_cannot_publish(exchange::DLX, "dead.intake").await;
    mover.assert_cannot_read(queue::DMAPI).await;
    mover.assert_cannot_read("holdfast.q.dead.mover").await;
    mover.assert_cannot_say_it_is_another(exchange::REP, &key::reply("job_failed")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_service_submits_jobs_and_reads_its_own_queue() {
    let bench = Bench::make().await;
    let service = format!("svc-{}", bench.host);
    let intake = Intruder::make(&bench, &Role::Intake(service, model::JobKind::ALL.to_vec())).await;
    intake.session.publisher().publish(exchange::INTAKE, "job.snapshot", &message("please")).await.unwrap();
    intake.assert_cannot_declare().await;
    intake.assert_cannot_publish(exchange::INTAKE, "admin.stop").await;
    intake.assert_cannot_publish(exchange::CMD, &key::dmapi("transfer_disk")).await;
    intake.assert_cannot_publish(exchange::REP, &key::reply("job_succeeded")).await;
    intake.assert_cannot_publish(exchange::EVT, "evt.p.snapshot.available").await;
    intake.assert_cannot_publish(exchange::DLX, "dead.mover").await;
    intake.assert_cannot_read(queue::INTAKE).await;
    intake.assert_cannot_read("holdfast.q.dead.intake").await;
    intake.assert_cannot_say_it_is_another(exchange::INTAKE, "job.snapshot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_monitor_looks_and_does_not_touch() {
    let bench = Bench::make().await;
    let monitor = Intruder::make(&bench, &Role::Monitor).await;
    assert!(monitor.session.inspect_queue(queue::DMAPI).await.unwrap().is_some());
    monitor.assert_cannot_declare().await;
    monitor.assert_cannot_publish(exchange::CMD, &key::dmapi("x")).await;
    monitor.assert_cannot_publish(exchange::INTAKE, "job.snapshot").await;
    monitor.assert_cannot_read(queue::CTRL_REP).await;
    monitor.assert_cannot_read("holdfast.q.dead.mover").await;
    monitor.assert_cannot_read(&queue::mover_host(&bench.host)).await;
}
