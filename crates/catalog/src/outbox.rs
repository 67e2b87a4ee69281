//! The outbox: messages committed with the state they follow from, deleted after the broker confirmed them.

use std::collections::BTreeMap;

use model::{MessageId, SagaId, Timestamp};
use uuid::Uuid;

use crate::error::Result;
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};

/// One row of `outbox`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Sorts by time (uuid version 7): rows of one instant keep their order.
    pub id: Uuid,
    pub saga_id: Option<SagaId>,
    /// The same on every republish.
    pub message_id: MessageId,
    pub exchange: String,
    pub routing_key: String,
    pub type_name: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub created_at: Timestamp,
    /// How often publishing failed.
    pub attempts: u32,
}

/// What waits to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxDepth {
    pub count: u64,
    /// When the oldest of them was written.
    pub oldest_at: Option<Timestamp>,
}

statements! {
    INSERT_OUTBOX = "INSERT INTO outbox (id, saga_id, message_id, exchange, routing_key, type_name, headers, body, created_at, attempts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    OLDEST_OUTBOX = "SELECT id, saga_id, message_id, exchange, routing_key, type_name, headers, body, created_at, attempts FROM outbox ORDER BY created_at, id LIMIT ?";
    OUTBOX_DEPTH = "SELECT COUNT(*) AS count, MIN(created_at) AS oldest_at FROM outbox";
    DELETE_OUTBOX = "DELETE FROM outbox WHERE id = ?";
    BUMP_OUTBOX = "UPDATE outbox SET attempts = attempts + 1 WHERE id = ?";
}

impl Tx {
    pub async fn insert_outbox(&mut self, row: &OutboxRow) -> Result<()> {
        let headers = serde_json::to_string(&row.headers).expect("a map of texts is always JSON");
        let values = values![
            row.id,
            row.saga_id,
            row.message_id,
            &row.exchange,
            &row.routing_key,
            &row.type_name,
            &headers,
            row.body.as_slice(),
            row.created_at,
            row.attempts,
        ];
        self.execute(&INSERT_OUTBOX, values).await.map(drop)
    }

    /// Shape: oldest first.
    pub async fn oldest_outbox(&mut self, limit: u32) -> Result<Vec<OutboxRow>> {
        self.fetch_all(&OLDEST_OUTBOX, values![limit]).await?.iter().map(OutboxRow::read).collect()
    }

    /// How much waits to be published, and since when.
    pub async fn outbox_depth(&mut self) -> Result<OutboxDepth> {
        let row = self.fetch_optional(&OUTBOX_DEPTH, values![]).await?;
        row.map_or(Ok(OutboxDepth { count: 0, oldest_at: None }), |row| {
            Ok(OutboxDepth { count: row.number("count")?, oldest_at: row.time_opt("oldest_at")? })
        })
    }

    /// Forgets confirmed messages; one that is gone already changes nothing.
    pub async fn delete_outbox(&mut self, ids: &[Uuid]) -> Result<()> {
        for id in ids {
            self.execute(&DELETE_OUTBOX, values![*id]).await?;
        }
        Ok(())
    }

    /// Counts one more failed publish.
    pub async fn bump_outbox_attempts(&mut self, id: Uuid) -> Result<()> {
        self.execute(&BUMP_OUTBOX, values![id]).await.map(drop)
    }
}

impl OutboxRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.parse("id")?,
            saga_id: row.parse_opt("saga_id")?,
            message_id: row.parse("message_id")?,
            exchange: row.text("exchange")?,
            routing_key: row.text("routing_key")?,
            type_name: row.text("type_name")?,
            headers: row.json("headers")?,
            body: row.blob("body")?,
            created_at: row.time("created_at")?,
            attempts: row.number("attempts")?,
        })
    }
}
