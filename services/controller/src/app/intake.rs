//! Jobs that come over the bus: the same key from the same source is the same job, for ever.

use catalog::{IntakeKeyRow, Tx};
use model::SagaId;
use uuid::Uuid;

use super::Error;
use super::text::shown;

/// What makes a job come once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeKey {
    /// The AMQP user.
    pub source: String,
    pub idempotency_key: String,
    /// Of the decoded request: the same key with another request is refused.
    pub request_digest: String,
}

/// A job that was started, now or by an earlier request with the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started<Id> {
    /// Of the snapshot or restore.
    pub id: Id,
    pub saga_id: SagaId,
    /// Nothing was started: it was there.
    pub duplicate: bool,
    /// What the caller should know: asked for this, got that.
    pub warning: Option<String>,
}

impl IntakeKey {
    /// Claims the key for a job to come, or gives the job that has it.
    ///
    /// Errors: `IDEMPOTENCY_KEY_REUSED` for the same key with another request.
    pub(super) async fn claim(
        &self,
        tx: &mut Tx,
        saga_id: SagaId,
        object_id: Uuid,
    ) -> Result<Option<IntakeKeyRow>, Error> {
        let row = IntakeKeyRow {
            source: self.source.clone(),
            idempotency_key: self.idempotency_key.clone(),
            request_digest: self.request_digest.clone(),
            saga_id,
            object_id,
            created_at: tx.now(),
        };
        let Some(held) = tx.claim_intake_key(&row).await? else { return Ok(None) };
        if held.request_digest == self.request_digest {
            return Ok(Some(held));
        }
        let key = shown(&self.idempotency_key, 80);
        let message = format!("the idempotency key {key:?} was used for another request: choose a new key");
        Err(Error::conflict("IDEMPOTENCY_KEY_REUSED", message))
    }

    /// The job that has the key already, before anything is asked of the cloud.
    pub(super) async fn find(&self, tx: &mut Tx) -> Result<Option<IntakeKeyRow>, Error> {
        let held = tx.get_intake_key(&self.source, &self.idempotency_key).await?;
        Ok(held.filter(|held| held.request_digest == self.request_digest))
    }
}
