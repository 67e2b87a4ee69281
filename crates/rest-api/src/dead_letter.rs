//! Dead letters: messages that no service could make sense of. All of it is ours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ApiTime;

/// Reply with one letter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetterBody {
    pub dead_letter: DeadLetter,
}

/// Reply of `GET /bus/dead-letters`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetterList {
    pub dead_letters: Vec<DeadLetterSummary>,
}

/// A row of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetterSummary {
    /// The message id, or `derived-…` where the message has none.
    pub id: String,
    /// The full name of the message.
    #[serde(rename = "type")]
    pub kind: String,
    /// What `reason` begins with: stable, with a row in docs/errors.md.
    pub code: String,
    pub reason: String,
    /// Where it was taken from.
    pub queue: Option<String>,
    /// The broker's user who sent it.
    pub sender: Option<String>,
    pub died_at: Option<ApiTime>,
    pub death_count: u64,
    /// Of the body, in bytes.
    pub size: u64,
    pub retriable: bool,
    pub not_retriable_because: Option<String>,
}

/// A letter in full.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetter {
    #[serde(flatten)]
    pub summary: DeadLetterSummary,
    /// The user of the consumer that found no sense in it, or the broker.
    pub laid_by: String,
    pub exchange: Option<String>,
    pub routing_key: Option<String>,
    pub first_died_at: Option<ApiTime>,
    pub content_type: Option<String>,
    pub correlation_id: Option<String>,
    pub reply_to: Option<String>,
    pub headers: BTreeMap<String, String>,
    /// More than one when the broker laid it twice.
    pub copy_count: u64,
    pub content: DeadLetterContent,
}

/// The body of a letter, as far as it can be shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetterContent {
    /// `message`: decoded; `text` or `hex`: the beginning of the bytes; `withheld`: it may hold a secret.
    pub form: String,
    pub value: Value,
}

/// Body of `POST /bus/dead-letters/retry` and `/drop`: some letters, or all that the filter takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterOrder {
    #[serde(default)]
    pub ids: Vec<String>,
    #[serde(default)]
    pub all: bool,
    #[serde(default)]
    pub queue: Option<String>,
    #[serde(default)]
    pub code: Option<String>,
    /// Why they are dropped.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Reply of `retry` and `drop`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetterOutcomes {
    pub outcomes: Vec<DeadLetterOutcome>,
}

/// What became of a letter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeadLetterOutcome {
    pub id: String,
    /// `retried`, `dropped`, or `kept` with the reason.
    pub result: String,
    pub error_code: Option<String>,
    pub error_msg: Option<String>,
}
