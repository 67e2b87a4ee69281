//! Notifications as oslo.messaging sends them: the JSON of a notification as a text within JSON. Source: oslo.messaging's
//! `common.serialize_msg` and `notifier.Notifier._notify`.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

const ENVELOPE_VERSION: &str = "2.0";
/// Nova's largest, with many block devices, have some 20 KiB.
const SIZE_MAX: usize = 1024 * 1024;
/// As Python prints a time without a zone.
const TIME_FORMAT: &str = "%Y-%m-%d %H:%M:%S%.6f";

/// What somebody in the cloud tells of.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    pub message_id: String,
    /// Service and host.
    pub publisher_id: String,
    /// For example `compute.instance.delete.end`; of Nova's versioned ones `instance.delete.end`.
    pub event_type: String,
    pub priority: Priority,
    pub sent_at: DateTime<Utc>,
    pub payload: Value,
}

/// How much it matters; the last word of the routing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    Info,
    Error,
}

impl Priority {
    /// The word in routing keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Error => "error",
        }
    }
}

/// Why something is no notification. It never repeats what came: payloads hold users' data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotANotification {
    #[error("{0} bytes are more than any notification has")]
    TooLarge(usize),
    #[error("it is not JSON of oslo.messaging: {0}")]
    Malformed(String),
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "oslo.message")]
    message: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    message_id: String,
    #[serde(default)]
    publisher_id: String,
    event_type: String,
    #[serde(default)]
    priority: String,
    #[serde(default)]
    payload: Value,
    timestamp: String,
    /// Who asked for what is told: `_context_project_id` and the like.
    #[serde(flatten)]
    context: Map<String, Value>,
}

impl Notification {
    /// Reads a message's body, with oslo's envelope or (of its driver `messaging`) without.
    ///
    /// Errors: it is none.
    pub fn parse(body: &[u8]) -> Result<Self, NotANotification> {
        if body.len() > SIZE_MAX {
            return Err(NotANotification::TooLarge(body.len()));
        }
        let malformed = |error: serde_json::Error| {
            // Its own text may quote what came.
            NotANotification::Malformed(format!("{:?} error in line {}", error.classify(), error.line()))
        };
        let envelope: Envelope = serde_json::from_slice(body).map_err(malformed)?;
        let wire: Wire = match &envelope.message {
            Some(text) => serde_json::from_str(text).map_err(malformed)?,
            None => serde_json::from_slice(body).map_err(malformed)?,
        };
        let sent_at = parse_time(&wire.timestamp)
            .ok_or_else(|| NotANotification::Malformed("its timestamp is no time".to_owned()))?;
        let priority = match wire.priority.to_ascii_lowercase().as_str() {
            "error" | "critical" => Priority::Error,
            _ => Priority::Info,
        };
        let Wire { message_id, publisher_id, event_type, payload, .. } = wire;
        Ok(Self { message_id, publisher_id, event_type, priority, sent_at, payload })
    }

    /// Writes the body of a message; `project_id` is whose affair it is.
    #[must_use]
    pub fn compose(&self, project_id: &str) -> Vec<u8> {
        let mut context = Map::new();
        for key in ["_context_project_id", "_context_tenant"] {
            context.insert(key.to_owned(), Value::from(project_id));
        }
        let wire = Wire {
            message_id: self.message_id.clone(),
            publisher_id: self.publisher_id.clone(),
            event_type: self.event_type.clone(),
            priority: self.priority.as_str().to_ascii_uppercase(),
            payload: self.payload.clone(),
            timestamp: self.sent_at.format(TIME_FORMAT).to_string(),
            context,
        };
        let text = serde_json::to_string(&wire).expect("strings and values are JSON");
        json!({ "oslo.version": ENVELOPE_VERSION, "oslo.message": text }).to_string().into_bytes()
    }
}

/// Some services write a zone, most do not and mean UTC.
fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    let naive = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    naive.map(|time| time.and_utc()).or_else(|| DateTime::parse_from_rfc3339(text).ok().map(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make() -> Notification {
        Notification {
            message_id: "0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f".to_owned(),
            publisher_id: "holdfast.control-1".to_owned(),
            event_type: "holdfast.snapshot.available".to_owned(),
            priority: Priority::Error,
            sent_at: "2026-11-28T00:19:00.000001Z".parse().unwrap(),
            payload: json!({ "snapshot_id": "s", "text": "quo\"ted" }),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let made = make();
        assert_eq!(Notification::parse(&made.compose("acme")), Ok(made.clone()));
        let outer: Value = serde_json::from_slice(&made.compose("acme")).unwrap();
        assert_eq!(outer["oslo.version"], "2.0");
        let inner: Value = serde_json::from_str(outer["oslo.message"].as_str().unwrap()).unwrap();
        assert_eq!(inner["_context_project_id"], "acme");
        assert_eq!(inner["timestamp"], "2026-11-28 00:19:00.000001");
        assert_eq!(inner["priority"], "ERROR");
    }

    #[test]
    fn a_notification_without_an_envelope_is_read_too() {
        let outer: Value = serde_json::from_slice(&make().compose("acme")).unwrap();
        let bare = outer["oslo.message"].as_str().unwrap();
        assert_eq!(Notification::parse(bare.as_bytes()), Ok(make()));
    }

    #[test]
    fn what_is_no_notification_is_refused_and_not_repeated() {
        let secret = br#"{"oslo.message": "{\"admin_pass\": hunter2}"}"#;
        let error = Notification::parse(secret).unwrap_err().to_string();
        assert!(error.contains("not JSON") && !error.contains("hunter2"), "{error}");
        assert_eq!(
            Notification::parse(&vec![b' '; SIZE_MAX + 1]),
            Err(NotANotification::TooLarge(SIZE_MAX + 1))
        );
        let timeless = br#"{"message_id": "1", "event_type": "x", "timestamp": "soon"}"#;
        assert!(Notification::parse(timeless).unwrap_err().to_string().contains("timestamp"));
    }
}
