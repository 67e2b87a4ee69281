//! A whole Holdfast on this machine: a private broker, a directory cloud, a target, and every service as a process.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bus_config::Role;
use model::{HostName, PoolName, ProjectId, TargetId};
use rest_api::{Client, Endpoint};
use sandbox::Broker;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config;
use crate::process::{Process, Program, RunAs, binary};
use crate::wait;

/// How long a service may take from its start until it answers.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Spec {
    pub hosts: Vec<HostName>,
    pub pool: PoolName,
    pub project: ProjectId,
    /// Slows transfers down, so that a test can act in the middle of one.
    pub rate_limit_mib_per_s: Option<u64>,
    /// Another `qemu-nbd` than the one in the path.
    pub qemu_nbd: Option<PathBuf>,
    /// Another folder for the catalog than the one of all states.
    pub database_dir: Option<PathBuf>,
    pub timing: config::Timing,
    /// The controller's `[auth]` and what belongs to it, in place of the tokens file.
    pub auth: Option<String>,
    /// The controller's `[notifications]`, in place of its own broker.
    pub notifications: Option<String>,
    /// The `[cloud]` of each service, in place of the folder.
    pub cloud: Option<CloudSections>,
    /// Every disk of an instance but its boot disk is local to its host: no volume.
    pub has_local_disks: bool,
    /// The same, for volumes that hosts reach by an attachment only.
    pub has_attached_volumes: bool,
    /// The storage can list what changed between two volume snapshots of a raw disk.
    pub keeps_changes: bool,
    /// Who the services are. All that they keep is given to it.
    pub run_as: Option<RunAs>,
    /// More environment for every service.
    pub envs: Vec<(String, String)>,
}

/// What each service is told of another cloud than a folder.
#[derive(Debug, Clone)]
pub struct CloudSections {
    pub controller: String,
    pub dmapi: String,
    pub datamover: String,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            hosts: ["host-a", "host-b"].map(|name| name.parse().expect("a valid host name")).to_vec(),
            pool: "default".parse().expect("a valid pool name"),
            project: "demo".parse().expect("a valid project id"),
            rate_limit_mib_per_s: None,
            qemu_nbd: None,
            database_dir: None,
            timing: config::Timing::quick(),
            auth: None,
            notifications: None,
            cloud: None,
            has_local_disks: false,
            has_attached_volumes: false,
            keeps_changes: false,
            run_as: None,
            envs: Vec::new(),
        }
    }
}

/// Where everything lies.
#[derive(Debug, Clone)]
pub struct Places {
    pub root: PathBuf,
}

impl Places {
    /// The directory cloud.
    #[must_use]
    pub fn cloud(&self) -> PathBuf {
        self.root.join("cloud")
    }
    /// The backup target.
    #[must_use]
    pub fn target(&self) -> PathBuf {
        self.root.join("target")
    }
    /// Config files and secrets.
    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.root.join("etc")
    }
    /// What the services keep.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }
    /// What the services write.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("log")
    }
    /// The fault table of cloud and target.
    #[must_use]
    pub fn faults(&self) -> PathBuf {
        self.cloud().join("faults.toml")
    }
}

/// A running Holdfast. Dropping it stops everything it started, and panics when dead letters are left that nobody announced.
#[derive(Debug)]
pub struct World {
    // Dropped in this order: the services first, then the broker they speak over.
    pub controller: Process,
    pub dmapi: Process,
    pub datamovers: BTreeMap<HostName, Process>,
    pub broker: Broker,
    pub places: Places,
    pub target_id: TargetId,
    pub client: Client,
    pub spec: Spec,
    pub token: SecretString,
    pub(crate) dead_letters_announced: Cell<bool>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    /// Starts everything below `root`, which must hold a directory cloud in `cloud/`, unless the spec has another cloud.
    ///
    /// Errors: a package is missing, or a service did not come up; its log is in the error.
    pub fn start(root: &Path, spec: Spec) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let places = Places { root: root.to_owned() };
        for dir in [places.etc(), places.state(), places.logs(), places.target()] {
            std::fs::create_dir_all(&dir)?;
        }
        let broker = runtime.block_on(Broker::start_in(&places.root.join("broker")))?;
        let target_id = backup_target::PosixTarget::init(&places.target(), &runtime::Entropy)?;
        let writer = config::Writer {
            places: &places,
            spec: &spec,
            broker_url: broker.amqp_url(),
            management_url: broker.management_url(),
        };
        let token = writer.write_shared()?;
        runtime.block_on(enroll(&broker, &writer))?;
        if let Some(run_as) = &spec.run_as {
            for dir in [places.etc(), places.state(), places.logs(), places.target()] {
                give(&dir, run_as)?;
            }
        }

        let start = |name: &str, config: &str| program(&places, &spec, name, config)?.start();
        let controller = start("holdfast-controller", "controller")?;
        let dmapi = start("holdfast-dmapi", "dmapi")?;
        let mut datamovers = BTreeMap::new();
        for host in &spec.hosts {
            datamovers.insert(host.clone(), start("holdfast-datamover", &format!("datamover-{host}"))?);
        }
        let endpoint = wait_for_address(&places, &controller, &spec.project)?;
        let client = Client::new(endpoint, &token)?;
        let world = Self {
            controller,
            dmapi,
            datamovers,
            broker,
            places,
            target_id,
            client,
            spec,
            token,
            dead_letters_announced: Cell::new(false),
            runtime,
        };
        world.wait_until_ready()?;
        Ok(world)
    }

    /// Waits until every queue of ours has its consumer; dead letters and subscribers' queues may have none.
    pub fn wait_until_ready(&self) -> Result<()> {
        let waited = wait::until(START_DEADLINE, "every queue has a consumer", || {
            let queues = self.block_on(self.broker.queues())?;
            let ours =
                queues.iter().filter(|queue| !queue.name.contains(".dead.") && !queue.name.contains(".sub."));
            let idle = ours.filter(|queue| queue.consumers == 0).count();
            Ok((idle == 0 && !queues.is_empty()).then_some(()))
        });
        waited.with_context(|| self.logs())
    }

    /// Runs a future to its end.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Does something to the broker, and waits for it.
    pub fn with_broker<T>(&mut self, work: impl AsyncFnOnce(&mut Broker) -> T) -> T {
        self.runtime.block_on(work(&mut self.broker))
    }

    /// The last lines of every log.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut text = String::new();
        let processes = [&self.controller, &self.dmapi].into_iter().chain(self.datamovers.values());
        for process in processes {
            let log = process.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            text.push_str(&format!("--- {process}\n{}\n", tail.join("\n")));
        }
        text
    }

    /// Kills the controller and starts it again; its address may change.
    pub fn restart_controller(&mut self) -> Result<()> {
        let program = self.controller.program().clone();
        self.replace_controller(&program)
    }

    /// Kills the controller and starts it otherwise.
    pub fn replace_controller(&mut self, program: &Program) -> Result<()> {
        self.controller.kill()?;
        let _ = std::fs::remove_file(address_file(&self.places));
        self.controller = program.start()?;
        let endpoint = wait_for_address(&self.places, &self.controller, &self.spec.project)?;
        self.client = Client::new(endpoint, &self.token)?;
        Ok(())
    }

    /// Starts the controller again after it ended, and does not wait until it answers.
    pub fn start_controller(&mut self) -> Result<()> {
        let _ = std::fs::remove_file(address_file(&self.places));
        self.controller.start_again()
    }

    /// Speaks to the controller where it says that it listens; whether it says so.
    pub fn find_controller(&mut self) -> Result<bool> {
        let Some(address) = read_address(&self.places) else { return Ok(false) };
        self.client = Client::new(parse_address(&address, &self.spec.project)?, &self.token)?;
        Ok(true)
    }

    /// Where a service (`controller`, `dmapi`, `datamover-<host>`) serves health and metrics: `127.0.0.1:<port>`.
    pub fn management_address(&self, service: &str) -> Result<String> {
        let path = health_file(&self.places, service);
        std::fs::read_to_string(&path).with_context(|| format!("{service} does not say where it listens"))
    }

    /// The command line, told where the controller is.
    #[must_use]
    pub fn cli(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary("holdfast").unwrap_or_default());
        command
            .args(args)
            .env("HOLDFAST_ENDPOINT", self.endpoint())
            .env("HOLDFAST_TOKEN", self.token.expose_secret());
        command
    }

    /// The endpoint with its project, as the command line takes it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}/v1/{}", self.client.endpoint().to_string().trim_end_matches('/'), self.spec.project)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.require_no_dead_letters();
    }
}

/// Gives a folder and all in it to an account. Only root can.
pub fn give(folder: &Path, run_as: &RunAs) -> Result<()> {
    let owner = format!("{0}:{0}", run_as.user);
    let given = Command::new("chown").arg("--recursive").arg(&owner).arg(folder).status()?;
    anyhow::ensure!(given.success(), "{} was not given to {owner}", folder.display());
    Ok(())
}

async fn enroll(broker: &Broker, writer: &config::Writer<'_>) -> Result<()> {
    let controller = broker.create_user(&Role::Controller).await?;
    let monitor = broker.create_user(&Role::Monitor).await?;
    writer.write_controller(&controller, &monitor)?;
    let dmapi = broker.create_user(&Role::Dmapi).await?;
    writer.write_dmapi(&dmapi)?;
    for host in &writer.spec.hosts {
        let password = broker.enroll_host(host, std::slice::from_ref(&writer.spec.pool)).await?;
        writer.write_datamover(host, &password)?;
    }
    Ok(())
}

fn program(places: &Places, spec: &Spec, name: &str, config: &str) -> Result<Program> {
    Ok(Program {
        name: config.to_owned(),
        binary: binary(name)?,
        args: vec!["--config".to_owned(), places.etc().join(format!("{config}.toml")).display().to_string()],
        envs: spec.envs.clone(),
        run_as: spec.run_as.clone(),
        log: places.logs().join(format!("{config}.log")),
    })
}

/// Where the controller says on which address it answers.
pub(crate) fn address_file(places: &Places) -> PathBuf {
    places.state().join("rest.address")
}

/// Where a service says on which address it tells its health.
pub(crate) fn health_file(places: &Places, service: &str) -> PathBuf {
    places.state().join(format!("{service}.health"))
}

fn wait_for_address(places: &Places, controller: &Process, project: &ProjectId) -> Result<Endpoint> {
    let address =
        wait::until(START_DEADLINE, "the controller says where it listens", || Ok(read_address(places)))
            .with_context(|| controller.log())?;
    parse_address(&address, project)
}

fn read_address(places: &Places) -> Option<String> {
    std::fs::read_to_string(address_file(places)).ok().filter(|text| !text.trim().is_empty())
}

fn parse_address(address: &str, project: &ProjectId) -> Result<Endpoint> {
    Ok(Endpoint::parse(&format!("http://{}", address.trim()), Some(project))?)
}
