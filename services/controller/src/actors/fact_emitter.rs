//! Tells our facts to those who listen on OpenStack's own broker, as notifications of oslo.messaging. Lossy, as facts are:
//! the queue is bounded, and what that broker does not take for long is given up.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use async_trait::async_trait;
use bus::{AcceptFrom, Consume, Envelope, PublishError, Publisher, Session};
use bus_config::{queue, user};
use chrono::DateTime;
use openstack::{Notification, Priority};
use prost::Message as _;
use proto::evt::v1::Fact;
use serde_json::{Value, json};
use service_kit::actors::{Consuming, Handled, MessageHandler, QueueConsumer};
use service_kit::telemetry::Chain;
use service_kit::{Drain, Service, own_host};
use tokio::time::Instant;

/// The broker's default limit for an unacknowledged message is half an hour.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_secs(2);

/// Takes each fact; without an `outlet` it is only taken, so that none waits.
#[derive(Debug)]
pub struct FactEmitter {
    outlet: Option<Outlet>,
    drain: Drain,
}

/// Where notifications go.
#[derive(Debug)]
pub struct Outlet {
    publisher: Publisher,
    exchange: String,
    topic: String,
    publisher_id: String,
}

impl Outlet {
    /// Sends over `session`, as this host's `holdfast`.
    #[must_use]
    pub fn new(session: &Session, exchange: &str, topic: &str) -> Self {
        Self {
            publisher: session.publisher(),
            exchange: exchange.to_owned(),
            topic: topic.to_owned(),
            publisher_id: format!("holdfast.{}", own_host()),
        }
    }
}

/// Starts the consumer.
pub fn start(
    service: &Service,
    session: &Session,
    outlet: Option<Outlet>,
) -> Addr<QueueConsumer<FactEmitter>> {
    let consume = Consume {
        queue: queue::CTRL_EVT.to_owned(),
        prefetch: 16,
        accept_from: AcceptFrom::users([user::CONTROLLER]),
    };
    // One at a time: listeners may rely on the order.
    let consuming = Consuming { actor: "fact_emitter".to_owned(), consume, concurrency: 1 };
    let handler = FactEmitter { outlet, drain: service.drain() };
    QueueConsumer::start(service, session, consuming, Arc::new(handler))
}

#[async_trait]
impl MessageHandler for FactEmitter {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        let Some(outlet) = &self.outlet else { return Handled::Done };
        let Ok(fact) = Fact::decode(envelope.body.clone()) else {
            return Handled::Dead("UNDECODABLE: the body is no holdfast.evt.v1.Fact".to_owned());
        };
        let notification = to_notification(&fact, envelope, &outlet.publisher_id);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match outlet.send(&notification, &fact.project_id, envelope).await {
                Ok(()) => return Handled::Done,
                Err(error) => error,
            };
            if self.drain.has_begun() {
                return Handled::Retry;
            }
            let is_final = matches!(error, PublishError::Refused { .. } | PublishError::TooLarge { .. });
            if is_final || Instant::now() > deadline {
                tracing::warn!(error = %Chain(&error), "a notification is given up: OpenStack's broker does not take it");
                return Handled::Done;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Outlet {
    async fn send(
        &self,
        notification: &Notification,
        project_id: &str,
        cause: &Envelope,
    ) -> Result<(), PublishError> {
        let body = notification.compose(project_id);
        let mut envelope = Envelope::new(cause.message_id, &notification.event_type, body);
        envelope.content_type = "application/json".to_owned();
        let routing_key = format!("{}.{}", self.topic, notification.priority.as_str());
        match self.publisher.publish(&self.exchange, &routing_key, &envelope).await {
            // Nobody listens.
            Err(PublishError::Unroutable { .. }) => Ok(()),
            // The first listener makes the exchange.
            Err(PublishError::Refused { reason, .. }) if reason.contains("NOT_FOUND") => Ok(()),
            outcome => outcome,
        }
    }
}

/// Names after OpenStack's habit: `holdfast.<noun>.<status>`.
fn to_notification(fact: &Fact, envelope: &Envelope, publisher_id: &str) -> Notification {
    let Fact { kind, fact: status, .. } = fact;
    let mut payload = json!({
        "tenant_id": fact.project_id,
        "project_id": fact.project_id,
        "sequence": fact.sequence,
        "status": status,
        "workload_id": fact.workload_id,
        "error_code": fact.code,
        "error_message": fact.message,
    });
    payload[format!("{kind}_id")] = Value::from(fact.object_id.clone());
    Notification {
        // The same for a fact that comes twice.
        message_id: envelope.message_id.to_string(),
        publisher_id: publisher_id.to_owned(),
        event_type: format!("holdfast.{kind}.{status}"),
        priority: if fact.code.is_empty() { Priority::Info } else { Priority::Error },
        sent_at: DateTime::from_timestamp_micros(fact.happened_at).unwrap_or_default(),
        payload,
    }
}

#[cfg(test)]
mod tests {
    use model::MessageId;
    use runtime::Entropy;

    use super::*;

    #[test]
    fn a_fact_becomes_a_notification_that_names_what_and_why() {
        let fact = Fact {
            project_id: "acme".to_owned(),
            sequence: 7,
            kind: "snapshot".to_owned(),
            fact: "error".to_owned(),
            object_id: "s-1".to_owned(),
            workload_id: "w-1".to_owned(),
            happened_at: 1_000_001,
            message: "the target is full".to_owned(),
            code: "TARGET_FULL".to_owned(),
        };
        let envelope = Envelope::new(MessageId::from_uuid(Entropy.uuid()), "x", fact.encode_to_vec());
        let notification = to_notification(&fact, &envelope, "holdfast.here");
        assert_eq!(notification.event_type, "holdfast.snapshot.error");
        assert_eq!(notification.priority, Priority::Error);
        assert_eq!(notification.message_id, envelope.message_id.to_string());
        assert_eq!(notification.sent_at.timestamp_micros(), 1_000_001);
        assert_eq!(notification.payload["snapshot_id"], "s-1");
        assert_eq!(notification.payload["workload_id"], "w-1");
        assert_eq!(notification.payload["error_code"], "TARGET_FULL");
    }
}
