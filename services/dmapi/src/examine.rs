//! Looks at itself, as an operator asks for it: by `--check`, and of a running dmapi by `Examine`. dmapi alone knows which host
//! has an instance and whether a datamover is there, so it tells that of the protected ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus::{Envelope, Session};
use bus_config::{exchange, key};
use cloud::Placement;
use futures::stream::{self, StreamExt as _};
use model::{Check, InstanceId, MessageId};
use prost::{Message as _, Name as _};
use proto::cmd::v1::Examine;
use proto::convert::{self, PlacedAt};
use proto::rep::v1::{Examined, InstancePlace};
use runtime::{Clock, Entropy, SystemClock};
use service_kit::actors::Handled;
use service_kit::{checks, own_host};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::placement::{Destination, resolve};
use crate::wiring;

/// Instances that are looked up at once: the databases have four connections each.
const LOOK_UPS_AT_ONCE: usize = 8;
/// Examinations at once: whoever asks more often is not answered.
const EXAMINATIONS_MAX: usize = 4;
/// A queue that is inspected answers in milliseconds.
const INSPECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// Answers `Examine`.
#[derive(Debug)]
pub(crate) struct Examiner {
    parts: Arc<Parts>,
    under_way: Arc<Semaphore>,
}

#[derive(Debug)]
struct Parts {
    cloud: Arc<dyn Placement>,
    session: Session,
    config: Config,
}

impl Examiner {
    pub(crate) fn new(cloud: Arc<dyn Placement>, session: Session, config: Config) -> Self {
        let parts = Parts { cloud, session, config };
        Self { parts: Arc::new(parts), under_way: Arc::new(Semaphore::new(EXAMINATIONS_MAX)) }
    }

    /// Looks beside the placing, which does not wait for it.
    pub(crate) fn handle(&self, envelope: &Envelope) -> Handled {
        let message = match Examine::decode(envelope.body.clone()) {
            Ok(message) => message,
            Err(error) => return Handled::Dead(format!("UNDECODABLE: {}: {error}", envelope.type_name)),
        };
        let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            tracing::warn!("asked how this dmapi finds itself while it looks already, does not answer");
            return Handled::Done;
        };
        let parts = Arc::clone(&self.parts);
        tokio::spawn(async move {
            Box::pin(parts.answer(message)).await;
            drop(permit);
        });
        Handled::Done
    }
}

impl Parts {
    async fn answer(&self, message: Examine) {
        let ids = message.instance_ids.iter().filter_map(|text| text.parse().ok());
        let instances: Vec<InstanceId> = ids.collect();
        let told = Mutex::new(Vec::new());
        let places = checks::bounded("places of instances", self.examine_places(&instances, &told));
        let found = if message.instances_only {
            places.await
        } else {
            let own = checks::bounded("cloud", wiring::examine_cloud(&self.config.cloud));
            let (mut own, right, places) = tokio::join!(own, self.examine_right(), places);
            own.push(right);
            own.extend(places);
            own
        };
        let examined = Examined {
            examination_id: message.examination_id,
            host: own_host().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sent_at: SystemClock.now().0,
            checks: convert::checks(&found),
            places: told.into_inner().unwrap_or_else(PoisonError::into_inner),
            ..Examined::default()
        };
        let envelope = Envelope::new(fresh_id(), &Examined::full_name(), examined.encode_to_vec());
        let publish = self.session.publisher();
        if let Err(error) = publish.publish(exchange::REP, &key::reply("examined"), &envelope).await {
            tracing::warn!(%error, "failed to tell how this dmapi finds itself");
        }
    }

    /// Whether commands can be forwarded. That replies can be sent is seen by the answer.
    async fn examine_right(&self) -> Check {
        checks::may_publish(&self.session.publisher(), exchange::CMD, "mover.examination", fresh_id()).await
    }

    /// One check for each host of protected instances, and for each instance that is on none. `told`: where they are.
    async fn examine_places(&self, instances: &[InstanceId], told: &Mutex<Vec<InstancePlace>>) -> Vec<Check> {
        let look =
            |id: InstanceId| async move { (id, resolve(self.cloud.as_ref(), &PlacedAt::Instance(id)).await) };
        let mut looks = stream::iter(instances.to_vec()).map(look).buffered(LOOK_UPS_AT_ONCE);
        let (mut hosts, mut found) = (BTreeMap::<String, (Destination, u32)>::new(), Vec::new());
        while let Some((id, outcome)) = looks.next().await {
            match outcome {
                Ok(host) => {
                    if let Destination::Host(name) = &host {
                        let place = InstancePlace { instance_id: id.to_string(), host: name.to_string() };
                        told.lock().unwrap_or_else(PoisonError::into_inner).push(place);
                    }
                    hosts.entry(host.to_string()).or_insert((host, 0)).1 += 1;
                }
                Err(failure) => {
                    found.push(Check::of(format!("place of instance {id}"), Err::<String, _>(failure)))
                }
            }
        }
        for (name, (host, count)) in hosts {
            let subject = format!("datamover of {name}");
            let queue = host.queue();
            let counts = tokio::time::timeout(INSPECT_TIMEOUT_MAX, self.session.inspect_queue(&queue));
            found.push(match counts.await {
                Ok(Ok(Some(counts))) if counts.consumers > 0 => {
                    Check::ok(subject, format!("it is there, for {count} protected instances"))
                }
                Ok(Ok(Some(_))) => Check::of(subject, Err::<String, _>(host.not_running())),
                Ok(Ok(None)) => Check::of(subject, Err::<String, _>(host.not_enrolled())),
                Ok(Err(error)) => Check::of(subject, Err::<String, _>(error.failure())),
                Err(_) => Check::fail(subject, "BUS_UNREACHABLE", "the broker does not answer: is it up?"),
            });
        }
        found
    }
}

/// What `--check` shows: the sources of the cloud, and whether the broker lets dmapi in.
pub async fn check(config: Config) -> Vec<Check> {
    let (cloud, broker) =
        tokio::join!(wiring::examine_cloud(&config.cloud), checks::broker(&config.bus, "holdfast-dmapi"));
    broker.into_iter().chain(cloud).collect()
}

fn fresh_id() -> MessageId {
    MessageId::from_uuid(Entropy.uuid())
}
