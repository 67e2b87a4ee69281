//! Puts the service together. The only place that knows the driver.

use std::sync::Arc;

use bus::{AcceptFrom, Consume, Session};
use bus_config::{queue, user};
use cloud::Placement;
use directory_cloud::{DirectoryPlacement, fault_table};
use service_kit::actors::{BusSession, Consuming, QueueConsumer};
use service_kit::telemetry::Chain;
use service_kit::{Service, StartError};

use crate::beat_sender;
use crate::config::{CloudKind, CloudSection, Config};
use crate::forward::Placer;

/// Each waits for the cloud and for two confirms, about 10 ms in all: 16 at once place a thousand commands a second.
const CONCURRENCY: usize = 16;
/// Twice the concurrency: the next is here when one ends.
const PREFETCH: u16 = 32;

/// Starts session, consumer and health; returns when they run.
///
/// Errors: the cloud or the password file cannot be read; the brokers' addresses make no sense.
pub async fn start(service: Service, config: Config) -> Result<(), StartError> {
    let cloud = open_cloud(&config.cloud)?;
    let bus = config
        .bus
        .to_bus_config(service.name())
        .map_err(|error| StartError::usage(Chain(&error).to_string()))?;
    let session = Session::start(bus).map_err(|error| StartError::usage(Chain(&error).to_string()))?;
    BusSession::start(&service, &session);
    let consume = Consume {
        queue: queue::DMAPI.to_owned(),
        prefetch: PREFETCH,
        accept_from: AcceptFrom::users([user::CONTROLLER]),
    };
    let consuming = Consuming { actor: "placer".to_owned(), consume, concurrency: CONCURRENCY };
    QueueConsumer::start(&service, &session, consuming, Arc::new(Placer::new(cloud, session.clone())));
    beat_sender::start(&service, &session);
    service.health().serve(&config.health)?;
    Ok(())
}

fn open_cloud(config: &CloudSection) -> Result<Arc<dyn Placement>, StartError> {
    match config.kind {
        CloudKind::Directory => {
            let placement = DirectoryPlacement::open(&config.path, fault_table(&config.path))
                .map_err(|error| StartError::usage(Chain(&error).to_string()))?;
            Ok(Arc::new(placement))
        }
    }
}
