//! One message in the hands of a consumer.

use std::sync::Arc;
use std::time::Duration;

use bus_config::{Class, exchange, key};
use lapin::message::Delivery as Incoming;
use lapin::options::{BasicAckOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use runtime::{Clock as _, RetryPolicy, SystemClock};
use tokio::time::{sleep, timeout};

use crate::envelope::{PERSISTENT, short, whole_number};
use crate::letter::{HEADERS_SIZE_MAX, sender_of, size_of, without_deaths};
use crate::link::RPC_TIMEOUT;
use crate::publisher::{Address, publish};
use crate::session::Shared;
use crate::{Envelope, header};

/// Pauses of 0.5, 2, 8, 30, 30 s… before a message goes back: a database that restarts in half a minute must not use up a
/// queue's delivery limit of 5. The broker has no pause of its own on versions below 4.3.
const RETURN_BASE: Duration = Duration::from_millis(500);
const RETURN_CAP: Duration = Duration::from_secs(30);
/// Counts deliveries before this one; set by quorum queues.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// A reason is for people; a hostile message may make it long.
const REASON_LENGTH_MAX: usize = 1000;

/// A message to settle. Dropped unsettled, it goes back to the queue as by `retry`.
///
/// Settling never fails towards the caller: what the broker did not hear of comes again.
#[derive(Debug)]
pub struct Delivery {
    envelope: Envelope,
    /// `None` when settled.
    held: Option<Held>,
}

/// The broker's side of a message: what is needed to settle it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) shared: Arc<Shared>,
    pub(crate) incoming: Incoming,
    pub(crate) queue: String,
    /// Of the session that delivered.
    pub(crate) number: u64,
    /// Keeps the channel open until its messages are settled.
    pub(crate) _channel: Channel,
}

impl Delivery {
    pub(crate) fn new(envelope: Envelope, held: Held) -> Self {
        Self { envelope, held: Some(held) }
    }

    /// The message.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Where it was published.
    #[must_use]
    pub fn exchange(&self) -> &str {
        &self.envelope.exchange
    }

    /// How it was addressed.
    #[must_use]
    pub fn routing_key(&self) -> &str {
        &self.envelope.routing_key
    }

    /// Whether it was delivered before, to anybody.
    #[must_use]
    pub const fn redelivered(&self) -> bool {
        self.envelope.redelivered
    }

    /// Done: forget it. Dropped silently when the session is not the one that delivered.
    pub async fn ack(mut self) {
        if let Some(held) = self.held.take() {
            held.ack().await;
        }
    }

    /// Gives it back to the queue after a pause that grows with the number of deliveries; the broker counts, and
    /// dead-letters it at the queue's limit. Returns at once.
    pub async fn retry(mut self) {
        self.give_back();
    }

    /// Puts a copy with `reason` among the dead letters, waits for the confirm, then acks. Goes back to the queue when
    /// the copy could not be published.
    pub async fn dead_letter(mut self, reason: &str) {
        if let Some(held) = self.held.take() {
            held.dead_letter(reason).await;
        }
    }

    /// Whether an ack of it can still reach the broker.
    pub(crate) fn is_current(&self) -> bool {
        self.held.as_ref().is_some_and(Held::is_current)
    }

    fn give_back(&mut self) {
        if let Some(held) = self.held.take() {
            let handle = held.shared.handle.clone();
            handle.spawn(held.give_back());
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Held {
    fn is_current(&self) -> bool {
        self.shared.current_number() == Some(self.number)
    }

    async fn ack(self) {
        if !self.is_current() {
            return;
        }
        let ack = self.incoming.acker.ack(BasicAckOptions::default());
        match timeout(RPC_TIMEOUT, ack).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(queue = self.queue, %error, "an ack did not reach the broker"),
            Err(_) => tracing::debug!(queue = self.queue, "an ack did not reach the broker in time"),
        }
    }

    /// `basic.reject`: the one return that every version of the broker counts.
    async fn give_back(self) {
        let policy = RetryPolicy { base: RETURN_BASE, cap: RETURN_CAP, attempts_max: None };
        // Twice per delivery: fourfold pauses of the doubling policy.
        let attempt = self.delivery_count().saturating_mul(2).saturating_add(1);
        sleep(policy.delay(attempt, 1.0)).await;
        self.reject().await;
    }

    async fn reject(self) {
        if !self.is_current() {
            return;
        }
        let reject = self.incoming.acker.reject(BasicRejectOptions { requeue: true });
        match timeout(RPC_TIMEOUT, reject).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::debug!(queue = self.queue, %error, "a reject did not reach the broker")
            }
            Err(_) => tracing::debug!(queue = self.queue, "a reject did not reach the broker in time"),
        }
    }

    pub(crate) async fn dead_letter(self, reason: &str) {
        let reason = &reason[..reason.floor_char_boundary(REASON_LENGTH_MAX)];
        let Some(class) = Class::of_queue(&self.queue) else {
            tracing::warn!(queue = self.queue, reason, "a message of a queue without dead letters goes back");
            return self.give_back().await;
        };
        let routing_key = key::dead(class);
        let address = Address { exchange: exchange::DLX, routing_key: &routing_key };
        let published =
            publish(&self.shared, address, self.dead_properties(reason), &self.incoming.data).await;
        match published {
            Ok(()) => {
                tracing::warn!(queue = self.queue, reason, "moved a message to the dead letters");
                self.ack().await;
            }
            Err(error) => {
                tracing::warn!(queue = self.queue, reason, %error, "failed to move a message to the dead letters, will retry");
                self.give_back().await;
            }
        }
    }

    /// The properties as they came, with who, where and why in the headers: the copy is published by us, so its user is we.
    fn dead_properties(&self, reason: &str) -> BasicProperties {
        let incoming = &self.incoming.properties;
        let mut headers = without_deaths(incoming);
        let size = size_of(&headers);
        if size > HEADERS_SIZE_MAX {
            headers = FieldTable::default();
            headers.insert(short(header::DEAD_HEADERS_LOST), AMQPValue::LongString(size.to_string().into()));
        }
        let mut put = |name: &str, value: &str| {
            headers.insert(short(name), AMQPValue::LongString(value.into()));
        };
        put(header::DEAD_REASON, reason);
        put(header::DEAD_QUEUE, &self.queue);
        put(header::DEAD_EXCHANGE, self.incoming.exchange.as_str());
        put(header::DEAD_ROUTING_KEY, self.incoming.routing_key.as_str());
        put(header::DEAD_AT, &SystemClock.now().0.to_string());
        if let Some(sender) = sender_of(incoming) {
            put(header::DEAD_USER, &sender);
        }
        incoming
            .clone()
            .with_headers(headers)
            .with_delivery_mode(PERSISTENT)
            .with_user_id(short(&self.shared.config.user))
    }

    fn delivery_count(&self) -> u32 {
        let headers: Option<&FieldTable> = self.incoming.properties.headers().as_ref();
        let count = headers.and_then(|headers| headers.inner().get(DELIVERY_COUNT)).and_then(whole_number);
        count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
    }
}
