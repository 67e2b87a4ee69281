//! What travels: AMQP properties and headers around a bare protobuf message.

use std::collections::BTreeMap;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use model::MessageId;
use runtime::{Clock as _, SystemClock};

use crate::letter;

/// 256 KiB: anything larger is an object on a target, named by the message.
pub const BODY_SIZE_MAX: usize = 256 * 1024;
const PROTOBUF: &str = "application/x-protobuf";
/// AMQP's delivery mode 2: on disk before it is confirmed.
pub(crate) const PERSISTENT: u8 = 2;

/// A message with its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The same on every republish: consumers know a duplicate by it.
    pub message_id: MessageId,
    /// Full proto name, `holdfast.cmd.v1.TransferDisk`: the only key by which consumers dispatch.
    pub type_name: String,
    pub content_type: String,
    /// The saga.
    pub correlation_id: Option<String>,
    pub reply_to: Option<String>,
    /// Who sent it, validated by the broker; of a dead letter that was sent again, who sent it first. `publish` sets it to the session's user whatever stands here.
    pub user_id: Option<String>,
    /// Names are in [`crate::header`].
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
    /// Where it was published. Filled on receipt; `publish` does not look at it.
    pub exchange: String,
    /// How it was addressed. Filled on receipt; `publish` does not look at it.
    pub routing_key: String,
    /// Whether it may have been handled before: it was delivered before, to anybody. Filled on receipt.
    pub redelivered: bool,
}

impl Envelope {
    /// A protobuf message on its way out.
    #[must_use]
    pub fn new(message_id: MessageId, type_name: &str, body: impl Into<Bytes>) -> Self {
        Self {
            message_id,
            type_name: type_name.to_owned(),
            content_type: PROTOBUF.to_owned(),
            correlation_id: None,
            reply_to: None,
            user_id: None,
            headers: BTreeMap::new(),
            body: body.into(),
            exchange: String::new(),
            routing_key: String::new(),
            redelivered: false,
        }
    }

    /// Sets the correlation id: the saga's.
    #[must_use]
    pub fn correlated(mut self, correlation_id: impl ToString) -> Self {
        self.correlation_id = Some(correlation_id.to_string());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.insert(name.to_owned(), value.to_string());
        self
    }

    /// Gives a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Why a message cannot be taken as an envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("MALFORMED_ENVELOPE: property message_id is missing or not a uuid")]
    MessageId,
    #[error("MALFORMED_ENVELOPE: property type is missing: it must be the full name of the message")]
    TypeName,
    #[error("BODY_TOO_LARGE: the body has {0} bytes, more than the {BODY_SIZE_MAX} that the bus takes")]
    TooLarge(usize),
}

/// The AMQP properties of `envelope`, sent by `user`.
pub(crate) fn properties(envelope: &Envelope, user: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in &envelope.headers {
        if let Ok(name) = ShortString::try_new(name.as_str()) {
            headers.insert(name, AMQPValue::LongString(value.as_str().into()));
        }
    }
    let seconds = u64::try_from(SystemClock.now().0 / 1_000_000).unwrap_or(0);
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(short(&envelope.message_id.to_string()))
        .with_type(short(&envelope.type_name))
        .with_content_type(short(&envelope.content_type))
        .with_timestamp(seconds)
        .with_user_id(short(user))
        .with_headers(headers);
    if let Some(id) = &envelope.correlation_id {
        properties = properties.with_correlation_id(short(id));
    }
    if let Some(queue) = &envelope.reply_to {
        properties = properties.with_reply_to(short(queue));
    }
    properties
}

/// Reads what came. Headers that are not text or a whole number are left out, and so are the broker's own (`x-...`).
pub(crate) fn parse(delivery: &lapin::message::Delivery) -> Result<Envelope, Malformed> {
    if delivery.data.len() > BODY_SIZE_MAX {
        return Err(Malformed::TooLarge(delivery.data.len()));
    }
    let properties = &delivery.properties;
    let text = |value: &Option<ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
    let message_id =
        text(properties.message_id()).and_then(|text| text.parse().ok()).ok_or(Malformed::MessageId)?;
    let type_name = text(properties.kind()).filter(|name| !name.is_empty()).ok_or(Malformed::TypeName)?;
    let mut headers = BTreeMap::new();
    for (name, value) in properties.headers().iter().flat_map(|table| table.inner()) {
        if let (false, Some(value)) = (name.as_str().starts_with("x-"), header_text(value)) {
            headers.insert(name.as_str().to_owned(), value);
        }
    }
    Ok(Envelope {
        message_id,
        type_name,
        content_type: text(properties.content_type()).unwrap_or_else(|| PROTOBUF.to_owned()),
        correlation_id: text(properties.correlation_id()),
        reply_to: text(properties.reply_to()),
        user_id: letter::sender_of(properties),
        headers,
        body: Bytes::copy_from_slice(&delivery.data),
        exchange: delivery.exchange.as_str().to_owned(),
        routing_key: delivery.routing_key.as_str().to_owned(),
        redelivered: delivery.redelivered,
    })
}

pub(crate) fn header_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => whole_number(value).map(|number| number.to_string()),
    }
}

/// A header's number, in whichever of AMQP's sizes the sender chose.
pub(crate) fn whole_number(value: &AMQPValue) -> Option<i64> {
    match *value {
        AMQPValue::ShortShortInt(number) => Some(number.into()),
        AMQPValue::ShortShortUInt(number) => Some(number.into()),
        AMQPValue::ShortInt(number) => Some(number.into()),
        AMQPValue::ShortUInt(number) => Some(number.into()),
        AMQPValue::LongInt(number) => Some(number.into()),
        AMQPValue::LongUInt(number) => Some(number.into()),
        AMQPValue::LongLongInt(number) => Some(number),
        _ => None,
    }
}

/// AMQP's short text: ours are names and ids, well below its 255 bytes. A longer one, of a caller's making, is cut.
pub(crate) fn short(text: &str) -> ShortString {
    let end = text.floor_char_boundary(255);
    ShortString::try_new(&text[..end]).expect("cut to the size that AMQP takes")
}
