//! Public facts: one message per fact, numbered by project, committed with what it tells of.

use std::collections::BTreeMap;

use bus_config::{exchange, key};
use catalog::{OutboxRow, SagaRow, Tx};
use model::MessageId;
use prost::{Message as _, Name as _};
use proto::evt::v1::Fact;
use runtime::Entropy;

/// What there is to tell about the saga's object.
pub(super) struct News<'a> {
    /// `snapshot` or `restore`.
    pub(super) kind: &'a str,
    /// In the past tense where there is one: `available`, `error`.
    pub(super) fact: &'a str,
    pub(super) message: &'a str,
}

/// Puts a fact into the outbox.
pub(super) async fn insert(
    tx: &mut Tx,
    entropy: Entropy,
    saga: &SagaRow,
    news: &News<'_>,
) -> Result<(), catalog::Error> {
    let happened_at = tx.now();
    let fact = Fact {
        project_id: saga.project_id.to_string(),
        sequence: tx.next_project_sequence(&saga.project_id).await?,
        kind: news.kind.to_owned(),
        fact: news.fact.to_owned(),
        object_id: saga.object_id.to_string(),
        workload_id: saga.workload_id.to_string(),
        happened_at: happened_at.0,
        message: news.message.to_owned(),
    };
    let row = OutboxRow {
        id: entropy.uuid(),
        saga_id: Some(saga.id),
        message_id: MessageId::from_uuid(entropy.uuid()),
        exchange: exchange::EVT.to_owned(),
        routing_key: key::fact(&saga.project_id, news.kind, news.fact),
        type_name: Fact::full_name(),
        headers: BTreeMap::new(),
        body: fact.encode_to_vec(),
        created_at: happened_at,
        attempts: 0,
    };
    tx.insert_outbox(&row).await
}
