//! What is joined to what. The only file that knows which cloud driver there is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bus::{AcceptFrom, Consume, Session};
use bus_config::{queue, user};
use chunk_store::FileKeys;
use cloud::{Connector, Host};
use libvirt_host::{BrickConnector, BrickSettings, Cluster, HostSettings, LibvirtHost, Scratch};
use model::{ByteCount, Check, Failure, InstanceId};
use runtime::{Clock, Entropy, FaultTable, SystemClock};
use service_kit::actors::{BusSession, Consuming, QueueConsumer};
use service_kit::metrics::{Kind, count};
use service_kit::telemetry::Chain;
use service_kit::{Service, StartError, checks};

use crate::actors::{
    Beats, CommandHandler, CtlHandler, Drain, LeaseKeeper, ResultSender, ThawTimer, TransferSupervisor,
    send_all, start_registrar,
};
use crate::config::{BrickSection, CephSection, CloudSection, Config, OpenstackSection};
use crate::connections::Connections;
use crate::ctl;
use crate::journal::{Journal, JournalHandle};
use crate::limits::ByteBudget;
use crate::pipeline::{AuditFigures, Means, RateLimit};
use crate::ports::{Ports, Settings};
use crate::replies::Replies;
use crate::targets::Targets;

/// Commands unacked at a time: they are journalled and acked in some milliseconds.
const COMMANDS_IN_FLIGHT: u16 = 16;
/// Control messages: in their order, each some microseconds.
const CONTROLS_IN_FLIGHT: u16 = 64;

/// Starts the actors of a datamover. Guests that an earlier process froze are thawed before the bus is even looked for.
///
/// Errors: the state folder, the key file, the cloud or the config of the bus cannot be used.
pub async fn start(service: Service, config: Config) -> Result<(), StartError> {
    let clock = SystemClock::shared();
    let journal =
        Journal::open(&config.state_dir, Arc::clone(&clock)).map_err(|error| failed(&error.failure()))?;
    let journal = JournalHandle::new(journal);
    let host = open_host(&config).await?;
    let connections =
        Connections::open(&config.state_dir, open_connector(&config)?).map_err(|failure| failed(&failure))?;
    let (thaw_timer, thaw_orders) = ThawTimer::new();
    thaw_orders.start(&service, Arc::clone(&host), journal.clone(), Arc::clone(&clock))?;

    connections.take_up().await.map_err(|failure| failed(&failure))?;
    let keys = FileKeys::open(&config.key_file).map_err(|error| failed(&error.failure()))?;
    let bus_config = config
        .bus
        .to_bus_config(&format!("datamover@{}", config.host))
        .map_err(|error| StartError::usage(Chain(&error).to_string()))?;
    let session = Session::start(bus_config).map_err(|error| StartError::usage(error.to_string()))?;
    BusSession::start(&service, &session);
    service.health().serve(&config.health)?;

    let boot_id = Entropy.uuid().to_string();
    let (lease_keeper, lease_orders) = LeaseKeeper::new();
    lease_orders.start(
        &service,
        Beats {
            host: config.host.clone(),
            boot_id: boot_id.clone(),
            publisher: session.publisher(),
            clock: Arc::clone(&clock),
            interval: config.timing.heartbeat_interval(),
            margin: config.timing.lease_margin(),
        },
    )?;
    let ports = Arc::new(Ports {
        host_name: config.host.clone(),
        host,
        connections,
        means: make_means(&config, keys, Arc::clone(&clock)),
        journal,
        clock,
        replies: Replies::new(session.publisher(), config.host.clone()),
        thaw_timer,
        lease_keeper,
        settings: Settings {
            freeze_duration_max: config.timing.freeze_duration_max(),
            lease_margin: config.timing.lease_margin(),
        },
    });
    measure(&service, &ports);
    start_actors(&service, &session, &ports, &config, boot_id).await;
    Ok(())
}

/// The figures of a datamover, beside those that every service has.
fn measure(service: &Service, ports: &Arc<Ports>) {
    let ports = Arc::clone(ports);
    service.health().pages().measure(move |exposition| {
        let audit = &ports.means.audit;
        for (name, help, value) in [
            ("holdfast_audited_slots_total", "Unchanged slots that were compared.", &audit.slots),
            ("holdfast_audit_mismatches_total", "Of these, slots that had changed.", &audit.mismatches),
        ] {
            exposition.single(name, Kind::Counter, help, count(value.load(Ordering::Relaxed)));
        }
        let mut gauge = |name, help, value| exposition.single(name, Kind::Gauge, help, count(value));
        let budget = &ports.means.budget;
        gauge("holdfast_leased_jobs", "Jobs under a lease now.", ports.lease_keeper.held_count() as u64);
        gauge("holdfast_memory_used_bytes", "What transfers hold of the memory budget.", budget.used().0);
        gauge("holdfast_memory_budget_bytes", "What all transfers together may hold.", budget.all().0);
    });
}

/// The actors that need the ports. In a drain they end in reverse order: consumers first.
async fn start_actors(
    service: &Service,
    session: &Session,
    ports: &Arc<Ports>,
    config: &Config,
    boot_id: String,
) {
    let (results, result_queue) = ResultSender::new();
    result_queue.start(service, Arc::clone(ports), config.timing.resend());
    let last = Arc::clone(ports);
    service.on_drain("results", async move { send_all(&last).await });
    let timer = ports.thaw_timer.clone();
    service.on_drain("frozen guests", async move { timer.thaw_all().await });

    // Barred, and killed before it could say so.
    for (job_id, attempt) in ports.journal.blocking().barred_unfinished() {
        ctl::finish_cancelled(ports, &results, job_id, attempt).await;
    }
    let supervisor = TransferSupervisor::start(service, Arc::clone(ports), results.clone());
    let to = supervisor.clone();
    service.on_drain("jobs", async move {
        // An error: it is dead, and nothing runs.
        let _ = to.send(Drain).await;
    });
    start_registrar(service, session, Arc::clone(ports), results.clone(), (boot_id, &config.pools));

    let ctl_handler = CtlHandler {
        ports: Arc::clone(ports),
        config: Arc::new(config.clone()),
        supervisor: supervisor.clone(),
        results: results.clone(),
    };
    let consuming = Consuming {
        actor: "ctl_consumer".to_owned(),
        consume: Consume {
            queue: queue::mover_host_ctl(&config.host),
            prefetch: CONTROLS_IN_FLIGHT,
            accept_from: AcceptFrom::users([user::CONTROLLER]),
        },
        concurrency: 1,
    };
    QueueConsumer::start(service, session, consuming, Arc::new(ctl_handler));

    let handler = Arc::new(CommandHandler { ports: Arc::clone(ports), supervisor, results });
    let mut queues = vec![("command_consumer".to_owned(), queue::mover_host(&config.host))];
    queues.extend(config.pools.iter().map(|pool| (format!("pool_consumer_{pool}"), queue::mover_pool(pool))));
    for (actor, queue) in queues {
        let accept_from = AcceptFrom::users([user::DMAPI, user::CONTROLLER]);
        let consume = Consume { queue, prefetch: COMMANDS_IN_FLIGHT, accept_from };
        let consuming = Consuming { actor, consume, concurrency: usize::from(COMMANDS_IN_FLIGHT) };
        QueueConsumer::start(service, session, consuming, Arc::clone(&handler));
    }
}

fn make_means(config: &Config, keys: FileKeys, clock: Arc<dyn Clock>) -> Means {
    let bytes_per_second = config.rate_limit_mib_per_s.map(|mebibytes| u64::from(mebibytes) << 20);
    Means {
        targets: open_targets(config),
        keys: Arc::new(keys),
        disks: disk::Opener { qemu_nbd: config.qemu_nbd.clone(), runtime_dir: config.runtime_dir() },
        budget: ByteBudget::new(config.memory_mib),
        rate: RateLimit::new(Arc::clone(&clock), bytes_per_second),
        clock,
        read_back_one_of: config.restore.read_back_one_of,
        audit: AuditFigures::default(),
    }
}

async fn open_host(config: &Config) -> Result<Arc<dyn Host>, StartError> {
    let path = match &config.cloud {
        CloudSection::Directory { path } => path,
        CloudSection::Openstack(section) => {
            let settings = host_settings(config, section).map_err(|error| failed(&error.failure()))?;
            let host = LibvirtHost::open(settings).await.map_err(|failure| failed(&failure))?;
            return Ok(Arc::new(host));
        }
    };
    match directory_cloud::DirectoryHost::open(path, config.host.clone(), directory_faults(config, path)) {
        Ok(host) => Ok(Arc::new(host)),
        Err(error) => Err(StartError::failed(Chain(&error).to_string())),
    }
}

fn open_connector(config: &Config) -> Result<Arc<dyn Connector>, StartError> {
    match &config.cloud {
        CloudSection::Directory { path } => {
            let faults = directory_faults(config, path);
            let opened = directory_cloud::DirectoryConnector::open(path, config.host.clone(), faults);
            Ok(Arc::new(opened.map_err(|error| StartError::failed(Chain(&error).to_string()))?))
        }
        CloudSection::Openstack(section) => {
            Ok(Arc::new(BrickConnector::new(brick_settings(config, section))))
        }
    }
}

fn brick_settings(config: &Config, section: &OpenstackSection) -> Option<BrickSettings> {
    let BrickSection { command, root_helper, my_ip, lock_path, multipath } = *section.brick.clone()?;
    Some(BrickSettings { command, host: config.host.clone(), root_helper, my_ip, lock_path, multipath })
}

fn directory_faults(config: &Config, path: &Path) -> FaultTable {
    let drill = config.drill_file.as_deref();
    drill.map_or_else(|| directory_cloud::fault_table(path), FaultTable::from_file)
}

/// Looks at the host as the driver knows it.
pub(crate) async fn examine_host(config: &Config) -> Vec<Check> {
    match &config.cloud {
        CloudSection::Directory { path } => vec![checks::folder("cloud", "CLOUD_FOLDER_UNUSABLE", path)],
        CloudSection::Openstack(section) => {
            let mut checks = match host_settings(config, section) {
                Ok(settings) => libvirt_host::examine(&settings).await,
                Err(error) => vec![Check::of("host", Err::<String, _>(error.failure()))],
            };
            // Off is how most hosts are: a snapshot that needs it says so.
            if let Some(settings) = brick_settings(config, section) {
                let told = BrickConnector::new(Some(settings)).properties().await;
                checks.push(Check::of("storage other than Ceph", told.map(|_| "os-brick answers")));
            }
            checks
        }
    }
}

/// Asks the agents of those instances that are here.
pub(crate) async fn examine_guests(config: &Config, instances: &[InstanceId]) -> Vec<Check> {
    match &config.cloud {
        // Its guests freeze by themselves.
        CloudSection::Directory { .. } => Vec::new(),
        CloudSection::Openstack(section) => match host_settings(config, section) {
            Ok(settings) => libvirt_host::examine_guests(&settings, instances).await,
            // The checks of the host say so.
            Err(_) => Vec::new(),
        },
    }
}

/// What the config and the files of Nova and Ceph say of this host.
fn host_settings(config: &Config, section: &OpenstackSection) -> Result<HostSettings, libvirt_host::Error> {
    let mebibytes = |count: u32| ByteCount::mib(count.into());
    let instances_path = match &section.instances_path {
        Some(path) => path.clone(),
        None => libvirt_host::instances_path(section.nova_conf.as_deref())?,
    };
    let clusters = section.ceph.iter().map(|ceph| {
        let CephSection { conf, user, pool, secret_uuid } = ceph.clone();
        Cluster::from_conf(conf, user, pool, secret_uuid)
    });
    Ok(HostSettings {
        state_dir: config.state_dir.clone(),
        libvirt_uri: section.libvirt_uri.clone(),
        instances_path,
        scratch: Scratch {
            dir: section.scratch_dir.clone(),
            used_max: section.scratch_max_mib.map(mebibytes),
            room_min: section.scratch_free_min_mib.map(mebibytes),
        },
        clusters: clusters.collect::<Result<_, _>>()?,
    })
}

fn open_targets(config: &Config) -> Targets {
    let faults = config.drill_file.as_deref().map_or_else(FaultTable::none, FaultTable::from_file);
    Targets::new(config.targets.iter().map(|target| target.path.clone()).collect(), Arc::new(faults))
}

fn failed(failure: &Failure) -> StartError {
    StartError::failed(failure.to_string())
}
