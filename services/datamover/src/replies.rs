//! What a datamover tells the controllers. Nothing here is kept: what must not be lost is in the journal before, and
//! `result_sender` sends it until it is acknowledged.

use bus::{Envelope, PublishError, Publisher, header};
use bus_config::{exchange, key};
use model::{Failure, HostName, JobKey, MessageId, SagaId};
use prost::Message;
use proto::common::v1 as wire;
use proto::convert::Header;
use proto::rep::v1 as rep;
use runtime::Entropy;

use crate::journal::{JobRecord, Phase};
use crate::outcome::{Halt, Outcome, StopReason};

/// Publishes replies. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Replies {
    publisher: Publisher,
    host: HostName,
}

/// A result as it is journalled: full proto name and body.
pub type ResultBody = (String, Vec<u8>);

impl Replies {
    /// Replies of the datamover of `host`.
    #[must_use]
    pub const fn new(publisher: Publisher, host: HostName) -> Self {
        Self { publisher, host }
    }

    /// Tells that a job is in the journal.
    ///
    /// Errors: the broker does not have it.
    pub async fn send_accepted(&self, record: &JobRecord, needs_lease: bool) -> Result<(), PublishError> {
        let body = rep::JobAccepted {
            header: Some(job_header(record, record.epoch)),
            host: self.host.to_string(),
            needs_lease,
        };
        self.publish("JobAccepted", body.encode_to_vec(), fresh_id(), record).await
    }

    /// Sends the result that a finished record keeps; other records have nothing to send.
    ///
    /// Errors: the broker does not have it.
    pub async fn send_result(&self, record: &JobRecord) -> Result<(), PublishError> {
        let Phase::Finished { result_type, result, message_id } = &record.phase else { return Ok(()) };
        let kind = key::verb_of(result_type);
        self.publish(kind, result.clone(), *message_id, record).await
    }

    /// Answers a command that may never run here.
    ///
    /// Errors: the broker does not have it.
    pub async fn send_barred(&self, header: &Header) -> Result<(), PublishError> {
        let body = rep::JobCancelled {
            header: Some(header.into()),
            host: self.host.to_string(),
            ..Default::default()
        };
        self.answer(header, "JobCancelled", body.encode_to_vec()).await
    }

    /// Answers a command that this host will not do.
    ///
    /// Errors: the broker does not have it.
    pub async fn send_refused(
        &self,
        header: &Header,
        failure: &Failure,
        effect_free: bool,
    ) -> Result<(), PublishError> {
        let body = rep::JobFailed {
            header: Some(header.into()),
            host: self.host.to_string(),
            error: Some(wire::ErrorInfo::from(failure)),
            effect_free,
            ..Default::default()
        };
        self.answer(header, "JobFailed", body.encode_to_vec()).await
    }

    /// Tells the controllers that this process is here.
    ///
    /// Errors: the broker does not have it.
    pub async fn send_register(&self, register: &rep::Register) -> Result<(), PublishError> {
        let envelope = Envelope::new(fresh_id(), "holdfast.rep.v1.Register", register.encode_to_vec());
        self.publisher.publish(exchange::REP, &key::reply("register"), &envelope).await
    }

    /// Tells how this datamover finds itself.
    ///
    /// Errors: the broker does not have it.
    pub async fn send_examined(&self, examined: &rep::Examined) -> Result<(), PublishError> {
        let envelope = Envelope::new(fresh_id(), "holdfast.rep.v1.Examined", examined.encode_to_vec());
        self.publisher.publish(exchange::REP, &key::reply("examined"), &envelope).await
    }

    /// The body of a job's result; `None`: its end is nobody's business. `changes_false`: what a transfer found, also one that
    /// did not come to its end.
    #[must_use]
    pub fn result_body(
        &self,
        record: &JobRecord,
        epoch: u64,
        outcome: Outcome,
        changes_false: bool,
    ) -> Option<ResultBody> {
        let header = Some(job_header(record, epoch));
        let host = self.host.to_string();
        let (kind, body) = match outcome {
            Ok(result) => {
                ("JobSucceeded", rep::JobSucceeded { header, host, result: Some(result) }.encode_to_vec())
            }
            Err(Halt::Failed { failure, effect_free }) => {
                let error = Some(wire::ErrorInfo::from(&failure));
                let failed = rep::JobFailed { header, host, error, effect_free, changes_false };
                ("JobFailed", failed.encode_to_vec())
            }
            Err(Halt::Stopped(StopReason::Aborted)) => {
                ("JobCancelled", rep::JobCancelled { header, host, changes_false }.encode_to_vec())
            }
            Err(Halt::Stopped(StopReason::Superseded | StopReason::Draining)) => return None,
        };
        Some((format!("holdfast.rep.v1.{kind}"), body))
    }

    /// Answers a command of which no journal knows.
    async fn answer(&self, header: &Header, kind: &str, body: Vec<u8>) -> Result<(), PublishError> {
        self.send(reply(kind, body, fresh_id(), header.saga_id, &header.key)).await
    }

    async fn publish(
        &self,
        kind: &str,
        body: Vec<u8>,
        message_id: MessageId,
        record: &JobRecord,
    ) -> Result<(), PublishError> {
        let JobRecord { job_id, attempt, epoch, .. } = *record;
        let key = JobKey { job_id, attempt, epoch };
        let mut envelope = reply(kind, body, message_id, record.saga_id, &key);
        if let Some(traceparent) = &record.traceparent {
            envelope = envelope.with_header(header::TRACEPARENT, traceparent);
        }
        self.send(envelope).await
    }

    async fn send(&self, envelope: Envelope) -> Result<(), PublishError> {
        let routing_key = key::reply(&key::verb_of_type(&envelope.type_name));
        self.publisher.publish(exchange::REP, &routing_key, &envelope).await
    }
}

/// A reply about one attempt of a job.
fn reply(kind: &str, body: Vec<u8>, message_id: MessageId, saga_id: SagaId, key: &JobKey) -> Envelope {
    Envelope::new(message_id, &format!("holdfast.rep.v1.{kind}"), body)
        .correlated(saga_id)
        .with_header(header::JOB, key.job_id)
        .with_header(header::ATTEMPT, key.attempt)
        .with_header(header::EPOCH, key.epoch)
}

fn job_header(record: &JobRecord, epoch: u64) -> wire::JobHeader {
    wire::JobHeader {
        job_id: record.job_id.to_string(),
        saga_id: record.saga_id.to_string(),
        attempt: record.attempt,
        epoch,
        deadline_at: 0,
    }
}

/// A message id drawn now.
#[must_use]
pub fn fresh_id() -> MessageId {
    MessageId::from_uuid(Entropy.uuid())
}
