//! Takes heartbeats: who lives is noted, progress becomes visible, leases are extended, and the worker is told at once, past the outbox: an
//! extension that is lost is made up by the next beat.

use std::sync::Arc;

use actix::Addr;
use async_trait::async_trait;
use bus::{AcceptFrom, Consume, Envelope, Publisher, Session};
use bus_config::{exchange, key, queue, user};
use catalog::{JobProgress, ServiceKind};
use model::{ByteCount, HostName, JobKey, MessageId};
use prost::{Message as _, Name as _};
use proto::cmd::v1 as cmd;
use proto::convert;
use proto::hb::v1::{Heartbeat, JobBeat};
use runtime::Entropy;
use service_kit::Service;
use service_kit::actors::{Consuming, Handled, MessageHandler, QueueConsumer};
use service_kit::telemetry::Chain;

use crate::engine::{Beat, Engine};
use crate::signs::Signs;

/// Handles heartbeats.
#[derive(Debug)]
pub struct Heartbeats {
    engine: Engine,
    signs: Signs,
    publisher: Publisher,
    entropy: Entropy,
}

/// Starts the consumer.
pub fn start(
    service: &Service,
    session: &Session,
    engine: Engine,
    signs: Signs,
) -> Addr<QueueConsumer<Heartbeats>> {
    let consume = Consume {
        queue: queue::CTRL_HB.to_owned(),
        prefetch: 32,
        accept_from: AcceptFrom::users([user::DMAPI]).or_prefix(user::MOVER_PREFIX),
    };
    let consuming = Consuming { actor: "heartbeat_consumer".to_owned(), consume, concurrency: 4 };
    let handler = Heartbeats { engine, signs, publisher: session.publisher(), entropy: Entropy };
    QueueConsumer::start(service, session, consuming, Arc::new(handler))
}

#[async_trait]
impl MessageHandler for Heartbeats {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        let Ok(heartbeat) = Heartbeat::decode(envelope.body.clone()) else {
            return Handled::Dead("UNDECODABLE: the body is no holdfast.hb.v1.Heartbeat".to_owned());
        };
        let Some((kind, host)) = sender(envelope.user_id.as_deref().unwrap_or_default(), &heartbeat) else {
            return Handled::Dead(format!("SENDER_REFUSED: a beat for host {:?}", heartbeat.host));
        };
        if let Err(error) = self.signs.beat(kind, &host, &heartbeat.boot_id).await {
            tracing::debug!(%host, error = %Chain(&error), "a sign of life could not be noted");
        }
        let beats = match heartbeat.jobs.iter().map(beat).collect::<Result<Vec<_>, _>>() {
            Ok(beats) => beats,
            Err(error) => return Handled::Dead(format!("MALFORMED: {error}")),
        };
        if beats.is_empty() || kind != ServiceKind::Datamover {
            return Handled::Done;
        }
        match self.engine.beat(&host, &beats).await {
            Ok(extended) => self.extend(&host, heartbeat.sequence, &extended).await,
            // Heartbeats may be lost: the next one comes.
            Err(error) => tracing::warn!(%host, error = %Chain(&error), "a heartbeat could not be kept"),
        }
        Handled::Done
    }
}

impl Heartbeats {
    async fn extend(&self, host: &HostName, sequence: u64, extended: &[JobKey]) {
        if extended.is_empty() {
            return;
        }
        let jobs = extended.iter().map(|key| cmd::JobLease {
            job_id: key.job_id.to_string(),
            attempt: key.attempt,
            epoch: key.epoch,
        });
        let message = cmd::LeaseExtend {
            sequence,
            lease_ttl_ms: u32::try_from(self.engine.lease_ttl().as_millis()).unwrap_or(u32::MAX),
            jobs: jobs.collect(),
        };
        let id = MessageId::from_uuid(self.entropy.uuid());
        let envelope = Envelope::new(id, &cmd::LeaseExtend::full_name(), message.encode_to_vec());
        let routing_key = key::mover_host_ctl(host, "lease_extend");
        if let Err(error) = self.publisher.publish(exchange::CMD, &routing_key, &envelope).await {
            tracing::warn!(%host, error = %Chain(&error), "a lease could not be extended in time");
        }
    }
}

/// Who beats: a datamover for its own host, dmapi for the one it runs on.
fn sender(user: &str, heartbeat: &Heartbeat) -> Option<(ServiceKind, HostName)> {
    let named: HostName = heartbeat.host.parse().ok()?;
    if user == user::DMAPI {
        return Some((ServiceKind::Dmapi, named));
    }
    let own = user::host_of_mover(user)?;
    (own == named).then_some((ServiceKind::Datamover, own))
}

fn beat(wire: &JobBeat) -> Result<Beat, convert::Malformed> {
    let job_id = convert::id("jobs.job_id", &wire.job_id)?;
    Ok(Beat {
        key: JobKey { job_id, attempt: wire.attempt, epoch: wire.epoch },
        progress: JobProgress {
            bytes_total: ByteCount(wire.bytes_total),
            bytes_done: ByteCount(wire.bytes_done),
            bytes_read: ByteCount(wire.bytes_read),
            bytes_stored: ByteCount(wire.bytes_stored),
        },
    })
}
