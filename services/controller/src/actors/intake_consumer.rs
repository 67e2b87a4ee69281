//! Takes jobs that other services ask for, under the same rules as REST. The same key from the same service is the same
//! job, for ever. The answer goes to the caller's own queue, best effort: whoever missed it asks again with the same key.

use std::sync::Arc;

use actix::Addr;
use async_trait::async_trait;
use bus::{AcceptFrom, Consume, Envelope, Publisher, Session};
use bus_config::{queue, user};
use model::{ErrorClass, Failure, JobKind, MessageId, ProjectId, SagaId, SnapshotKind};
use prost::{Message, Name};
use proto::convert;
use proto::intake::v1::submit_job::Job;
use proto::intake::v1::{Accepted, Rejected, RestoreSnapshot, SnapshotWorkload, SubmitJob};
use runtime::Entropy;
use service_kit::actors::{Consuming, Handled, MessageHandler, QueueConsumer};
use service_kit::telemetry::Chain;
use service_kit::{Drain, Service};
use uuid::Uuid;

use crate::app::restores::{Chosen, Selection};
use crate::app::{self, Caller, IntakeKey, restores, snapshots};
use crate::config::IntakeGrant;
use crate::intake_json::{self, Answer};
use crate::state::AppState;

/// Between attempts while catalog or cloud are away.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// Of what is quoted from an undecodable message, in characters.
const REASON_LENGTH_MAX: usize = 300;

/// Handles submitted jobs.
#[derive(Debug)]
pub struct Intake {
    state: AppState,
    publisher: Publisher,
    grants: Vec<IntakeGrant>,
    drain: Drain,
}

/// How a service speaks; it is answered in the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// A job that was taken.
struct Taken {
    saga_id: SagaId,
    object_id: Uuid,
    duplicate: bool,
}

/// Starts the consumer.
pub fn start(
    service: &Service,
    session: &Session,
    state: AppState,
    grants: Vec<IntakeGrant>,
) -> Addr<QueueConsumer<Intake>> {
    let consume = Consume {
        queue: queue::INTAKE.to_owned(),
        prefetch: 16,
        accept_from: AcceptFrom::users(Vec::<String>::new()).or_prefix(user::INTAKE_PREFIX),
    };
    let consuming = Consuming { actor: "intake_consumer".to_owned(), consume, concurrency: 4 };
    let handler = Intake { state, publisher: session.publisher(), grants, drain: service.drain() };
    QueueConsumer::start(service, session, consuming, Arc::new(handler))
}

#[async_trait]
impl MessageHandler for Intake {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        let job = match decode(envelope) {
            Ok(job) => job,
            Err(reason) => {
                // It quotes what came.
                let reason = app::shown(&reason, REASON_LENGTH_MAX);
                let failure = Failure::permanent("UNDECODABLE", reason.clone());
                self.reject(envelope, "", &failure).await;
                return Handled::Dead(format!("UNDECODABLE: {reason}"));
            }
        };
        loop {
            match self.submit(envelope, &job).await {
                Ok(taken) => {
                    self.accept(envelope, &job.idempotency_key, &taken).await;
                    return Handled::Done;
                }
                Err(failure) if is_ours(&failure) => {
                    if self.drain.has_begun() {
                        return Handled::Retry;
                    }
                    tracing::warn!(code = failure.code, reason = failure.message, "a submitted job waits");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failure) => {
                    tracing::info!(
                        user = envelope.user_id,
                        code = failure.code,
                        "a submitted job is rejected"
                    );
                    self.reject(envelope, &job.idempotency_key, &failure).await;
                    return Handled::Done;
                }
            }
        }
    }
}

impl Intake {
    async fn submit(&self, envelope: &Envelope, job: &SubmitJob) -> Result<Taken, Failure> {
        let source = envelope.user_id.clone().unwrap_or_default();
        let project: ProjectId = convert::id("project_id", &job.project_id).map_err(invalid)?;
        let wanted = job
            .job
            .as_ref()
            .ok_or_else(|| Failure::permanent("JOB_MISSING", "field job is missing: say what to do"))?;
        self.check_grant(&source, kind_of(wanted), &project)?;
        if job.idempotency_key.is_empty() || job.idempotency_key.len() > 128 {
            return Err(Failure::permanent(
                "IDEMPOTENCY_KEY_INVALID",
                "idempotency_key must have 1 to 128 bytes: choose one per job",
            ));
        }
        let user = convert::id("user_id", &source).map_err(invalid)?;
        let caller = Caller::intake(user, project);
        let key = IntakeKey {
            source,
            idempotency_key: job.idempotency_key.clone(),
            // Of the decoded job: protobuf and JSON of the same job are the same.
            request_digest: blake3::hash(&job.encode_to_vec()).to_hex().to_string(),
        };
        match wanted {
            Job::SnapshotWorkload(wanted) => self.snapshot(&caller, &key, wanted).await,
            Job::RestoreSnapshot(wanted) => self.restore(&caller, &key, wanted).await,
        }
    }

    async fn snapshot(
        &self,
        caller: &Caller,
        key: &IntakeKey,
        wanted: &SnapshotWorkload,
    ) -> Result<Taken, Failure> {
        let request = snapshots::Request {
            workload_id: convert::id("workload_id", &wanted.workload_id).map_err(invalid)?,
            kind: if wanted.full { SnapshotKind::Full } else { SnapshotKind::Incremental },
            name: filled(&wanted.name),
            description: filled(&wanted.description),
        };
        let started = snapshots::create(&self.state, caller, &request, Some(key)).await.map_err(refused)?;
        Ok(Taken { saga_id: started.saga_id, object_id: started.id.uuid(), duplicate: started.duplicate })
    }

    async fn restore(
        &self,
        caller: &Caller,
        key: &IntakeKey,
        wanted: &RestoreSnapshot,
    ) -> Result<Taken, Failure> {
        let chosen = wanted
            .instances
            .iter()
            .map(|instance| {
                let instance_id = convert::id("instances.instance_id", &instance.instance_id)?;
                Ok(Chosen { instance_id, new_name: filled(&instance.new_name) })
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(invalid)?;
        let selection = if chosen.is_empty() { Selection::OneClick } else { Selection::Chosen(chosen) };
        let request = restores::Request {
            snapshot_id: convert::id("snapshot_id", &wanted.snapshot_id).map_err(invalid)?,
            name: filled(&wanted.name),
            description: None,
            selection,
            options_json: "{}".to_owned(),
            warning: None,
        };
        let started = restores::create(&self.state, caller, &request, Some(key)).await.map_err(refused)?;
        Ok(Taken { saga_id: started.saga_id, object_id: started.id.uuid(), duplicate: started.duplicate })
    }

    /// The broker vouches for `source`, and for nothing else in the message.
    fn check_grant(&self, source: &str, kind: JobKind, project: &ProjectId) -> Result<(), Failure> {
        let service = source.strip_prefix(user::INTAKE_PREFIX).unwrap_or_default();
        if self.grants.iter().any(|grant| grant.allows(service, kind, project)) {
            return Ok(());
        }
        Err(Failure::permanent(
            "INTAKE_NOT_GRANTED",
            format!(
                "service {service:?} may not submit jobs of kind {kind} for project {project}: an operator must grant it \
                 in the controllers' config ([[intake_grant]]) and start them again"
            ),
        ))
    }

    async fn accept(&self, envelope: &Envelope, key: &str, taken: &Taken) {
        let message = Accepted {
            idempotency_key: key.to_owned(),
            job_id: taken.saga_id.to_string(),
            object_id: taken.object_id.to_string(),
            duplicate: taken.duplicate,
        };
        self.answer(envelope, &message).await;
    }

    async fn reject(&self, envelope: &Envelope, key: &str, failure: &Failure) {
        let message = Rejected { idempotency_key: key.to_owned(), error: Some(failure.into()) };
        self.answer(envelope, &message).await;
    }

    /// Answers to the service's own queue, or over the broker's direct reply-to, and to no other: with our rights a reply could
    /// reach any queue.
    async fn answer<M: Message + Name + Answer>(&self, envelope: &Envelope, message: &M) {
        let Some(reply_to) = &envelope.reply_to else { return };
        let service = envelope.user_id.as_deref().and_then(|user| user.strip_prefix(user::INTAKE_PREFIX));
        // The broker itself puts an unguessable name there that leads to the sender's own channel.
        let is_direct = reply_to.starts_with("amq.rabbitmq.reply-to.");
        if !is_direct && service.map(queue::subscriber).as_ref() != Some(reply_to) {
            tracing::info!(
                user = envelope.user_id,
                "an answer was asked for at a queue that is not the sender's own"
            );
            return;
        }
        let id = MessageId::from_uuid(Entropy.uuid());
        let mut answer = match Encoding::of(envelope) {
            Some(Encoding::Json) => {
                let mut answer = Envelope::new(id, &M::full_name(), message.json().to_string().into_bytes());
                JSON.clone_into(&mut answer.content_type);
                answer
            }
            Some(Encoding::Protobuf) | None => Envelope::new(id, &M::full_name(), message.encode_to_vec()),
        };
        answer.correlation_id.clone_from(&envelope.correlation_id);
        if let Err(error) = self.publisher.publish("", reply_to, &answer).await {
            tracing::info!(user = envelope.user_id, error = %Chain(&error), "an answer to a submitted job was not delivered");
        }
    }
}

/// Reads protobuf, or the same schema's JSON.
fn decode(envelope: &Envelope) -> Result<SubmitJob, String> {
    if envelope.type_name != SubmitJob::full_name() {
        return Err(format!("type {:?} is not {}", envelope.type_name, SubmitJob::full_name()));
    }
    match Encoding::of(envelope) {
        Some(Encoding::Json) => intake_json::decode(&envelope.body),
        Some(Encoding::Protobuf) => {
            SubmitJob::decode(envelope.body.clone()).map_err(|error| error.to_string())
        }
        None => Err(format!("content type {:?} is neither {PROTOBUF} nor {JSON}", envelope.content_type)),
    }
}

impl Encoding {
    /// Parameters (`; charset=utf-8`) say nothing new about either.
    fn of(envelope: &Envelope) -> Option<Self> {
        let media_type = envelope.content_type.split(';').next().unwrap_or_default().trim();
        match media_type.to_ascii_lowercase().as_str() {
            JSON => Some(Self::Json),
            PROTOBUF | "" => Some(Self::Protobuf),
            _ => None,
        }
    }
}

const fn kind_of(job: &Job) -> JobKind {
    match job {
        Job::SnapshotWorkload(_) => JobKind::Snapshot,
        Job::RestoreSnapshot(_) => JobKind::Restore,
    }
}

/// Whether the trouble is on our side, so that waiting serves the caller better than a rejection.
fn is_ours(failure: &Failure) -> bool {
    matches!(failure.class, ErrorClass::Transient | ErrorClass::Throttled | ErrorClass::Indeterminate)
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn refused(error: app::Error) -> Failure {
    error.failure()
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn invalid(error: convert::Malformed) -> Failure {
    Failure::permanent("JOB_INVALID", error.to_string())
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
