//! A broker, a cloud with one instance, a running dmapi, and the controller's side of the bus.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bus::{AcceptFrom, BusConfig, Consume, Consumer, Delivery, Envelope, Session, header};
use bus_config::{Role, exchange, key, queue, user};
use directory_cloud::{Builder, NewDirectoryInstance};
use model::{HostName, InstanceId, MessageId, PoolName};
use prost::{Message as _, Name};
use proto::common::v1::{ErrorInfo, JobHeader, Placement, placement::At};
use proto::rep::v1::JobFailed;
use runtime::Entropy;
use sandbox::Broker;
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use tokio::time::timeout;

/// Long, because a machine may run many brokers at once; what works takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Bench {
    pub(crate) dmapi: Option<Dmapi>,
    pub(crate) broker: Broker,
    pub(crate) controller: Session,
    pub(crate) instance: InstanceId,
    pub(crate) host: HostName,
    pub(crate) mover_password: SecretString,
    pub(crate) dir: TempDir,
    /// Its `[cloud]`.
    pub(crate) cloud: String,
}

/// The running program; killed when dropped.
pub(crate) struct Dmapi(Child);

impl Drop for Dmapi {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Bench {
    /// Everything but dmapi itself.
    pub(crate) async fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let instance = NewDirectoryInstance::new("web-1", "node-1.example");
        let id = instance.id;
        Builder::new(&dir.path().join("cloud")).hosts(["node-1.example"]).instance(instance).build().unwrap();
        let broker = Broker::start().await.unwrap();
        let host: HostName = "node-1.example".parse().unwrap();
        let pool: PoolName = "default".parse().unwrap();
        let mover_password = broker.enroll_host(&host, &[pool]).await.unwrap();
        let password = broker.create_user(&Role::Dmapi).await.unwrap();
        std::fs::write(dir.path().join("password"), password.expose_secret()).unwrap();
        let password = broker.create_user(&Role::Controller).await.unwrap();
        let controller = start_session(&broker, user::CONTROLLER, &password).await;
        let cloud = format!("[cloud]\nkind = \"directory\"\npath = \"{}/cloud\"\n", dir.path().display());
        Self { dmapi: None, broker, controller, instance: id, host, mover_password, dir, cloud }
    }

    /// With dmapi running.
    pub(crate) async fn start() -> Self {
        let mut bench = Self::make().await;
        bench.start_dmapi();
        bench
    }

    /// Starts dmapi.
    pub(crate) fn start_dmapi(&mut self) {
        let child = self.command().stdout(Stdio::null()).spawn().unwrap();
        self.dmapi = Some(Dmapi(child));
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        let path = self.dir.path().join("dmapi.toml");
        let dir = self.dir.path().display();
        let broker = self.broker.amqp_url();
        let text = format!(
            "[bus]\nbrokers = [\"{broker}\"]\nuser = \"holdfast-dmapi\"\npassword_file = \"{dir}/password\"\n\
             {cloud}\n\
             [health]\nlisten = \"127.0.0.1:0\"\naddress_file = \"{dir}/health\"\n",
            cloud = self.cloud,
        );
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast-dmapi"));
        command.arg("--config").arg(self.config_path()).stdin(Stdio::null());
        command
    }

    /// The datamover's side of a queue.
    pub(crate) async fn start_mover(&self, queue: &str) -> (Session, Consumer) {
        let session = start_session(&self.broker, &user::mover(&self.host), &self.mover_password).await;
        let accept_from = AcceptFrom::users([user::DMAPI]);
        let consumer = session.consume(Consume { queue: queue.to_owned(), prefetch: 8, accept_from });
        let mut problem = consumer.problem();
        timeout(PATIENCE, problem.wait_for(Option::is_none)).await.unwrap().unwrap();
        (session, consumer)
    }

    pub(crate) fn replies(&self) -> Consumer {
        let accept_from = AcceptFrom::users([user::DMAPI]);
        self.controller.consume(Consume { queue: queue::CTRL_REP.to_owned(), prefetch: 8, accept_from })
    }

    pub(crate) async fn send(&self, command: &Envelope) {
        let verb = key::verb_of_type(&command.type_name);
        let publisher = self.controller.publisher();
        publisher.publish(exchange::CMD, &key::dmapi(&verb), command).await.unwrap();
    }
}

async fn start_session(broker: &Broker, user: &str, password: &SecretString) -> Session {
    let config = BusConfig {
        brokers: vec![broker.amqp_url()],
        vhost: bus_config::VHOST.to_owned(),
        user: user.to_owned(),
        password: password.clone(),
        connection_name: format!("test of {user}"),
    };
    let session = Session::start(config).unwrap();
    session.wait_ready(PATIENCE).await.unwrap();
    session
}

pub(crate) fn placed(at: At) -> Option<Placement> {
    Some(Placement { at: Some(at), ..Placement::default() })
}

pub(crate) fn job_header() -> Option<JobHeader> {
    Some(JobHeader {
        job_id: Entropy.uuid().to_string(),
        saga_id: Entropy.uuid().to_string(),
        attempt: 2,
        epoch: 5,
        deadline_at: 0,
    })
}

pub(crate) fn envelope<M: Name>(message: &M) -> Envelope {
    Envelope::new(MessageId::from_uuid(Entropy.uuid()), &M::full_name(), message.encode_to_vec())
        .correlated("saga-1")
        .with_header(header::ATTEMPT, 2)
        .with_header(header::TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
}

pub(crate) async fn next(consumer: &mut Consumer) -> Delivery {
    timeout(PATIENCE, consumer.next()).await.expect("no message came").expect("the session is open")
}

/// Takes the next reply: it must be a failure.
pub(crate) async fn next_failure(replies: &mut Consumer) -> (JobFailed, ErrorInfo) {
    let delivery = next(replies).await;
    assert_eq!(delivery.routing_key(), "rep.job_failed");
    assert_eq!(delivery.envelope().type_name, JobFailed::full_name());
    assert_eq!(delivery.envelope().correlation_id.as_deref(), Some("saga-1"));
    assert_eq!(delivery.envelope().header(header::ATTEMPT), Some("2"));
    let failed = JobFailed::decode(delivery.envelope().body.clone()).unwrap();
    delivery.ack().await;
    let error = failed.error.clone().unwrap();
    (failed, error)
}
