//! Handles one command: forwards it with its bytes untouched, or answers why not.

use std::sync::Arc;

use async_trait::async_trait;
use bus::{Envelope, PublishError, Publisher, Session, header};
use bus_config::{exchange, key};
use cloud::Placement;
use model::{ErrorClass, Failure, MessageId};
use prost::{Message as _, Name as _};
use proto::cmd::v1::{Examine, PlacedCommand};
use proto::convert::{self, Malformed, PlacedAt};
use proto::rep::v1::JobFailed;
use runtime::Entropy;
use service_kit::actors::{Handled, MessageHandler};

use crate::config::Config;
use crate::examine::Examiner;
use crate::placement::{Destination, resolve};

/// The handler of dmapi's queue. Keeps nothing between two commands.
#[derive(Debug)]
pub struct Placer {
    cloud: Arc<dyn Placement>,
    session: Session,
    publisher: Publisher,
    examiner: Examiner,
}

/// What became of a command.
enum Outcome {
    Forwarded,
    /// It cannot be placed; the controller is told.
    Failed(Failure),
    /// The bus could not say: the command is placed again.
    Unclear,
}

impl Placer {
    /// A placer that asks `cloud` and forwards over `session`; its config tells what it examines when it is asked to.
    #[must_use]
    pub fn new(cloud: Arc<dyn Placement>, session: Session, config: Config) -> Self {
        let publisher = session.publisher();
        let examiner = Examiner::new(Arc::clone(&cloud), session.clone(), config);
        Self { cloud, session, publisher, examiner }
    }

    async fn place(&self, command: &Envelope, at: &PlacedAt, hosts_too_old: &[String]) -> Outcome {
        let destination = match resolve(self.cloud.as_ref(), at).await {
            Ok(destination) => destination,
            Err(failure) => return Outcome::Failed(failure),
        };
        if let Destination::Host(host) = &destination
            && hosts_too_old.iter().any(|name| name == host.as_str())
        {
            return Outcome::Failed(destination.too_old(key::verb_of(&command.routing_key)));
        }
        match self.session.inspect_queue(&destination.queue()).await {
            Ok(Some(counts)) if counts.consumers > 0 => self.forward(command, &destination).await,
            Ok(Some(_)) => Outcome::Failed(destination.not_running()),
            Ok(None) => Outcome::Failed(destination.not_enrolled()),
            Err(error) => {
                tracing::warn!(%destination, %error, "failed to ask for a datamover, will retry");
                Outcome::Unclear
            }
        }
    }

    async fn forward(&self, command: &Envelope, destination: &Destination) -> Outcome {
        let verb = key::verb_of(&command.routing_key);
        match self.publisher.publish(exchange::CMD, &destination.routing_key(verb), command).await {
            Ok(()) => {
                tracing::debug!(%destination, verb, message_id = %command.message_id, "forwarded");
                Outcome::Forwarded
            }
            Err(PublishError::Unroutable { .. }) => Outcome::Failed(destination.not_enrolled()),
            Err(PublishError::Nacked { .. }) => Outcome::Failed(Failure::new(
                ErrorClass::Throttled,
                "QUEUE_FULL",
                format!("the queue of {destination} is full: is its datamover stuck?"),
            )),
            Err(error @ (PublishError::Refused { .. } | PublishError::TooLarge { .. })) => {
                Outcome::Failed(Failure::permanent(
                    "FORWARD_REFUSED",
                    format!(
                        "failed to forward to {destination}: {error}; check the rights of user {}",
                        self.session.user()
                    ),
                ))
            }
            Err(error @ (PublishError::Unknown { .. } | PublishError::NotConnected { .. })) => {
                tracing::warn!(%destination, %error, "failed to forward, will retry");
                Outcome::Unclear
            }
        }
    }

    /// Answers with `JobFailed`. A controller that hears it twice heeds the first.
    async fn answer(&self, command: &Envelope, parsed: &PlacedCommand, failure: &Failure) -> Handled {
        // Nothing was forwarded by this handling of this copy. Where there may have been another, that proves nothing.
        let handled_before = command.redelivered || command.header(header::REPUBLISHED).is_some();
        let failed = JobFailed {
            header: parsed.header.clone(),
            host: String::new(),
            error: Some(failure.into()),
            effect_free: !handled_before,
            changes_false: false,
        };
        let id = MessageId::from_uuid(Entropy.uuid());
        let mut reply = Envelope::new(id, &JobFailed::full_name(), failed.encode_to_vec());
        reply.correlation_id.clone_from(&command.correlation_id);
        reply.headers.clone_from(&command.headers);
        reply.headers.remove(header::REPUBLISHED);
        let routing_key = key::reply(&key::verb_of_type(&reply.type_name));
        match self.publisher.publish(exchange::REP, &routing_key, &reply).await {
            Ok(()) => {
                tracing::info!(code = failure.code, reason = failure.message, "a command cannot be placed");
                Handled::Done
            }
            Err(error) => {
                tracing::warn!(%error, "failed to answer, will retry");
                Handled::Retry
            }
        }
    }
}

#[async_trait]
impl MessageHandler for Placer {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        if envelope.type_name == Examine::full_name() {
            return self.examiner.handle(envelope);
        }
        let parsed = match PlacedCommand::decode(envelope.body.clone()) {
            Ok(parsed) => parsed,
            Err(error) => return Handled::Dead(format!("UNDECODABLE: {}: {error}", envelope.type_name)),
        };
        let at = match check(&parsed) {
            Ok(at) => at,
            Err(malformed) => {
                return Handled::Dead(format!("MALFORMED: {}: {malformed}", envelope.type_name));
            }
        };
        let hosts_too_old = parsed.placement.as_ref().map_or(&[][..], |placement| &placement.hosts_too_old);
        match self.place(envelope, &at, hosts_too_old).await {
            Outcome::Forwarded => Handled::Done,
            Outcome::Failed(failure) => self.answer(envelope, &parsed, &failure).await,
            Outcome::Unclear => Handled::Retry,
        }
    }
}

/// A command without a valid header could not be answered, so it is not forwarded either.
fn check(command: &PlacedCommand) -> Result<PlacedAt, Malformed> {
    convert::header(command.header.as_ref())?;
    convert::placement(command.placement.as_ref())
}
