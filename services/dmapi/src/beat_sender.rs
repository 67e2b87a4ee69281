//! Tells the controllers that this process lives. Lossy, like all heartbeats: the next one comes.

use std::time::Duration;

use bus::{Envelope, Session};
use bus_config::{exchange, key};
use model::MessageId;
use prost::{Message as _, Name as _};
use proto::hb::v1::Heartbeat;
use runtime::Entropy;
use service_kit::{Service, drill, own_host};

const NAME: &str = "beat_sender";
/// A controller calls a service silent after a lease, 90 s unless it is set: that is many beats, and each is small.
const INTERVAL: Duration = Duration::from_secs(2);

/// Starts it.
pub(crate) fn start(service: &Service, session: &Session) {
    let (publisher, session, mut drain) = (session.publisher(), session.clone(), service.drain());
    let mut beat = Heartbeat {
        host: own_host().to_string(),
        boot_id: Entropy.uuid().to_string(),
        sequence: 0,
        jobs: Vec::new(),
    };
    service.supervise(NAME, async move {
        while !drain.has_begun() {
            // An error: there is no broker now. The pause follows all the same.
            if session.wait_ready(INTERVAL).await.is_ok() {
                drill::maybe_panic(NAME);
                beat.sequence += 1;
                let id = MessageId::from_uuid(Entropy.uuid());
                let envelope = Envelope::new(id, &Heartbeat::full_name(), beat.encode_to_vec());
                let publish = publisher.publish(exchange::HB, key::DMAPI_HEARTBEAT, &envelope);
                match tokio::time::timeout(INTERVAL, publish).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "a beat was not sent"),
                    Err(_) => tracing::debug!("a beat was not confirmed in time"),
                }
            }
            tokio::select! {
                biased; // both are cancel safe
                () = drain.begun() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    });
}
