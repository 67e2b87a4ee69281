//! Publishes the outbox, oldest first, with pipelined confirms; a row goes only after its confirm. It asks what *is*
//! there, never what came after the last: commits are not in the order of ids. Published twice is no harm: the message id
//! stays.

use std::sync::Arc;
use std::time::Duration;

use bus::{Envelope, PublishError, Publisher, Session, header};
use bus_config::exchange;
use catalog::{Backend, Catalog, OutboxRow};
use futures::StreamExt as _;
use model::{Failure, Timestamp};
use runtime::Clock;
use service_kit::telemetry::Chain;
use service_kit::{Service, drill};

use crate::engine::{self, Engine};

/// 500 rows of a KiB: read in a millisecond, published in well under a second.
const BATCH: u32 = 500;
/// As many as the bus lets be unconfirmed.
const WINDOW: usize = 200;

struct Relay {
    engine: Engine,
    catalog: Catalog,
    publisher: Publisher,
    /// What is older may have been published by an earlier process.
    started_at: Timestamp,
}

/// What is left after a batch.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    More,
    /// The broker took less than all.
    Refused,
}

/// Starts the relay. `tick`: how often it looks when nobody wakes it.
pub fn start(
    service: &Service,
    session: &Session,
    engine: Engine,
    (catalog, clock): (Catalog, Arc<dyn Clock>),
    tick: Duration,
) {
    let relay = Relay { engine, catalog, publisher: session.publisher(), started_at: clock.now() };
    let (session, mut drain) = (session.clone(), service.drain());
    service.supervise("outbox_relay", async move {
        while !drain.has_begun() {
            let left = match relay.publish_batch().await {
                Ok(left) => left,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "the outbox could not be relayed, will try again");
                    Left::Refused
                }
            };
            if left == Left::More {
                continue;
            }
            if left == Left::Refused {
                // While nothing goes through, a wake means nothing.
                let _ = session.wait_ready(tick).await;
                tokio::time::sleep(tick.min(Duration::from_millis(500))).await;
                continue;
            }
            tokio::select! {
                biased; // all are cancel safe
                () = drain.begun() => {}
                () = relay.engine.woken() => {}
                () = tokio::time::sleep(tick) => {}
            }
        }
    });
}

impl Relay {
    async fn publish_batch(&self) -> Result<Left, engine::Error> {
        let rows = self.catalog.read().await?.oldest_outbox(BATCH).await?;
        if rows.is_empty() {
            return Ok(Left::Nothing);
        }
        drill::maybe_panic("outbox_relay");
        let publishes = rows.into_iter().map(|row| async move {
            let outcome = self.publish(&row).await;
            (row, outcome)
        });
        let mut published = futures::stream::iter(publishes).buffered(WINDOW);
        let (mut confirmed, mut refused) = (Vec::new(), false);
        while let Some((row, outcome)) = published.next().await {
            match outcome {
                Ok(()) => confirmed.push(row.id),
                Err(error) if is_needless(&row, &error) => confirmed.push(row.id),
                Err(error) => refused |= !self.take_back(&row, &error).await?,
            }
        }
        if !confirmed.is_empty() {
            let mut tx = self.catalog.begin().await?;
            tx.delete_outbox(&confirmed).await?;
            tx.commit().await?;
        }
        Ok(if refused { Left::Refused } else { Left::More })
    }

    async fn publish(&self, row: &OutboxRow) -> Result<(), PublishError> {
        let mut envelope = Envelope::new(row.message_id, &row.type_name, row.body.clone());
        envelope.correlation_id = row.saga_id.map(|id| id.to_string());
        envelope.headers.clone_from(&row.headers);
        // Several controllers relay the same rows.
        let is_shared = self.catalog.backend() == Backend::MariaDb;
        if row.attempts > 0 || row.created_at < self.started_at || is_shared {
            envelope = envelope.with_header(header::REPUBLISHED, 1);
        }
        self.publisher.publish(&row.exchange, &row.routing_key, &envelope).await
    }

    /// Whether the message left the outbox although the broker did not take it.
    async fn take_back(&self, row: &OutboxRow, error: &PublishError) -> Result<bool, engine::Error> {
        let failure = match error {
            PublishError::Unroutable { routing_key, .. } if routing_key.starts_with("mover.") => {
                Failure::permanent("HOST_NOT_ENROLLED", format!("{error}: enrol the host with `host add`"))
            }
            PublishError::Unroutable { .. } => Failure::transient(
                "UNROUTABLE",
                format!("{error}: are the definitions imported into the broker?"),
            ),
            PublishError::TooLarge { .. } => Failure::permanent("MESSAGE_TOO_LARGE", error.to_string()),
            // A fact that went would be a gap to every subscriber; a command has a saga that starts it again.
            PublishError::Refused { .. } if row.exchange == exchange::EVT => {
                tracing::warn!(routing_key = row.routing_key, error = %Chain(error), "a fact waits");
                self.count_attempt(row).await?;
                return Ok(false);
            }
            PublishError::Refused { .. } => {
                Failure::transient("PUBLISH_REFUSED", format!("{error}: look at the controller's rights"))
            }
            PublishError::Nacked { .. }
            | PublishError::Unknown { .. }
            | PublishError::NotConnected { .. } => {
                tracing::debug!(type_name = row.type_name, error = %Chain(error), "a message stays in the outbox");
                if !matches!(error, PublishError::NotConnected { .. }) {
                    self.count_attempt(row).await?;
                }
                return Ok(false);
            }
        };
        tracing::warn!(
            type_name = row.type_name,
            routing_key = row.routing_key,
            code = failure.code,
            "a message cannot be delivered"
        );
        self.engine.undeliverable(row, &failure).await?;
        Ok(true)
    }

    async fn count_attempt(&self, row: &OutboxRow) -> Result<(), catalog::Error> {
        let mut tx = self.catalog.begin().await?;
        tx.bump_outbox_attempts(row.id).await?;
        tx.commit().await
    }
}

/// Facts that nobody subscribed to, and control messages to hosts that are gone.
fn is_needless(row: &OutboxRow, error: &PublishError) -> bool {
    let is_for_whom_it_may_concern = row.exchange == exchange::EVT || row.routing_key.contains(".ctl.");
    matches!(error, PublishError::Unroutable { .. }) && is_for_whom_it_may_concern
}
