//! Dead letters. What may hold a secret is not shown: `sealed` fields, and whole bodies in which we cannot tell.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use bus::Letter;
use model::ByteCount;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use rest_api::{DeadLetter, DeadLetterContent, DeadLetterSummary};
use serde_json::{Map, Value, json};

use crate::app::dead_letters::{Listed, Shown};

/// Secrets travel in fields of this name only.
const SEALED: &str = "sealed";
/// Enough to know a message by.
const EXCERPT_SIZE_MAX: usize = 256;
const TEXT_LENGTH_MAX: usize = 1000;

pub(in crate::rest) fn show_dead_letter_summary(listed: &Listed) -> DeadLetterSummary {
    summary(&listed.letter, listed.body_size, listed.obstacle.clone())
}

pub(in crate::rest) fn show_dead_letter(shown: &Shown) -> DeadLetter {
    let letter = &shown.letter;
    let obstacle = letter.check_retry().err().map(|obstacle| obstacle.to_string());
    DeadLetter {
        summary: summary(letter, ByteCount(letter.body.len() as u64), obstacle),
        laid_by: letter.laid_by.to_string(),
        exchange: letter.exchange.clone(),
        routing_key: letter.routing_key.clone(),
        first_died_at: letter.first_died_at.or(letter.died_at).map(Into::into),
        content_type: letter.content_type.clone(),
        correlation_id: letter.correlation_id.clone(),
        reply_to: letter.reply_to.clone(),
        headers: letter.headers.iter().map(|(name, value)| (name.clone(), cut(value))).collect(),
        copy_count: shown.copy_count,
        content: content(&letter.type_name, &letter.body),
    }
}

fn summary(letter: &Letter, body_size: ByteCount, obstacle: Option<String>) -> DeadLetterSummary {
    DeadLetterSummary {
        id: letter.id.clone(),
        kind: letter.type_name.clone(),
        code: letter.code().to_owned(),
        reason: letter.reason.clone(),
        queue: letter.queue.clone(),
        sender: letter.sender.clone(),
        died_at: letter.died_at.map(Into::into),
        death_count: letter.death_count.into(),
        size: body_size.0,
        retriable: obstacle.is_none(),
        not_retriable_because: obstacle,
    }
}

fn content(type_name: &str, body: &[u8]) -> DeadLetterContent {
    let known = messages().get_message_by_name(type_name);
    if let Some(message) = known.clone().and_then(|known| DynamicMessage::decode(known, body).ok()) {
        return DeadLetterContent { form: "message".to_owned(), value: show_message(&message) };
    }
    let may_hold_secret = match &known {
        Some(known) => holds_sealed(known, &mut BTreeSet::new()),
        // A command that is newer than we are.
        None => type_name.starts_with("holdfast.cmd."),
    };
    if may_hold_secret {
        let value = json!(format!("{} bytes, not shown: they may hold a sealed secret", body.len()));
        return DeadLetterContent { form: "withheld".to_owned(), value };
    }
    let excerpt = &body[..body.len().min(EXCERPT_SIZE_MAX)];
    match std::str::from_utf8(excerpt) {
        Ok(text) if !text.chars().any(char::is_control) => {
            DeadLetterContent { form: "text".to_owned(), value: json!(text) }
        }
        _ => DeadLetterContent { form: "hex".to_owned(), value: json!(hex(excerpt)) },
    }
}

fn messages() -> &'static DescriptorPool {
    static MESSAGES: OnceLock<DescriptorPool> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        DescriptorPool::decode(proto::DESCRIPTOR).expect("the descriptor set is of this build's own protos")
    })
}

fn show_message(message: &DynamicMessage) -> Value {
    let mut fields = Map::new();
    for (field, value) in message.fields() {
        let shown = if field.name() == SEALED { json!("(sealed)") } else { show_value(value) };
        fields.insert(field.name().to_owned(), shown);
    }
    Value::Object(fields)
}

fn show_value(value: &prost_reflect::Value) -> Value {
    use prost_reflect::Value as Wire;
    match value {
        Wire::Bool(value) => json!(value),
        Wire::I32(value) | Wire::EnumNumber(value) => json!(value),
        Wire::I64(value) => json!(value),
        Wire::U32(value) => json!(value),
        Wire::U64(value) => json!(value),
        Wire::F32(value) => json!(value),
        Wire::F64(value) => json!(value),
        Wire::String(text) => json!(cut(text)),
        Wire::Bytes(bytes) => json!(hex(&bytes[..bytes.len().min(EXCERPT_SIZE_MAX)])),
        Wire::Message(message) => show_message(message),
        Wire::List(values) => values.iter().map(show_value).collect(),
        Wire::Map(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| (format!("{key:?}"), show_value(value)));
            Value::Object(pairs.collect())
        }
    }
}

fn holds_sealed(message: &MessageDescriptor, seen: &mut BTreeSet<String>) -> bool {
    seen.insert(message.full_name().to_owned())
        && message.fields().any(|field| {
            field.name() == SEALED || field.kind().as_message().is_some_and(|inner| holds_sealed(inner, seen))
        })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_LENGTH_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use prost::{Message as _, Name as _};
    use proto::cmd::v1::WriteDisk;
    use proto::intake::v1::SubmitJob;

    use super::*;

    #[test]
    fn a_known_message_is_shown_and_its_sealed_field_is_not() {
        let command = WriteDisk { sealed: b"hunter2".to_vec(), ..WriteDisk::default() };
        let shown = content(&WriteDisk::full_name(), &command.encode_to_vec());
        assert_eq!((shown.form.as_str(), &shown.value), ("message", &json!({ "sealed": "(sealed)" })));
    }

    #[test]
    fn bytes_that_may_hold_a_secret_are_withheld() {
        for type_name in [WriteDisk::full_name().as_str(), "holdfast.cmd.v9.NotKnownYet"] {
            let shown = content(type_name, b"\xffhunter2");
            assert_eq!(shown.form, "withheld", "{type_name}");
            assert!(
                !shown.value.to_string().contains("hunter2") && shown.value.to_string().contains("8 bytes")
            );
        }
    }

    #[test]
    fn other_bytes_are_shown_as_text_or_hex() {
        let job = SubmitJob { idempotency_key: "invoice-1".to_owned(), ..SubmitJob::default() };
        let shown = content(&SubmitJob::full_name(), &job.encode_to_vec());
        assert_eq!(shown.value, json!({ "idempotency_key": "invoice-1" }));
        assert_eq!(content(&SubmitJob::full_name(), b"\xff\x00").value, json!("ff00"));
        assert_eq!(content("holdfast.rep.v1.Nonsense", b"hello").value, json!("hello"));
    }
}
