//! One dead letter: why it died, where it came from, who sent it, and whether it may go there again.
//!
//! Two lay letters here. The broker, at the limit of deliveries: the message is as its sender published it, and the header
//! `x-death` says what happened. A consumer, when a message makes no sense: the copy is published by the consumer's user, with
//! `holdfast-dead-…` headers. Only the property `user_id` is proved by the broker; everything else may be forged by whoever
//! may publish, so what a letter says of itself counts as far as that user's rights go. See docs/decisions/0006.

use std::collections::BTreeMap;
use std::fmt;

use bus_config::{Class, leads_to, may_lay, may_send, user};
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery as Incoming;
use lapin::types::{AMQPValue, FieldTable};
use model::{MessageId, Timestamp};

use crate::envelope::{BODY_SIZE_MAX, header_text, short, whole_number};
use crate::header;

/// AMQP puts all headers into one frame of 128 KiB; more than fits breaks the connection. Half of it leaves room for ours.
pub(crate) const HEADERS_SIZE_MAX: usize = 64 * 1024;
/// Written by the broker; the newest death first.
const BROKERS_DEATHS: &str = "x-death";

/// Who put a letter where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaidBy {
    Broker,
    /// A consumer, by its user.
    User(String),
}

impl fmt::Display for LaidBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broker => "the broker",
            Self::User(user) => user,
        })
    }
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The message id; `derived-…`, a digest of the letter, where it has none. Copies of one letter have one id.
    pub id: String,
    pub class: Class,
    pub type_name: String,
    pub content_type: Option<String>,
    pub correlation_id: Option<String>,
    pub reply_to: Option<String>,
    /// A code, a colon and a text.
    pub reason: String,
    pub laid_by: LaidBy,
    /// Who sent it first; `None` when the message does not say.
    pub sender: Option<String>,
    /// Where it was published, and the queue it was taken from.
    pub queue: Option<String>,
    pub exchange: Option<String>,
    pub routing_key: Option<String>,
    pub died_at: Option<Timestamp>,
    /// Its first death, when it was sent again since.
    pub first_died_at: Option<Timestamp>,
    /// How often it died.
    pub death_count: u32,
    /// As they came, the broker's own left out.
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
    headers_size: usize,
}

/// Why a letter cannot be sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRetriable {
    #[error(
        "its body has {0} bytes, more than the {BODY_SIZE_MAX} that the bus takes: it would only come back"
    )]
    TooLarge(usize),
    #[error("its headers have {0} bytes, more than the {HEADERS_SIZE_MAX} that are sent again")]
    HeadersTooLarge(usize),
    #[error("it does not say who sent it")]
    NoSender,
    #[error("it does not say where it came from")]
    NoOrigin,
    #[error(
        "it was laid here by {laid_by}, whose word does not prove that {sender} sent it to {queue}; the job behind it is repeated by its saga"
    )]
    NotProved { laid_by: String, sender: String, queue: String },
}

/// Where a letter goes when it is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) sender: String,
}

/// What the newest death says.
struct Death {
    reason: String,
    laid_by: LaidBy,
    sender: Option<String>,
    queue: Option<String>,
    exchange: Option<String>,
    routing_key: Option<String>,
    died_at: Option<Timestamp>,
}

impl Letter {
    /// Reads what the broker gave.
    pub(crate) fn read(class: Class, incoming: &Incoming) -> Self {
        let properties = &incoming.properties;
        let headers = properties.headers().clone().unwrap_or_default();
        let text =
            |value: &Option<lapin::types::ShortString>| value.as_ref().map(|text| text.as_str().to_owned());
        let user = text(properties.user_id());
        let death = brokers_death(&headers, sender_of(properties))
            .unwrap_or_else(|| consumers_death(&headers, user.as_deref()));
        let message_id = text(properties.message_id()).filter(|id| id.parse::<MessageId>().is_ok());
        // Consumers take out what was not ours; the broker does not.
        let is_believed = user.as_deref() == Some(user::CONTROLLER) || death.laid_by != LaidBy::Broker;
        let of_retries = |name: &str| number(&headers, name).filter(|_| is_believed);
        let retried_count = of_retries(header::RETRIED).and_then(|count| u32::try_from(count).ok());
        let first_died_at = of_retries(header::FIRST_DEAD_AT).map(Timestamp);
        Self {
            id: message_id.unwrap_or_else(|| derived_id(incoming, &death)),
            class,
            type_name: text(properties.kind()).unwrap_or_default(),
            content_type: text(properties.content_type()),
            correlation_id: text(properties.correlation_id()),
            reply_to: text(properties.reply_to()),
            reason: death.reason,
            laid_by: death.laid_by,
            sender: death.sender,
            queue: death.queue,
            exchange: death.exchange,
            routing_key: death.routing_key,
            died_at: death.died_at,
            first_died_at,
            death_count: retried_count.unwrap_or(0).saturating_add(1),
            headers_size: size_of(&headers),
            headers: readable(&headers),
            body: Bytes::copy_from_slice(&incoming.data),
        }
    }

    /// The code that its reason begins with.
    #[must_use]
    pub fn code(&self) -> &str {
        self.reason.split_once(':').map_or(self.reason.as_str(), |(code, _)| code)
    }

    /// Whether it may be sent again.
    ///
    /// Errors: why not.
    pub fn check_retry(&self) -> Result<(), NotRetriable> {
        self.origin().map(drop)
    }

    pub(crate) fn origin(&self) -> Result<Origin, NotRetriable> {
        if self.body.len() > BODY_SIZE_MAX {
            return Err(NotRetriable::TooLarge(self.body.len()));
        }
        if self.headers_size > HEADERS_SIZE_MAX {
            return Err(NotRetriable::HeadersTooLarge(self.headers_size));
        }
        let sender = self.sender.clone().ok_or(NotRetriable::NoSender)?;
        let (Some(queue), Some(exchange), Some(routing_key)) =
            (&self.queue, &self.exchange, &self.routing_key)
        else {
            return Err(NotRetriable::NoOrigin);
        };
        let is_vouched = match &self.laid_by {
            LaidBy::Broker => true,
            LaidBy::User(user) => may_lay(user, queue),
        };
        if !is_vouched || !may_send(&sender, exchange, routing_key) || !leads_to(exchange, routing_key, queue)
        {
            let laid_by = self.laid_by.to_string();
            return Err(NotRetriable::NotProved { laid_by, sender, queue: queue.clone() });
        }
        Ok(Origin { exchange: exchange.clone(), routing_key: routing_key.clone(), sender })
    }

    /// The properties with which it goes again: those it came with, less what belongs to its death, and whose it is.
    pub(crate) fn retry_properties(
        &self,
        incoming: &BasicProperties,
        origin: &Origin,
        we: &str,
    ) -> BasicProperties {
        let mut headers = without_deaths(incoming);
        let mut put = |name: &str, value: String| {
            headers.insert(short(name), AMQPValue::LongString(value.into()));
        };
        put(header::RETRIED, self.death_count.to_string());
        put(header::RETRIED_FOR, origin.sender.clone());
        // It may have done its work before it died.
        put(header::REPUBLISHED, "1".to_owned());
        if let Some(first) = self.first_died_at.or(self.died_at) {
            put(header::FIRST_DEAD_AT, first.0.to_string());
        }
        incoming.clone().with_headers(headers).with_user_id(short(we))
    }
}

/// Whose message it is: a letter that we sent again is its first sender's. Nobody but the controllers is believed.
pub(crate) fn sender_of(properties: &BasicProperties) -> Option<String> {
    let sender = properties.user_id().as_ref()?.as_str().to_owned();
    if sender != user::CONTROLLER {
        return Some(sender);
    }
    let headers = properties.headers().as_ref();
    Some(headers.and_then(|headers| text(headers, header::RETRIED_FOR)).unwrap_or(sender))
}

/// More routing keys, in RabbitMQ: a copy with them would go where its first sender may not send.
const MORE_ROUTING_KEYS: [&str; 2] = ["CC", "BCC"];

/// The headers without what speaks of deaths and deliveries, whoever wrote it, without retries that were not ours, and
/// without what would send it anywhere else too.
pub(crate) fn without_deaths(properties: &BasicProperties) -> FieldTable {
    let is_ours = properties.user_id().as_ref().is_some_and(|user| user.as_str() == user::CONTROLLER);
    let of_retries = [header::RETRIED, header::RETRIED_FOR, header::FIRST_DEAD_AT];
    let goes = |name: &str| {
        name.starts_with("x-")
            || name.starts_with(header::DEAD_PREFIX)
            || MORE_ROUTING_KEYS.contains(&name)
            || (!is_ours && of_retries.contains(&name))
    };
    let mut left = FieldTable::default();
    for (name, value) in properties.headers().iter().flat_map(|headers| headers.inner()) {
        if !goes(name.as_str()) {
            left.insert(name.clone(), value.clone());
        }
    }
    left
}

/// The bytes of a table on the wire, or a few more.
pub(crate) fn size_of(headers: &FieldTable) -> usize {
    headers.inner().iter().map(|(name, value)| name.as_str().len() + 2 + size_of_value(value)).sum()
}

fn size_of_value(value: &AMQPValue) -> usize {
    4 + match value {
        AMQPValue::LongString(text) => text.as_bytes().len(),
        AMQPValue::ShortString(text) => text.as_str().len(),
        AMQPValue::ByteArray(bytes) => bytes.as_slice().len(),
        AMQPValue::FieldTable(table) => size_of(table),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(size_of_value).sum(),
        _ => 8,
    }
}

/// The broker lays a message as its `sender` published it. Consumers take `x-death` out of
/// what they lay; one who did not would only speak for himself.
fn brokers_death(headers: &FieldTable, sender: Option<String>) -> Option<Death> {
    let AMQPValue::FieldArray(deaths) = headers.inner().get(BROKERS_DEATHS)? else { return None };
    let Some(AMQPValue::FieldTable(death)) = deaths.as_slice().first() else { return None };
    let queue = text(death, "queue");
    let named = queue.as_deref().unwrap_or("its queue");
    let reason = match text(death, "reason").as_deref() {
        Some("delivery_limit") => format!(
            "DELIVERY_LIMIT: it was delivered as often as {named} allows, and each time its handler panicked or its process died"
        ),
        Some("rejected") => format!("REJECTED: a consumer of {named} rejected it and said no reason"),
        other => format!("BROKER_DROPPED: the broker took it from {named}: {}", other.unwrap_or("no reason")),
    };
    let routing_key = match death.inner().get("routing-keys") {
        Some(AMQPValue::FieldArray(keys)) => keys.as_slice().first().and_then(header_text),
        _ => None,
    };
    let died_at = match death.inner().get("time") {
        Some(AMQPValue::Timestamp(seconds)) => {
            i64::try_from(*seconds).ok().map(|seconds| Timestamp(seconds.saturating_mul(1_000_000)))
        }
        _ => None,
    };
    Some(Death {
        reason,
        laid_by: LaidBy::Broker,
        sender,
        exchange: text(death, "exchange"),
        queue,
        routing_key,
        died_at,
    })
}

fn consumers_death(headers: &FieldTable, user: Option<&str>) -> Death {
    Death {
        reason: text(headers, header::DEAD_REASON)
            .unwrap_or_else(|| "UNEXPLAINED: whoever laid it here said no reason".to_owned()),
        laid_by: LaidBy::User(user.unwrap_or("an unknown user").to_owned()),
        sender: text(headers, header::DEAD_USER),
        queue: text(headers, header::DEAD_QUEUE),
        exchange: text(headers, header::DEAD_EXCHANGE),
        routing_key: text(headers, header::DEAD_ROUTING_KEY),
        died_at: number(headers, header::DEAD_AT).map(Timestamp),
    }
}

/// A digest of what does not change while the letter lies here.
fn derived_id(incoming: &Incoming, death: &Death) -> String {
    let mut digest = blake3::Hasher::new();
    let died_at = death.died_at.map(|at| at.0.to_string());
    let texts = [&death.sender, &death.queue, &death.exchange, &death.routing_key, &died_at];
    for text in texts {
        digest.update(text.as_deref().unwrap_or_default().as_bytes()).update(&[0]);
    }
    digest.update(&incoming.data);
    format!("derived-{}", &digest.finalize().to_hex()[..32])
}

fn text(headers: &FieldTable, name: &str) -> Option<String> {
    headers.inner().get(name).and_then(header_text)
}

fn number(headers: &FieldTable, name: &str) -> Option<i64> {
    let value = headers.inner().get(name)?;
    whole_number(value).or_else(|| header_text(value)?.parse().ok())
}

fn readable(headers: &FieldTable) -> BTreeMap<String, String> {
    let is_ours = |name: &str| !name.starts_with("x-");
    let pairs = headers.inner().iter().filter(|(name, _)| is_ours(name.as_str()));
    pairs.filter_map(|(name, value)| Some((name.as_str().to_owned(), header_text(value)?))).collect()
}

#[cfg(test)]
mod tests;
