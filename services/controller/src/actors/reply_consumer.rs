//! Takes what workers reply: who may say it is checked here, what follows from it is the engine's.

use std::sync::Arc;

use actix::Addr;
use async_trait::async_trait;
use bus::{AcceptFrom, Consume, Envelope, Session};
use bus_config::{queue, user};
use catalog::ServiceKind;
use model::HostName;
use prost::{Message, Name};
use proto::convert;
use proto::rep::v1 as rep;
use proto::rep::v1::job_succeeded::Result as Answer;
use service_kit::actors::{Consuming, Handled, MessageHandler, QueueConsumer};
use service_kit::telemetry::Chain;
use service_kit::{Drain, Service};

use super::patience::patiently;
use crate::engine::{Accepted, Engine, JobResult, Outcome, Worker};
use crate::signs::Signs;

/// Replies are small and handled in milliseconds; more in flight would only fight for the database's one writer.
const CONCURRENCY: usize = 4;

/// Handles replies.
#[derive(Debug)]
pub struct Replies {
    engine: Engine,
    signs: Signs,
    drain: Drain,
}

/// Starts the consumer.
pub fn start(
    service: &Service,
    session: &Session,
    engine: Engine,
    signs: Signs,
) -> Addr<QueueConsumer<Replies>> {
    let consume = Consume {
        queue: queue::CTRL_REP.to_owned(),
        prefetch: 64,
        accept_from: AcceptFrom::users([user::CONTROLLER, user::DMAPI]).or_prefix(user::MOVER_PREFIX),
    };
    let consuming = Consuming { actor: "reply_consumer".to_owned(), consume, concurrency: CONCURRENCY };
    let handler = Replies { engine, signs, drain: service.drain() };
    QueueConsumer::start(service, session, consuming, Arc::new(handler))
}

#[async_trait]
impl MessageHandler for Replies {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        match self.take(envelope).await {
            Ok(()) => Handled::Done,
            Err(handled) => handled,
        }
    }
}

impl Replies {
    async fn take(&self, envelope: &Envelope) -> Result<(), Handled> {
        let worker = worker(envelope)?;
        let type_name = envelope.type_name.as_str();
        if type_name == rep::JobAccepted::full_name() {
            return self.accepted(worker, &decode::<rep::JobAccepted>(envelope)?).await;
        }
        if type_name == rep::Register::full_name() {
            let register = decode::<rep::Register>(envelope)?;
            let host = require_host(&worker, &register.host)?;
            tracing::info!(
                host = register.host,
                boot_id = register.boot_id,
                version = register.version,
                "a datamover is there"
            );
            return patiently(&self.drain, "reply_consumer", || async {
                Ok(self.signs.register(&host, &register).await?)
            })
            .await;
        }
        if type_name == rep::Examined::full_name() {
            return self.examined(&worker, &decode::<rep::Examined>(envelope)?).await;
        }
        let result = if type_name == rep::JobSucceeded::full_name() {
            succeeded(worker, decode(envelope)?)?
        } else if type_name == rep::JobFailed::full_name() {
            failed(worker, &decode(envelope)?)?
        } else if type_name == rep::JobCancelled::full_name() {
            cancelled(worker, &decode(envelope)?)?
        } else {
            return Err(Handled::Dead(format!("UNKNOWN_TYPE: {type_name} is no reply")));
        };
        patiently(&self.drain, "reply_consumer", || self.engine.job_ended(&result)).await.map(drop)
    }

    /// Somebody waits for it, for some seconds: what cannot be kept now is of no use later.
    async fn examined(&self, worker: &Worker, message: &rep::Examined) -> Result<(), Handled> {
        let (kind, host) = match worker {
            Worker::Mover(_) => (ServiceKind::Datamover, require_host(worker, &message.host)?),
            Worker::Dmapi => {
                let host = convert::id("host", &message.host).map_err(dead)?;
                (ServiceKind::Dmapi, host)
            }
            Worker::Cloud => {
                return Err(Handled::Dead("SENDER_REFUSED: controllers are not asked".to_owned()));
            }
        };
        if let Err(error) = self.signs.note_examined(kind, &host, message).await {
            tracing::warn!(%host, error = %Chain(&error), "an answer to an examination could not be kept");
        }
        Ok(())
    }

    async fn accepted(&self, worker: Worker, message: &rep::JobAccepted) -> Result<(), Handled> {
        let host = require_host(&worker, &message.host)?;
        let header = convert::header(message.header.as_ref()).map_err(dead)?;
        let accepted = Accepted {
            host,
            job_id: header.key.job_id,
            attempt: header.key.attempt,
            needs_lease: message.needs_lease,
        };
        patiently(&self.drain, "reply_consumer", || self.engine.job_accepted(&accepted)).await.map(drop)
    }
}

/// Who replies. The consumer accepted the user already.
fn worker(envelope: &Envelope) -> Result<Worker, Handled> {
    let name = envelope.user_id.as_deref().unwrap_or_default();
    match name {
        user::CONTROLLER => Ok(Worker::Cloud),
        user::DMAPI => Ok(Worker::Dmapi),
        name => user::host_of_mover(name)
            .map(Worker::Mover)
            .ok_or_else(|| Handled::Dead(format!("SENDER_REFUSED: {name} is no worker"))),
    }
}

/// The host of a datamover that names itself.
fn require_host(worker: &Worker, named: &str) -> Result<HostName, Handled> {
    match worker {
        Worker::Mover(host) if host.as_str() == named => Ok(host.clone()),
        worker => Err(Handled::Dead(format!("SENDER_REFUSED: {worker:?} speaks for host {named:?}"))),
    }
}

/// A datamover speaks for its own host only.
fn check_speaker(worker: &Worker, named: &str) -> Result<(), Handled> {
    match worker {
        Worker::Mover(_) => require_host(worker, named).map(drop),
        Worker::Dmapi | Worker::Cloud => Ok(()),
    }
}

fn succeeded(worker: Worker, message: rep::JobSucceeded) -> Result<JobResult, Handled> {
    check_speaker(&worker, &message.host)?;
    if worker == Worker::Dmapi {
        return Err(Handled::Dead("SENDER_REFUSED: dmapi does no jobs".to_owned()));
    }
    let header = convert::header(message.header.as_ref()).map_err(dead)?;
    let answer =
        message.result.ok_or_else(|| Handled::Dead("MALFORMED: field result is missing".to_owned()))?;
    let changes_false = matches!(&answer, Answer::DiskTransferred(it) if it.changes_false);
    Ok(result(worker, header, Outcome::Succeeded(answer), changes_false))
}

fn failed(worker: Worker, message: &rep::JobFailed) -> Result<JobResult, Handled> {
    check_speaker(&worker, &message.host)?;
    let header = convert::header(message.header.as_ref()).map_err(dead)?;
    let failure = convert::failure(message.error.as_ref());
    let outcome = Outcome::Failed { failure, effect_free: message.effect_free };
    Ok(result(worker, header, outcome, message.changes_false))
}

fn cancelled(worker: Worker, message: &rep::JobCancelled) -> Result<JobResult, Handled> {
    check_speaker(&worker, &message.host)?;
    let header = convert::header(message.header.as_ref()).map_err(dead)?;
    Ok(result(worker, header, Outcome::Cancelled, message.changes_false))
}

const fn result(worker: Worker, header: convert::Header, outcome: Outcome, changes_false: bool) -> JobResult {
    JobResult { worker, job_id: header.key.job_id, attempt: header.key.attempt, outcome, changes_false }
}

fn decode<M: Message + Name + Default>(envelope: &Envelope) -> Result<M, Handled> {
    M::decode(envelope.body.clone())
        .map_err(|error| Handled::Dead(format!("UNDECODABLE: the body is no {}: {error}", M::full_name())))
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn dead(error: convert::Malformed) -> Handled {
    Handled::Dead(format!("MALFORMED: {error}"))
}
