//! Idempotency keys of intake: the same request from the same source makes one saga, however often it comes.

use model::{SagaId, Timestamp};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};

/// One row of `intake_key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeKeyRow {
    /// Who sent it: an AMQP user, or a REST user. At most 190 characters, as the key.
    pub source: String,
    pub idempotency_key: String,
    /// Of the request: the same key with another request is refused.
    pub request_digest: String,
    pub saga_id: SagaId,
    /// The snapshot or restore that was made.
    pub object_id: Uuid,
    pub created_at: Timestamp,
}

/// What a column of type `$key` holds; see `schema`.
const KEY_LENGTH_MAX: usize = 190;

statements! {
    INSERT_INTAKE_KEY = "INSERT INTO intake_key (source, idempotency_key, request_digest, saga_id, object_id, created_at) VALUES (?, ?, ?, ?, ?, ?)";
    GET_INTAKE_KEY = "SELECT source, idempotency_key, request_digest, saga_id, object_id, created_at FROM intake_key WHERE source = ? AND idempotency_key = ?";
    DELETE_OLD_INTAKE_KEYS = "DELETE FROM intake_key WHERE created_at < ?";
}

impl Tx {
    /// Claims the key: `None` when it is ours now, else the row of the first request.
    ///
    /// Errors: `TooLong` for a source or key of more than 190 characters.
    pub async fn claim_intake_key(&mut self, row: &IntakeKeyRow) -> Result<Option<IntakeKeyRow>> {
        // MariaDB would refuse it, SQLite would not: so the rule is ours.
        for (what, text) in [("the source", &row.source), ("the idempotency key", &row.idempotency_key)] {
            let length = text.chars().count();
            if length > KEY_LENGTH_MAX {
                return Err(Error::TooLong { what, length, length_max: KEY_LENGTH_MAX });
            }
        }
        let values = values![
            &row.source,
            &row.idempotency_key,
            &row.request_digest,
            row.saga_id,
            row.object_id,
            row.created_at,
        ];
        match self.execute(&INSERT_INTAKE_KEY, values).await {
            Ok(_) => Ok(None),
            Err(error @ Error::Duplicate { .. }) => {
                let held = self.get_intake_key(&row.source, &row.idempotency_key).await?;
                held.map_or(Err(error), |held| Ok(Some(held)))
            }
            Err(error) => Err(error),
        }
    }

    pub async fn get_intake_key(
        &mut self,
        source: &str,
        idempotency_key: &str,
    ) -> Result<Option<IntakeKeyRow>> {
        let row = self.fetch_optional(&GET_INTAKE_KEY, values![source, idempotency_key]).await?;
        row.map(|row| IntakeKeyRow::read(&row)).transpose()
    }

    /// Forgets keys made before `horizon`; gives how many.
    pub async fn delete_old_intake_keys(&mut self, horizon: Timestamp) -> Result<u64> {
        self.execute(&DELETE_OLD_INTAKE_KEYS, values![horizon]).await
    }
}

impl IntakeKeyRow {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            source: row.text("source")?,
            idempotency_key: row.text("idempotency_key")?,
            request_digest: row.text("request_digest")?,
            saga_id: row.parse("saga_id")?,
            object_id: row.parse("object_id")?,
            created_at: row.time("created_at")?,
        })
    }
}
