//! The controller's side of the bus: sends commands, collects replies and beats.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use bus::{AcceptFrom, BusConfig, Consume, Envelope, Session, header};
use bus_config::{Role, exchange, key, queue};
use model::{HostName, JobId, MessageId, SagaId};
use prost::Message;
use proto::cmd::v1 as cmd;
use proto::common::v1::JobHeader;
use proto::hb::v1::{Heartbeat, JobBeat};
use proto::rep::v1 as rep;
use runtime::Entropy;
use sandbox::Broker;

/// Generous: eight builds may share this machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A broker, the controller's session and dmapi's, shared by all tests: each has a host of its own.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) broker: Arc<Broker>,
    session: Session,
    dmapi: Session,
    received: Arc<Mutex<Vec<Envelope>>>,
}

/// A reply to a job.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) message_id: MessageId,
    pub(crate) header: JobHeader,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Accepted { needs_lease: bool },
    Succeeded(rep::job_succeeded::Result),
    Failed { code: String, message: String, effect_free: bool },
    Cancelled,
}

pub(crate) fn make_header(job_id: JobId, attempt: u32) -> Option<JobHeader> {
    Some(JobHeader {
        job_id: job_id.to_string(),
        saga_id: SagaId::from_uuid(Entropy.uuid()).to_string(),
        attempt,
        epoch: 0,
        deadline_at: 0,
    })
}

pub(crate) fn make_job() -> JobId {
    JobId::from_uuid(Entropy.uuid())
}

/// Waits until `look` sees something.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Controller {
    pub(crate) async fn shared() -> Arc<Self> {
        static SHARED: tokio::sync::Mutex<Weak<Controller>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(controller) = shared.upgrade() {
            return controller;
        }
        let controller = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&controller);
        controller
    }

    async fn start() -> Self {
        let broker = Broker::shared().await.expect("a broker");
        let session = connect(&broker, &Role::Controller).await;
        let dmapi = connect(&broker, &Role::Dmapi).await;
        let received = Arc::new(Mutex::new(Vec::new()));
        let dead = queue::dead(bus_config::Class::Mover);
        for queue in [queue::CTRL_REP, queue::CTRL_HB, &dead] {
            let consume =
                Consume { queue: queue.to_owned(), prefetch: 100, accept_from: AcceptFrom::AnyUser };
            let mut consumer = session.consume(consume);
            let received = Arc::clone(&received);
            // Tests have runtimes of their own; this one outlives them.
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    while let Some(delivery) = consumer.next().await {
                        received.lock().unwrap().push(delivery.envelope().clone());
                        delivery.ack().await;
                    }
                });
            });
        }
        Self { broker, session, dmapi, received }
    }

    /// Sends a command as dmapi does; gives the envelope, so that it can be sent again.
    pub(crate) async fn command<M: Message>(&self, host: &HostName, kind: &str, message: &M) -> Envelope {
        let type_name = format!("holdfast.cmd.v1.{kind}");
        let envelope = Envelope::new(fresh_id(), &type_name, message.encode_to_vec())
            .with_header(header::TRACEPARENT, "00-aa-bb-01");
        self.command_again(host, &envelope).await;
        envelope
    }

    pub(crate) async fn command_again(&self, host: &HostName, envelope: &Envelope) {
        let routing_key = key::mover_host(host, &key::verb_of_type(&envelope.type_name));
        self.dmapi.publisher().publish(exchange::CMD, &routing_key, envelope).await.expect("published");
    }

    pub(crate) async fn control<M: Message>(&self, host: &HostName, kind: &str, message: &M) {
        let type_name = format!("holdfast.cmd.v1.{kind}");
        let envelope = Envelope::new(fresh_id(), &type_name, message.encode_to_vec());
        let routing_key = key::mover_host_ctl(host, &key::verb_of_type(&type_name));
        self.session.publisher().publish(exchange::CMD, &routing_key, &envelope).await.expect("published");
    }

    pub(crate) async fn grant(&self, host: &HostName, job_id: JobId, attempt: u32, epoch: u64) {
        let grant = cmd::LeaseGrant { job_id: job_id.to_string(), attempt, epoch, lease_ttl_ms: 90_000 };
        self.control(host, "LeaseGrant", &grant).await;
    }

    pub(crate) async fn acknowledge(&self, host: &HostName, job_id: JobId, attempt: u32) {
        self.control(host, "ResultAck", &cmd::ResultAck { job_id: job_id.to_string(), attempt }).await;
    }

    /// All replies to a job so far.
    pub(crate) fn replies(&self, job_id: JobId) -> Vec<Reply> {
        let received = self.received.lock().unwrap();
        let replies = received.iter().filter_map(parse_reply);
        replies.filter(|reply| reply.header.job_id == job_id.to_string()).collect()
    }

    pub(crate) async fn wait_accepted(&self, job_id: JobId, attempt: u32) -> Reply {
        let accepted =
            |reply: &Reply| reply.header.attempt == attempt && matches!(reply.kind, Kind::Accepted { .. });
        wait_for("JobAccepted", || self.replies(job_id).into_iter().find(accepted)).await
    }

    /// Waits for a result: any but `JobAccepted`.
    pub(crate) async fn wait_result(&self, job_id: JobId, attempt: u32) -> Reply {
        let ended =
            |reply: &Reply| reply.header.attempt == attempt && !matches!(reply.kind, Kind::Accepted { .. });
        wait_for("a result", || self.replies(job_id).into_iter().find(ended)).await
    }

    /// The beats of a host so far, with the beats of one job in each.
    pub(crate) fn beats(&self, host: &HostName, job_id: JobId) -> Vec<(u64, Option<JobBeat>)> {
        let received = self.received.lock().unwrap();
        let beats = received.iter().filter(|envelope| envelope.type_name == "holdfast.hb.v1.Heartbeat");
        beats
            .map(|envelope| Heartbeat::decode(envelope.body.clone()).unwrap())
            .filter(|beat| beat.host == host.as_str())
            .map(|beat| {
                let of_job = beat.jobs.into_iter().find(|job| job.job_id == job_id.to_string());
                (beat.sequence, of_job)
            })
            .collect()
    }

    /// Why a message is among the dead letters.
    pub(crate) async fn wait_dead(&self, message_id: MessageId) -> String {
        wait_for("a dead letter", || {
            let received = self.received.lock().unwrap();
            let letter = received.iter().find(|envelope| envelope.message_id == message_id)?;
            letter.header(header::DEAD_REASON).map(str::to_owned)
        })
        .await
    }

    pub(crate) fn registrations(&self, host: &HostName) -> Vec<rep::Register> {
        let received = self.received.lock().unwrap();
        let registers = received.iter().filter(|envelope| envelope.type_name == "holdfast.rep.v1.Register");
        registers
            .map(|envelope| rep::Register::decode(envelope.body.clone()).unwrap())
            .filter(|register| register.host == host.as_str())
            .collect()
    }
}

fn parse_reply(envelope: &Envelope) -> Option<Reply> {
    let body = envelope.body.clone();
    let (header, kind) = match envelope.type_name.as_str() {
        "holdfast.rep.v1.JobAccepted" => {
            let reply = rep::JobAccepted::decode(body).unwrap();
            (reply.header, Kind::Accepted { needs_lease: reply.needs_lease })
        }
        "holdfast.rep.v1.JobSucceeded" => {
            let reply = rep::JobSucceeded::decode(body).unwrap();
            (reply.header, Kind::Succeeded(reply.result.unwrap()))
        }
        "holdfast.rep.v1.JobFailed" => {
            let reply = rep::JobFailed::decode(body).unwrap();
            let error = reply.error.unwrap();
            let kind =
                Kind::Failed { code: error.code, message: error.message, effect_free: reply.effect_free };
            (reply.header, kind)
        }
        "holdfast.rep.v1.JobCancelled" => (rep::JobCancelled::decode(body).unwrap().header, Kind::Cancelled),
        _ => return None,
    };
    Some(Reply { message_id: envelope.message_id, header: header.unwrap(), kind })
}

fn fresh_id() -> MessageId {
    MessageId::from_uuid(Entropy.uuid())
}

async fn connect(broker: &Broker, role: &Role) -> Session {
    let password = broker.create_user(role).await.expect("a user");
    let session = Session::start(BusConfig {
        brokers: vec![broker.amqp_url()],
        vhost: "holdfast".to_owned(),
        user: role.user(),
        password,
        connection_name: "test".to_owned(),
    });
    let session = session.expect("a session");
    session.wait_ready(DEADLINE).await.expect("connected");
    session
}
