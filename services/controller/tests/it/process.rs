//! The controller's process between a real broker, a real database and a cloud in a folder. dmapi and the datamover are
//! played by the test, over the bus, with their own users and rights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backup_target::PosixTarget;
use bus::{AcceptFrom, BusConfig, Consume, Consumer, Envelope, Session};
use bus_config::{Role, exchange, key, queue};
use catalog::{Catalog, SnapshotFilter, WorkloadInstanceRow, WorkloadRow};
use controller::sagas::answer::Answer;
use directory_cloud::{Builder, NewDirectoryDisk, NewDirectoryInstance};
use model::{DiskFormat, KeepBase, MessageId, SnapshotState, TargetId, WorkloadState, WorkloadType};
use prost::{Message, Name};
use proto::cmd::v1 as cmd;
use proto::common::v1::JobHeader;
use proto::evt::v1::Fact;
use proto::intake::v1 as intake;
use proto::rep::v1 as rep;
use runtime::{Entropy, SystemClock};
use sandbox::Broker;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Mutex, MutexGuard};

use crate::harness::{host, workload_id};
use crate::world::World;

/// Far longer than anything here takes on a machine that is shared by many.
const DEADLINE: Duration = Duration::from_secs(120);

/// One controller at a time: two would take each other's messages.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

struct Site {
    dir: tempfile::TempDir,
    broker: Arc<Broker>,
    _alone: MutexGuard<'static, ()>,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    async fn wait_for_exit(&mut self) -> Option<i32> {
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the controller does not end");
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Site {
    async fn build() -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        let dir = tempfile::tempdir().unwrap();
        let site = Self { dir, broker: Broker::shared().await.unwrap(), _alone: alone };
        let image = site.path("image.raw");
        std::fs::write(&image, vec![7; 1 << 20]).unwrap();
        let disk = NewDirectoryDisk::new("vda", DiskFormat::Raw, &image);
        let instance = NewDirectoryInstance::new("web-1", "host-a").disk(disk);
        let instance_id = instance.id;
        Builder::new(&site.path("cloud"))
            .hosts(["host-a"])
            .pool("default")
            .project("acme")
            .instance(instance)
            .build()
            .unwrap();
        let target_id = PosixTarget::init(&site.path("target"), &Entropy).unwrap();
        site.insert_workload(target_id, instance_id).await;
        let password = site.broker.create_user(&Role::Controller).await.unwrap();
        site.write_config(&password);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn catalog(&self) -> Catalog {
        let url = format!("sqlite:{}", self.path("catalog.sqlite").display());
        Catalog::open(&url, SystemClock::shared()).await.unwrap()
    }

    async fn insert_workload(&self, target_id: TargetId, instance_id: model::InstanceId) {
        let catalog = self.catalog().await;
        let mut tx = catalog.begin().await.unwrap();
        let now = tx.now();
        tx.insert_workload(&WorkloadRow {
            id: workload_id(),
            project_id: "acme".parse().unwrap(),
            user_id: "alice".parse().unwrap(),
            name: "web".to_owned(),
            description: String::new(),
            status: WorkloadState::Available,
            saga_id: None,
            target_id,
            created_at: now,
            updated_at: now,
            error_message: None,
            keep_base: KeepBase::Auto,
            allow_partial: false,
            workload_type: WorkloadType::Parallel,
        })
        .await
        .unwrap();
        let (name, position) = ("web-1".to_owned(), 0);
        let row = WorkloadInstanceRow { instance_id, workload_id: workload_id(), name, position };
        tx.insert_workload_instance(&row).await.unwrap();
        tx.commit().await.unwrap();
        catalog.close().await;
    }

    fn write_config(&self, password: &SecretString) {
        std::fs::write(self.path("password"), password.expose_secret()).unwrap();
        let tokens = self.path("tokens.toml");
        let token = "[[token]]\ntoken = \"0123456789abcdef\"\nuser = \"alice\"\nproject = \"acme\"\nroles = [\"member\"]\n";
        std::fs::write(&tokens, token).unwrap();
        set_mode(&tokens, 0o600);
        let text = format!(
            r#"[bus]
brokers = ["{broker}"]
user = "holdfast-controller"
password_file = "{dir}/password"
[database]
url = "sqlite:{dir}/catalog.sqlite"
[rest]
address_file = "{dir}/address"
[auth]
tokens_file = "{dir}/tokens.toml"
[cloud]
kind = "directory"
path = "{dir}/cloud"
[[target]]
name = "main"
path = "{dir}/target"
[[intake_grant]]
service = "billing"
kinds = ["snapshot"]
projects = ["acme"]
[timing]
retry_base_ms = 50
retry_cap_ms = 500
tick_ms = 100
"#,
            broker = self.broker.amqp_url(),
            dir = self.dir.path().display(),
        );
        std::fs::write(self.path("controller.toml"), text).unwrap();
    }

    fn start(&self, drill: Option<&str>) -> Running {
        let mut process = Process::new(env!("CARGO_BIN_EXE_holdfast-controller"));
        process.arg("--config").arg(self.path("controller.toml"));
        let log = std::fs::File::create(self.path("log")).unwrap();
        process.stdin(Stdio::null()).stderr(log).stdout(Stdio::null());
        if let Some(drill) = drill {
            process.env("HOLDFAST_DRILL", drill);
        }
        Running(process.spawn().unwrap())
    }

    async fn session(&self, role: &Role) -> Session {
        let password = self.broker.create_user(role).await.unwrap();
        let session = Session::start(BusConfig {
            brokers: vec![self.broker.amqp_url()],
            vhost: bus_config::VHOST.to_owned(),
            user: role.user(),
            password,
            connection_name: "test".to_owned(),
        })
        .unwrap();
        session.wait_ready(DEADLINE).await.unwrap();
        session
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn consume(session: &Session, queue: String) -> Consumer {
    session.consume(Consume { queue, prefetch: 32, accept_from: AcceptFrom::AnyUser })
}

fn message<M: Message + Name>(message: &M) -> Envelope {
    Envelope::new(MessageId::from_uuid(Entropy.uuid()), &M::full_name(), message.encode_to_vec())
}

/// dmapi and the datamover of `host-a`: takes what is to be placed, accepts it, waits for the lease where there is one,
/// and answers as a `World` does.
async fn play_workers(dmapi: Session, mover: Session) {
    let mut world = World::with_agents();
    let mut commands = consume(&dmapi, queue::DMAPI.to_owned());
    let mut control = consume(&mover, queue::mover_host_ctl(&host("host-a")));
    let mut waiting: BTreeMap<String, (JobHeader, Answer)> = BTreeMap::new();
    loop {
        let (job, answer) = tokio::select! {
            delivery = commands.next() => {
                let Some(delivery) = delivery else { return };
                let placed = cmd::PlacedCommand::decode(delivery.envelope().body.clone()).unwrap();
                let job = placed.header.unwrap();
                let command = crate::harness::decode(&delivery.envelope().type_name, &delivery.envelope().body);
                let (needs_lease, answer) = (command.needs_lease(), world.carry_out(&command));
                let accepted =
                    rep::JobAccepted { header: Some(job.clone()), host: "host-a".to_owned(), needs_lease };
                publish(&mover, "job_accepted", &accepted).await;
                delivery.ack().await;
                if needs_lease {
                    waiting.insert(job.job_id.clone(), (job, answer));
                    continue;
                }
                (job, answer)
            }
            delivery = control.next() => {
                let Some(delivery) = delivery else { return };
                let granted = cmd::LeaseGrant::decode(delivery.envelope().body.clone());
                let is_grant = delivery.envelope().type_name == cmd::LeaseGrant::full_name();
                delivery.ack().await;
                let Some(waited) = granted.ok().filter(|_| is_grant).and_then(|it| waiting.remove(&it.job_id)) else {
                    continue;
                };
                waited
            }
        };
        let succeeded =
            rep::JobSucceeded { header: Some(job), host: "host-a".to_owned(), result: Some(answer) };
        publish(&mover, "job_succeeded", &succeeded).await;
    }
}

async fn publish<M: Message + Name>(mover: &Session, kind: &str, reply: &M) {
    mover.publisher().publish(exchange::REP, &key::reply(kind), &message(reply)).await.unwrap();
}

/// Submits a snapshot of the workload; the same key each time.
async fn submit(billing: &Session, name: &str, as_json: bool) {
    let workload = workload_id();
    let job = intake::SubmitJob {
        idempotency_key: "nightly-1".to_owned(),
        project_id: "acme".to_owned(),
        job: Some(intake::submit_job::Job::SnapshotWorkload(intake::SnapshotWorkload {
            workload_id: workload.to_string(),
            name: name.to_owned(),
            ..Default::default()
        })),
    };
    let mut envelope = message(&job).correlated("my-1");
    if as_json {
        envelope.content_type = "application/json".to_owned();
        envelope.body = format!(
            r#"{{"idempotencyKey":"nightly-1","projectId":"acme","snapshotWorkload":{{"workloadId":"{workload}","name":"{name}"}}}}"#
        )
        .into();
    }
    envelope.reply_to = Some(queue::subscriber("billing"));
    billing.publisher().publish(exchange::INTAKE, &key::intake("snapshot"), &envelope).await.unwrap();
}

/// The next message of the service's own queue.
async fn next<M: Message + Name + Default>(answers: &mut Consumer, site: &Site) -> M {
    let envelope = next_envelope(answers, site).await;
    assert_eq!(envelope.type_name, M::full_name(), "{}", site.log());
    M::decode(envelope.body).unwrap()
}

async fn next_envelope(answers: &mut Consumer, site: &Site) -> Envelope {
    let delivery = tokio::time::timeout(DEADLINE, answers.next()).await;
    let delivery = delivery.unwrap_or_else(|_| panic!("no message came: {}", site.log())).unwrap();
    let envelope = delivery.envelope().clone();
    delivery.ack().await;
    envelope
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submitted_snapshot_runs_over_the_bus_and_its_facts_come_back() {
    let site = Site::build().await;
    let mut controller = site.start(None);
    let mover = Role::Mover(host("host-a"), Vec::new());
    let workers = tokio::spawn(play_workers(site.session(&Role::Dmapi).await, site.session(&mover).await));
    let billing = site.session(&Role::Intake("billing".to_owned(), model::JobKind::ALL.to_vec())).await;
    let topology = bus_config::subscriber_topology("billing", &["acme".parse().unwrap()]);
    site.broker.admin().declare(&topology).await.unwrap();
    let mut answers = consume(&billing, queue::subscriber("billing"));

    submit(&billing, "nightly", false).await;
    // The first fact may overtake the answer.
    let (mut accepted, mut facts) = (None, Vec::new());
    while accepted.is_none() || facts.last().is_none_or(|fact: &Fact| fact.fact != "succeeded") {
        let envelope = next_envelope(&mut answers, &site).await;
        if envelope.type_name == Fact::full_name() {
            facts.push(Fact::decode(envelope.body).unwrap());
        } else {
            accepted = Some(intake::Accepted::decode(envelope.body).unwrap());
        }
    }
    let accepted = accepted.unwrap();
    assert!(!accepted.duplicate);
    let told: Vec<_> = facts.iter().map(|fact| (fact.kind.as_str(), fact.fact.as_str())).collect();
    assert_eq!(told[..3], [("snapshot", "creating"), ("workload", "locked"), ("saga", "forward")]);
    assert_eq!(facts.iter().map(|fact| fact.sequence).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    let committed =
        facts.iter().find(|fact| (fact.kind.as_str(), fact.fact.as_str()) == ("snapshot", "available"));
    assert_eq!(committed.unwrap().object_id, accepted.object_id);
    assert_eq!(facts.last().unwrap().object_id, accepted.job_id);
    submit(&billing, "nightly", true).await;
    let again = next_envelope(&mut answers, &site).await;
    assert_eq!(
        (again.type_name, again.content_type),
        (intake::Accepted::full_name(), "application/json".to_owned())
    );
    let again: serde_json::Value = serde_json::from_slice(&again.body).unwrap();
    assert_eq!(again["duplicate"], true);
    assert_eq!(again["jobId"], *accepted.job_id, "the same key in JSON is the same job");
    submit(&billing, "another", false).await;
    let rejected: intake::Rejected = next(&mut answers, &site).await;
    assert_eq!(rejected.error.unwrap().code, "IDEMPOTENCY_KEY_REUSED");

    controller.terminate();
    assert_eq!(controller.wait_for_exit().await, Some(0), "{}", site.log());
    workers.abort();
    let catalog = site.catalog().await;
    let mut tx = catalog.read().await.unwrap();
    let snapshots = tx.list_snapshots(&SnapshotFilter::default()).await.unwrap();
    assert_eq!(snapshots.iter().map(|row| row.status).collect::<Vec<_>>(), [SnapshotState::Available]);
    assert!(tx.ledger_of_held().await.unwrap().values().all(|count| *count == 0));
    assert!(!site.log().contains("\"ERROR\"") && !site.log().contains("panicked"), "{}", site.log());
    let record = site.path(&format!("target/w/{}/{}.json", workload_id(), accepted.object_id));
    let record = std::fs::read_to_string(record).unwrap();
    assert!(record.contains(r#""consistency": "filesystem""#), "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_ends_with_69_and_a_dead_actor_with_70() {
    let site = Site::build().await;
    for actor in ["timer_keeper", "lease_keeper"] {
        let mut controller = site.start(Some(&format!("panic:{actor}")));
        assert_eq!(controller.wait_for_exit().await, Some(70), "{}", site.log());
        assert!(site.log().contains(actor), "{}", site.log());
    }
    site.write_config(&SecretString::from("wrong".to_owned()));
    let mut controller = site.start(None);
    assert_eq!(controller.wait_for_exit().await, Some(69), "{}", site.log());
    assert!(!site.log().contains("wrong\""), "the password is not shown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_added_twice_with_the_same_password_and_a_config_that_works() {
    let site = Site::build().await;
    let (admin, password) = site.broker.admin_login();
    std::fs::write(site.path("admin"), password.expose_secret()).unwrap();
    let add = || {
        let output = Process::new(env!("CARGO_BIN_EXE_holdfast-controller"))
            .args(["host", "add", "node-1.rack2", "--pool", "fast"])
            .args(["--management-url", &site.broker.management_url(), "--admin-user", admin])
            .arg("--admin-password-file")
            .arg(site.path("admin"))
            .arg("--password-file")
            .arg(site.path("mover"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = add();
    assert!(printed.contains("user = \"holdfast-mover-node-1.rack2\""), "{printed}");
    let first = std::fs::read_to_string(site.path("mover")).unwrap();
    assert!(!printed.contains(first.trim()), "the password is not printed");
    assert_eq!(add(), printed);
    assert_eq!(std::fs::read_to_string(site.path("mover")).unwrap(), first);
    let session = Session::start(BusConfig {
        brokers: vec![site.broker.amqp_url()],
        vhost: bus_config::VHOST.to_owned(),
        user: "holdfast-mover-node-1.rack2".to_owned(),
        password: SecretString::from(first.trim().to_owned()),
        connection_name: "test".to_owned(),
    })
    .unwrap();
    session.wait_ready(DEADLINE).await.unwrap();
    session.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_made_ready_twice_and_its_users_may_come_in() {
    let site = Site::build().await;
    let (admin, password) = site.broker.admin_login();
    std::fs::write(site.path("admin"), password.expose_secret()).unwrap();
    let passwords = site.path("passwords");
    std::fs::create_dir(&passwords).unwrap();
    let init = || {
        let output = Process::new(env!("CARGO_BIN_EXE_holdfast-controller"))
            .args([
                "broker",
                "init",
                "--management-url",
                &site.broker.management_url(),
                "--admin-user",
                admin,
            ])
            .arg("--admin-password-file")
            .arg(site.path("admin"))
            .arg("--password-dir")
            .arg(&passwords)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = init();
    assert_eq!(init(), printed);
    for user in ["holdfast-controller", "holdfast-dmapi"] {
        let secret = std::fs::read_to_string(passwords.join(format!("{user}.password"))).unwrap();
        assert!(printed.contains(user) && !printed.contains(secret.trim()), "{printed}");
        let session = Session::start(BusConfig {
            brokers: vec![site.broker.amqp_url()],
            vhost: bus_config::VHOST.to_owned(),
            user: user.to_owned(),
            password: SecretString::from(secret.trim().to_owned()),
            connection_name: "test".to_owned(),
        })
        .unwrap();
        session.wait_ready(DEADLINE).await.unwrap();
        session.close().await;
    }
}

#[test]
fn bad_arguments_and_configs_end_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("controller.toml");
    std::fs::write(&config, "[bus]\nbrokers = []\n").unwrap();
    let run = |arguments: &[&str]| {
        let mut process = Process::new(env!("CARGO_BIN_EXE_holdfast-controller"));
        process.args(arguments).output().unwrap()
    };
    let path = config.to_str().unwrap();
    for arguments in
        [&[][..], &["--nonsense"], &["--config", path], &["run", "--config", path, "--check-config"]]
    {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(run(&["db", "sync", "--config", path]).status.code(), Some(2));
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(
        String::from_utf8_lossy(&help.stdout).contains("tokens_file"),
        "the help shows an example config"
    );
}
