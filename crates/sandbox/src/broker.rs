//! A private RabbitMQ node.
//!
//! Everything that a node shares with others by default is its own here: name, ports, cookie, data, logs, plugins, and the
//! port mapper (epmd), which a node would otherwise start as a daemon that outlives it. The system's node, if there is
//! one, is never touched.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context as _, bail};
use broker_admin::{Admin, QueueInfo};
use bus_config::{Role, definitions, subscriber_topology};
use model::{HostName, PoolName};
use runtime::Entropy;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::port::free_port;
use crate::process::Supervised;

/// Where Debian puts the scripts that do not change the user (those in `/usr/sbin` do).
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
const EPMD: &str = "/usr/bin/epmd";
const ADMIN: &str = "sandbox-admin";

/// A node needs 8 s of a free core; 25 s were measured on one that was shared by ten.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// Another process may take a port between our look and its use.
const START_ATTEMPTS: u32 = 3;
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A RabbitMQ node of one's own, with the exchanges, queues and policies of `bus-config`; stopped when dropped.
#[derive(Debug)]
pub struct Broker {
    // Dropped in this order: the node, the port mapper, the files.
    node: Option<Supervised>,
    epmd: Option<Supervised>,
    home: Home,
    admin: Admin,
    _temporary: Option<TempDir>,
}

impl Broker {
    /// Starts a node in a temporary directory.
    ///
    /// Errors: RabbitMQ is not installed (names the package), or the node did not come up in time (gives its log's end).
    pub async fn start() -> anyhow::Result<Self> {
        let temporary = tempfile::Builder::new().prefix("holdfast-broker-").tempdir()?;
        let mut broker = Self::start_in(temporary.path()).await?;
        broker._temporary = Some(temporary);
        Ok(broker)
    }

    /// A node that all tests of a process use together: started by the first, stopped when the last lets go. Tests keep
    /// apart by hosts of their own.
    ///
    /// Errors: as `start`.
    pub async fn shared() -> anyhow::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Broker>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(broker) = shared.upgrade() {
            return Ok(broker);
        }
        let broker = Arc::new(Self::start().await?);
        *shared = Arc::downgrade(&broker);
        Ok(broker)
    }

    /// Starts a node in `dir`, which stays. A node that ran there before is started anew: empty, with new passwords.
    ///
    /// Errors: as `start`.
    pub async fn start_in(dir: &Path) -> anyhow::Result<Self> {
        require_installed(&[Path::new(SCRIPTS).join("rabbitmq-server").as_path(), Path::new(EPMD)])?;
        let mut last = None;
        for _ in 0..START_ATTEMPTS {
            let home = Home::make(dir)?;
            let admin = Admin::new(&home.management_url(), ADMIN, home.password.clone())?;
            let mut broker = Self { node: None, epmd: None, home, admin, _temporary: None };
            match broker.set_up().await {
                Ok(()) => return Ok(broker),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there was an attempt"))
    }

    async fn set_up(&mut self) -> anyhow::Result<()> {
        self.resume().await?;
        self.admin.import_definitions(&definitions()).await?;
        Ok(())
    }

    /// `amqp://127.0.0.1:PORT`, for `bus::BusConfig::brokers`.
    #[must_use]
    pub fn amqp_url(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.home.amqp_port)
    }

    /// `http://127.0.0.1:PORT` of the management API.
    #[must_use]
    pub fn management_url(&self) -> String {
        self.home.management_url()
    }

    /// The management API, as administrator.
    #[must_use]
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The administrator's name and password, for programs that are to enrol hosts on this node.
    #[must_use]
    pub fn admin_login(&self) -> (&str, &SecretString) {
        (ADMIN, &self.home.password)
    }

    /// The process groups of everything that runs for this node.
    #[must_use]
    pub fn process_groups(&self) -> Vec<i32> {
        self.node.iter().chain(&self.epmd).map(Supervised::group).collect()
    }

    /// Makes the user of `role` with its rights and a random password; for a mover and another service also its queues.
    /// The user's name is `role.user()`.
    pub async fn create_user(&self, role: &Role) -> anyhow::Result<SecretString> {
        let password = make_password();
        match role {
            Role::Mover(host, pools) => self.admin.enroll_host(host, pools, &password).await?,
            Role::Intake(service, _) => {
                self.admin.declare(&subscriber_topology(service, &[])).await?;
                self.admin.put_role(role, &password).await?;
            }
            Role::Controller | Role::Dmapi | Role::Monitor => self.admin.put_role(role, &password).await?,
        }
        Ok(password)
    }

    /// Enrols a host: user, rights, queues, bindings; gives the password.
    pub async fn enroll_host(&self, host: &HostName, pools: &[PoolName]) -> anyhow::Result<SecretString> {
        self.create_user(&Role::Mover(host.clone(), pools.to_vec())).await
    }

    /// Lists the queues of the vhost. The broker's counts are up to 1 s old: poll for a state.
    pub async fn queues(&self) -> anyhow::Result<Vec<QueueInfo>> {
        Ok(self.admin.queues().await?)
    }

    /// Stops the node in an orderly way and starts it again on the same ports and data.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if let Some(mut node) = self.node.take() {
            tokio::task::spawn_blocking(move || node.terminate()).await??;
        }
        self.resume().await
    }

    /// Kills the node (SIGKILL) and waits until it is gone. `resume` starts it again.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut node) = self.node.take() {
            tokio::task::spawn_blocking(move || node.kill()).await??;
        }
        Ok(())
    }

    /// Starts a killed node again on the same ports and data.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        if self.epmd.is_none() {
            self.epmd = Some(self.home.start_epmd().await?);
        }
        if self.node.is_none() {
            self.node =
                Some(Supervised::spawn("rabbitmq-server", &self.home.node_command(), &self.home.log())?);
        }
        match timeout(START_TIMEOUT, self.wait_until_up()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.home.explain(error)),
            Err(_) => {
                Err(self.home.explain(anyhow::anyhow!("the node did not come up in {START_TIMEOUT:?}")))
            }
        }
    }

    /// Up is: the management API takes the password, and AMQP answers (its listener is the last to open).
    async fn wait_until_up(&mut self) -> anyhow::Result<()> {
        loop {
            let node = self.node.as_mut().context("the node was not started")?;
            if let Some(status) = node.ended()? {
                bail!("the node ended ({status})");
            }
            if listens(self.home.amqp_port) && self.admin.check().await.is_ok() {
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// Files, ports and secrets of a node.
#[derive(Debug)]
struct Home {
    dir: PathBuf,
    node_name: String,
    epmd_port: u16,
    dist_port: u16,
    amqp_port: u16,
    management_port: u16,
    password: SecretString,
}

impl Home {
    /// Writes a fresh configuration; ports and names are drawn anew, so data of a former node are removed.
    fn make(dir: &Path) -> anyhow::Result<Self> {
        for stale in ["data", "logs", "home"] {
            remove_dir(&dir.join(stale))?;
            std::fs::create_dir_all(dir.join(stale))?;
        }
        let id = Entropy.uuid().simple().to_string();
        let home = Self {
            dir: dir.to_owned(),
            // The first digits of a version 7 uuid are the time; the last are random.
            node_name: format!("hf{}@localhost", &id[20..]),
            epmd_port: free_port()?,
            dist_port: free_port()?,
            amqp_port: free_port()?,
            management_port: free_port()?,
            password: make_password(),
        };
        write_private(&dir.join("rabbitmq.conf"), &home.conf(), 0o600)?;
        write_private(&dir.join("home/.erlang.cookie"), &make_token(), 0o400)?;
        write_private(&dir.join("enabled_plugins"), "[rabbitmq_management].\n", 0o600)?;
        write_private(&dir.join("rabbitmq-env.conf"), "", 0o600)?;
        Ok(home)
    }

    fn conf(&self) -> String {
        use secrecy::ExposeSecret as _;
        let Self { amqp_port, management_port, password, .. } = self;
        let password = password.expose_secret();
        format!(
            "listeners.tcp.local = 127.0.0.1:{amqp_port}\n\
             management.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {management_port}\n\
             collect_statistics_interval = 1000\n\
             default_user = {ADMIN}\n\
             default_pass = {password}\n\
             disk_free_limit.absolute = 50MB\n\
             max_message_size = 1048576\n\
             log.file.level = info\n"
        )
    }

    fn management_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.management_port)
    }

    fn log(&self) -> PathBuf {
        self.dir.join("logs/node.out")
    }

    async fn start_epmd(&self) -> anyhow::Result<Supervised> {
        let mut command = Command::new(EPMD);
        command.args(["-port", &self.epmd_port.to_string(), "-address", "127.0.0.1"]);
        let epmd = Supervised::spawn("epmd", &command, &self.dir.join("logs/epmd.out"))?;
        let port = self.epmd_port;
        let up = async {
            while !listens(port) {
                sleep(POLL_INTERVAL).await;
            }
        };
        timeout(START_TIMEOUT, up).await.context("epmd did not come up")?;
        Ok(epmd)
    }

    fn node_command(&self) -> Command {
        let path = |name: &str| self.dir.join(name);
        let mut command = Command::new(Path::new(SCRIPTS).join("rabbitmq-server"));
        command
            .current_dir(&self.dir)
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LANG", "C.UTF-8")
            .env("HOME", path("home"))
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", &self.node_name)
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config"))
            .env("RABBITMQ_CONF_ENV_FILE", path("rabbitmq-env.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", path("data"))
            .env("RABBITMQ_LOG_BASE", path("logs"))
            .env("RABBITMQ_PID_FILE", path("data/pid"))
            // Two schedulers that do not spin when idle: tests run several nodes beside the work they test.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none");
        command
    }

    /// Adds the end of the node's output, where it says why it does not start.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(15)..].join("\n");
        error.context(format!("failed to start RabbitMQ in {}; its last words:\n{end}", self.dir.display()))
    }
}

fn require_installed(programs: &[&Path]) -> anyhow::Result<()> {
    for program in programs {
        if !program.try_exists()? {
            bail!(
                "RabbitMQ is not installed ({} is missing): apt-get install rabbitmq-server",
                program.display()
            );
        }
    }
    Ok(())
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn make_password() -> SecretString {
    SecretString::from(make_token())
}

fn make_token() -> String {
    Entropy.key().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_private(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    use std::io::Write as _;
    remove_file(path)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("failed to write {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    ignore_missing(std::fs::remove_file(path)).with_context(|| format!("failed to remove {}", path.display()))
}

fn remove_dir(path: &Path) -> anyhow::Result<()> {
    ignore_missing(std::fs::remove_dir_all(path))
        .with_context(|| format!("failed to remove {}", path.display()))
}

fn ignore_missing(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_an_error_that_names_the_package() {
        let error =
            require_installed(&[Path::new("/bin/sh"), Path::new("/nowhere/epmd")]).unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/epmd") && error.contains("apt-get install rabbitmq-server"),
            "{error}"
        );
    }
}
