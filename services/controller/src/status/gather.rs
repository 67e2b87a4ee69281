//! Gathers: reads catalog and broker, and says which of them did not answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker_admin::QueueInfo;
use bus_config::{Class, queue};
use catalog::{Catalog, OutboxDepth, ServiceKind, ServiceRow, StuckSaga, WorkerLoad};
use model::{HostName, Timestamp};
use rest_api::{
    DeadLetterFigures, HostStatus, LifeState, OutboxFigures, PartState, QueueFigures, Reach, SagaCount,
    SagaFigures, ServiceStatus, Status,
};
use runtime::Clock;
use service_kit::telemetry::Chain;
use service_kit::{BusHealth, Health};

use super::{QueueMonitor, problems};

/// A few small reads: a database that takes longer does not answer.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// More are for the list of sagas.
const STUCK_LISTED_MAX: u32 = 20;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a status is gathered from.
#[derive(Debug)]
pub struct Gatherer {
    pub catalog: Catalog,
    pub clock: Arc<dyn Clock>,
    pub health: Health,
    pub queues: QueueMonitor,
    /// Of this controller.
    pub host: HostName,
    /// A service that is silent for longer is told so: by then a job's lease has lapsed.
    pub silence_max: Duration,
}

/// What the catalog gave.
struct Read {
    services: Vec<ServiceRow>,
    loads: Vec<WorkerLoad>,
    unfinished: Vec<catalog::SagaCount>,
    ended: Vec<catalog::SagaCount>,
    stuck: Vec<StuckSaga>,
    outbox: OutboxDepth,
}

impl Gatherer {
    /// Gathers once. Whatever does not answer in time stays out.
    pub async fn gather(&mut self) -> Status {
        let now = self.clock.now();
        let (catalog, read) = match tokio::time::timeout(READ_TIMEOUT, self.read(now)).await {
            Ok(Ok(read)) => (PartState::ok(), Some(read)),
            Ok(Err(error)) => {
                let reason = format!("{} [{}]", Chain(&error), error.code());
                (PartState::not(Reach::Unreachable, reason), None)
            }
            Err(_) => {
                let reason = format!("no answer within {} s [DATABASE_UNAVAILABLE]", READ_TIMEOUT.as_secs());
                (PartState::not(Reach::Unreachable, reason), None)
            }
        };
        let (broker_management, queues) = match self.queues.look(self.clock.monotonic()).await {
            Ok(queues) => (PartState::ok(), Some(queues)),
            Err(state) => (state, None),
        };
        let mut status = Status {
            gathered_at: now.into(),
            controller: self.host.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            problems: Vec::new(),
            catalog,
            broker: broker(&self.health.bus()),
            broker_management,
            services: read.as_ref().map(|read| self.services(&read.services, now)),
            hosts: read.as_ref().map(|read| self.hosts(&read.services, &read.loads, now)),
            sagas: read.as_ref().map(sagas),
            outbox: read.as_ref().map(|read| outbox(read.outbox, now)),
            queues: queues.as_ref().map(|queues| queues.iter().map(show_queue).collect()),
            dead_letters: queues.as_ref().map(|queues| dead_letters(queues)),
        };
        status.problems = problems::find(&status);
        status
    }

    async fn read(&self, now: Timestamp) -> Result<Read, catalog::Error> {
        let mut tx = self.catalog.read().await?;
        Ok(Read {
            services: tx.list_services().await?,
            loads: tx.sum_running_jobs().await?,
            unfinished: tx.count_unfinished_sagas().await?,
            ended: tx.count_ended_sagas(now.before(DAY)).await?,
            stuck: tx.list_stuck_sagas(STUCK_LISTED_MAX).await?,
            outbox: tx.outbox_depth().await?,
        })
    }

    fn life(&self, row: &ServiceRow, now: Timestamp) -> (LifeState, u64) {
        let silent = now.since(row.seen_at);
        let state = if silent > self.silence_max { LifeState::Silent } else { LifeState::Up };
        (state, silent.as_secs())
    }

    fn services(&self, rows: &[ServiceRow], now: Timestamp) -> Vec<ServiceStatus> {
        let show = |row: &ServiceRow| {
            let (state, silent_seconds) = self.life(row, now);
            ServiceStatus {
                service: row.kind.to_string(),
                host: row.host.clone(),
                state,
                version: row.version.clone(),
                started_at: row.started_at.into(),
                seen_at: row.seen_at.into(),
                silent_seconds,
            }
        };
        rows.iter().map(show).collect()
    }

    fn hosts(&self, rows: &[ServiceRow], loads: &[WorkerLoad], now: Timestamp) -> Vec<HostStatus> {
        let loads: BTreeMap<&HostName, &WorkerLoad> = loads.iter().map(|load| (&load.worker, load)).collect();
        let movers = rows.iter().filter(|row| row.kind == ServiceKind::Datamover);
        let show = |row: &ServiceRow| {
            let (state, silent_seconds) = self.life(row, now);
            let load = loads.get(&row.host);
            let progress = load.map(|load| load.progress).unwrap_or_default();
            HostStatus {
                host: row.host.clone(),
                state,
                silent_seconds,
                version: row.version.clone(),
                pools: row.pools.clone(),
                jobs_running: load.map_or(0, |load| load.job_count),
                bytes_total: progress.bytes_total.0,
                bytes_done: progress.bytes_done.0,
                bytes_read: progress.bytes_read.0,
                bytes_stored: progress.bytes_stored.0,
            }
        };
        movers.map(show).collect()
    }
}

fn broker(bus: &BusHealth) -> PartState {
    match bus {
        BusHealth::Ready(_) => PartState::ok(),
        BusHealth::Refused(reason) => PartState::not(Reach::Refused, reason.clone()),
        BusHealth::Connecting(Some(error)) => PartState::not(Reach::Unreachable, error.clone()),
        BusHealth::None | BusHealth::Connecting(None) | BusHealth::Closed => {
            PartState::not(Reach::Unreachable, "there is no session with it".to_owned())
        }
    }
}

fn sagas(read: &Read) -> SagaFigures {
    let count = |row: &catalog::SagaCount| SagaCount {
        kind: row.kind.clone(),
        phase: row.phase.clone(),
        count: row.count,
    };
    let stuck = |row: &StuckSaga| rest_api::StuckSaga {
        id: row.id,
        kind: row.kind.clone(),
        project_id: row.project_id.clone(),
        error_code: row.error_code.clone(),
        since: row.updated_at.into(),
    };
    SagaFigures {
        unfinished: read.unfinished.iter().map(count).collect(),
        ended_last_day: read.ended.iter().map(count).collect(),
        stuck: read.stuck.iter().map(stuck).collect(),
    }
}

fn outbox(depth: OutboxDepth, now: Timestamp) -> OutboxFigures {
    let oldest_seconds = depth.oldest_at.map(|oldest_at| now.since(oldest_at).as_secs());
    OutboxFigures { depth: depth.count, oldest_seconds }
}

fn show_queue(info: &QueueInfo) -> QueueFigures {
    let counted = |count: u64| info.is_counted.then_some(count);
    QueueFigures {
        name: info.name.clone(),
        depth: counted(info.messages_ready),
        unacked: counted(info.messages_unacknowledged),
        consumers: counted(info.consumers),
    }
}

/// All that lies in the queue of a class, read by somebody or not.
fn dead_letters(queues: &[QueueInfo]) -> Vec<DeadLetterFigures> {
    let count = |class: Class| {
        let name = queue::dead(class);
        let found = queues.iter().find(|info| info.name == name && info.is_counted)?;
        Some(found.messages_ready + found.messages_unacknowledged)
    };
    let show = |class: Class| DeadLetterFigures { class: class.as_str().to_owned(), count: count(class) };
    Class::ALL.map(show).to_vec()
}
