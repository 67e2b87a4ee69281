//! Takes cloud jobs: marks each as accepted in the catalog, then acks, so that no message is held while a job runs.

use std::sync::Arc;

use actix::Addr;
use async_trait::async_trait;
use bus::{AcceptFrom, Consume, Envelope, Session, header};
use bus_config::{queue, user};
use service_kit::actors::{Consuming, Handled, MessageHandler, QueueConsumer};
use service_kit::{Drain, Service};

use super::cloud_worker::CloudWorker;
use super::patience::patiently;
use crate::cloud_jobs::{CloudCommand, Undecodable};
use crate::engine::Engine;

/// Handles commands to cloud workers.
#[derive(Debug)]
pub struct CloudCommands {
    engine: Engine,
    worker: CloudWorker,
    drain: Drain,
}

/// Starts the consumer.
pub fn start(
    service: &Service,
    session: &Session,
    engine: Engine,
    worker: CloudWorker,
) -> Addr<QueueConsumer<CloudCommands>> {
    let consume = Consume {
        queue: queue::CTRL_CLOUD.to_owned(),
        prefetch: 16,
        accept_from: AcceptFrom::users([user::CONTROLLER]),
    };
    let consuming = Consuming { actor: "cloud_consumer".to_owned(), consume, concurrency: 4 };
    let handler = CloudCommands { engine, worker, drain: service.drain() };
    QueueConsumer::start(service, session, consuming, Arc::new(handler))
}

#[async_trait]
impl MessageHandler for CloudCommands {
    async fn handle(&self, envelope: &Envelope) -> Handled {
        if let Err(error) = CloudCommand::decode(&envelope.type_name, &envelope.body) {
            let is_unknown = matches!(error, Undecodable::UnknownType(_));
            let code = if is_unknown { "UNKNOWN_TYPE" } else { "UNDECODABLE" };
            return Handled::Dead(format!("{code}: {error}"));
        }
        let number = |name| envelope.header(name).and_then(|text| text.parse().ok());
        let job_id = envelope.header(header::JOB).and_then(|text| text.parse().ok());
        let (Some(job_id), Some(attempt)) = (job_id, number(header::ATTEMPT)) else {
            return Handled::Dead("MALFORMED: the headers name no job".to_owned());
        };
        // A free slot first: what is accepted runs at once, and what waits stays with the broker.
        let slot = self.worker.slot().await;
        let accept = || self.engine.cloud_job_accepted(job_id, attempt);
        match patiently(&self.drain, "cloud_consumer", accept).await {
            Ok(Some(job)) => self.worker.run(job, slot),
            Ok(None) => tracing::debug!(%job_id, attempt, "a cloud job is to be done no more"),
            Err(handled) => return handled,
        }
        Handled::Done
    }
}
