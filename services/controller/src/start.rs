//! Puts the controller together: opens what the config names, and starts the actors.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backup_target::{BackupTarget, Faulty, PosixTarget};
use broker_admin::Admin;
use bus::Session;
use catalog::Catalog;
use runtime::{Clock, Entropy, SystemClock};
use service_kit::actors::BusSession;
use service_kit::telemetry::Chain;
use service_kit::{Service, StartError, own_host};

use crate::actors::cloud_worker::CloudWorker;
use crate::actors::fact_emitter::Outlet;
use crate::actors::{
    base_keeper, cloud_consumer, fact_emitter, heartbeat_consumer, intake_consumer, lease_keeper,
    leftover_keeper, notification_listener, outbox_relay, reply_consumer, status_keeper, timer_keeper,
};
use crate::cloud_jobs::CloudJobs;
use crate::config::{Config, Rest};
use crate::doctor::Doctor;
use crate::engine::{Engine, Timing};
use crate::rest::{self, Authenticator};
use crate::signs::Signs;
use crate::state::{AppState, TargetInfo};
use crate::status::{Board, Gatherer, QueueMonitor};
use crate::wiring;

/// Starts everything and returns; it runs until the service drains. What an earlier process left needs no recovery of its
/// own: outbox, timers and leases are rows, and the actors look at them as at any others.
///
/// Errors: something the config names cannot be used, or refuses us.
pub async fn start(service: Service, config: Config) -> Result<(), StartError> {
    let clock = SystemClock::shared();
    let (infos, targets) = open_targets(&config)?;
    let catalog = open_catalog(&config, Arc::clone(&clock)).await?;
    catalog.require_schema().await.map_err(|error| refused(&error))?;
    let faults = wiring::fault_table(&config.cloud, config.drill_file.as_deref());
    let identity = wiring::open_identity(&config, &catalog, &clock)?;
    let cloud = wiring::open_cloud(&config.cloud, faults, &identity)?;
    let engine = Engine::new(catalog.clone(), timing(&config));
    let bus = config.bus.to_bus_config(service.name()).map_err(|error| usage(&error))?;
    let session = Session::start(bus).map_err(|error| usage(&error))?;
    let (board_writer, board) = Board::new();
    let state = AppState {
        catalog: catalog.clone(),
        engine: engine.clone(),
        clock: Arc::clone(&clock),
        entropy: Entropy,
        targets: infos.into(),
        cloud: Arc::clone(&cloud),
        trusts: identity.trust_book(),
        dead_letters: session.dead_letters(),
        doctor: Doctor::new(
            session.publisher(),
            monitor(&config)?,
            wiring::cloud_examiner(&config.cloud, &identity),
        ),
        status: board.clone(),
    };
    let outlet = start_notifications(&service, &config, &state)?;
    let tick = config.timing.tick();
    let signs = Signs::new(catalog.clone(), Arc::clone(&clock), config.timing.lease_ttl());
    let gatherer = gatherer(&service, &config, (catalog.clone(), Arc::clone(&clock)))?;

    BusSession::start(&service, &session);
    outbox_relay::start(&service, &session, engine.clone(), (catalog.clone(), Arc::clone(&clock)), tick);
    let jobs = CloudJobs::new(cloud, targets)
        .with_trusts(identity.trust_book())
        .with_second_look(config.timing.second_look());
    let worker = CloudWorker::new(&service, &session, engine.clone(), (jobs, Arc::clone(&clock)));
    worker.resume(&catalog).await.map_err(|error| refused(&error))?;
    fact_emitter::start(&service, &session, outlet);
    cloud_consumer::start(&service, &session, engine.clone(), worker);
    reply_consumer::start(&service, &session, engine.clone(), signs.clone());
    heartbeat_consumer::start(&service, &session, engine.clone(), signs.clone());
    status_keeper::start(&service, gatherer, signs, board_writer);
    base_keeper::start(&service, state.clone(), config.timing.base_look());
    leftover_keeper::start(
        &service,
        state.clone(),
        config.timing.sweep_look(),
        config.timing.sweep_age_min(),
    );
    timer_keeper::start(&service, engine.clone(), catalog.clone(), Arc::clone(&clock), tick);
    lease_keeper::start(&service, &session, engine, (catalog, clock), tick);
    intake_consumer::start(&service, &session, state.clone(), config.intake_grants.clone());
    start_rest(&service, state, identity.authenticator, &config.rest)?;
    board.show_on(service.health());
    service.health().serve(&config.health)?;
    Ok(())
}

/// Listens to what OpenStack's services tell; gives where our own notifications go.
fn start_notifications(
    service: &Service,
    config: &Config,
    state: &AppState,
) -> Result<Option<Outlet>, StartError> {
    let Some(section) = &config.notifications else { return Ok(None) };
    let bus = section.to_bus_config(service.name()).map_err(|error| usage(&error))?;
    let session = Session::start(bus).map_err(|error| usage(&error))?;
    if !section.exchanges.is_empty() {
        notification_listener::start(service, &session, section, state.clone(), wiring::read_notification);
    }
    let outlet = (!section.emit_exchange.is_empty())
        .then(|| Outlet::new(&session, &section.emit_exchange, &section.emit_topic));
    service.on_drain("notifications", async move { session.close().await });
    Ok(outlet)
}

/// The broker's management API, where the config names it.
fn monitor(config: &Config) -> Result<Option<Admin>, StartError> {
    let monitor = config.broker.as_ref().map(crate::config::BrokerSection::open).transpose();
    monitor.map_err(|reason| StartError::usage(format!("[broker]: {reason}")))
}

fn gatherer(
    service: &Service,
    config: &Config,
    (catalog, clock): (Catalog, Arc<dyn Clock>),
) -> Result<Gatherer, StartError> {
    let queues = QueueMonitor::new(monitor(config)?);
    Ok(Gatherer {
        catalog,
        clock,
        health: service.health().clone(),
        queues,
        host: own_host(),
        silence_max: config.timing.lease_ttl(),
    })
}

/// `db sync`: makes or upgrades the tables.
///
/// Errors: the database cannot be used, or refuses us.
pub async fn db_sync(config: &Config) -> Result<(), StartError> {
    let catalog = open_catalog(config, SystemClock::shared()).await?;
    catalog.migrate().await.map_err(|error| refused(&error))?;
    catalog.close().await;
    Ok(())
}

async fn open_catalog(config: &Config, clock: Arc<dyn Clock>) -> Result<Catalog, StartError> {
    Catalog::open(&config.database.url, clock).await.map_err(|error| refused(&error))
}

type Targets = (Vec<TargetInfo>, Vec<Arc<dyn BackupTarget>>);

fn open_targets(config: &Config) -> Result<Targets, StartError> {
    let faults = Arc::new(wiring::fault_table(&config.cloud, config.drill_file.as_deref()));
    let (mut infos, mut targets) = (Vec::<TargetInfo>::new(), Vec::<Arc<dyn BackupTarget>>::new());
    for section in &config.targets {
        let target = PosixTarget::open(&section.path).map_err(|error| {
            StartError::usage(format!("target {}: {} [{}]", section.name, Chain(&error), error.code()))
        })?;
        let id = target.id();
        if let Some(same) = infos.iter().find(|info| info.id == id) {
            let reason = format!("the targets {} and {} are one: {id}", same.name, section.name);
            return Err(StartError::usage(reason));
        }
        infos.push(TargetInfo { id, name: section.name.clone(), path: section.path.clone() });
        targets.push(Arc::new(Faulty::new(target, Arc::clone(&faults))));
    }
    Ok((infos, targets))
}

fn start_rest(
    service: &Service,
    state: AppState,
    authenticator: Arc<dyn Authenticator>,
    Rest { listen, address_file }: &Rest,
) -> Result<(), StartError> {
    let (server, address) = rest::serve(state, authenticator, *listen)
        .map_err(|error| StartError::failed(format!("rest.listen = {listen}: {error}")))?;
    let handle = server.handle();
    service.on_drain("rest", async move { handle.stop(true).await });
    service.supervise("rest", async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the REST server failed");
        }
    });
    tracing::info!(%address, "the REST API listens");
    address_file.as_deref().map_or(Ok(()), |path| write_address(path, &address.to_string()))
}

/// Written whole: whoever polls for the file reads all of it.
fn write_address(path: &Path, address: &str) -> Result<(), StartError> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, address)
        .and_then(|()| std::fs::rename(&fresh, path))
        .map_err(|error| StartError::failed(format!("failed to write {}: {error}", path.display())))
}

const fn timing(config: &Config) -> Timing {
    let timing = &config.timing;
    Timing {
        retry_base: Duration::from_millis(timing.retry_base_ms),
        retry_cap: Duration::from_millis(timing.retry_cap_ms),
        lease_ttl: timing.lease_ttl(),
        step_deadline_max: Duration::from_millis(timing.step_deadline_max_ms),
        saga_deadline_max: Duration::from_millis(timing.saga_deadline_max_ms),
        stuck_retry_base: Duration::from_millis(timing.stuck_retry_base_ms),
        stuck_retry_cap: Duration::from_millis(timing.stuck_retry_cap_ms),
    }
}

fn usage(error: &(dyn std::error::Error + 'static)) -> StartError {
    StartError::usage(Chain(error).to_string())
}

/// A database that does not want us is told apart from one that is misnamed.
fn refused(error: &catalog::Error) -> StartError {
    let reason = format!("{} [{}]", Chain(error), error.code());
    match error {
        catalog::Error::Url { .. } | catalog::Error::File { .. } => StartError::usage(reason),
        catalog::Error::Refused { .. } => StartError::refused(reason),
        _ => StartError::failed(reason),
    }
}
