//! Which cloud, and where its parts lie: told by the file that `up` wrote.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use model::RbdImage;
use nova_placement::Account;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use crate::tool;

/// Names the file.
const VARIABLE: &str = "HOLDFAST_CLOUD";

/// A cloud of one host: this one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lab {
    /// The program of that name, with its own Python.
    pub openstack: PathBuf,
    /// Nova's `instances_path`.
    pub instances_dir: PathBuf,
    /// An image with a guest agent.
    pub image: String,
    /// A flavor with a disk, and one without.
    pub flavor: String,
    pub flavor_diskless: String,
    pub network: String,
    /// The type of volumes of storage that is reached by an attachment only. None of a cloud that others run.
    pub volume_type_other: Option<String>,
    /// Environment of the administrator, as in an `openrc`.
    pub admin: BTreeMap<String, String>,
    pub ceph: Ceph,
    /// None of a cloud that others run.
    pub database: Option<Database>,
    /// None of a cloud that others run.
    pub broker: Option<Broker>,
}

/// The broker of the cloud's services.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// A file for a shell, with which `rabbitmqctl` finds it.
    pub environment: PathBuf,
    /// Host and port.
    pub address: String,
}

/// The server of all databases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// By it root is the administrator.
    pub socket: PathBuf,
    pub port: u16,
}

/// The cluster of Cinder's volumes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceph {
    pub conf: PathBuf,
    /// Without `client.`.
    pub user: String,
    pub pool: String,
}

impl Lab {
    /// Reads which cloud there is.
    ///
    /// Errors: none is configured.
    pub fn from_env() -> Result<Self> {
        let path = std::env::var_os(VARIABLE).with_context(|| {
            format!("no cloud is configured: run `make cloud-test`, or set {VARIABLE} to the cloud.toml of one that is up")
        })?;
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{VARIABLE} names {}, which cannot be read", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} does not describe a cloud", path.display()))
    }

    /// Where its parts lie, of a cloud of our own.
    pub fn dir(&self) -> Result<PathBuf> {
        let file = std::env::var_os(VARIABLE).map(PathBuf::from);
        let dir = file.as_deref().and_then(std::path::Path::parent);
        Ok(dir.context("the cloud's description lies in a folder")?.to_owned())
    }

    /// Runs `openstack` as the administrator; each line of `input` is a command when there are no arguments.
    pub fn admin(&self, arguments: &[&str], input: &str) -> Result<String> {
        tool::run(self.command(&self.admin).args(arguments), input)
    }

    /// The server of the databases.
    ///
    /// Errors: the cloud has none that tests may use.
    pub fn database(&self) -> Result<&Database> {
        self.database
            .as_ref()
            .context("the cloud's description has no [database]: run `make cloud-up`, which writes it")
    }

    /// The broker of the cloud's services.
    ///
    /// Errors: the cloud has none on which tests may have users.
    pub fn broker(&self) -> Result<&Broker> {
        self.broker
            .as_ref()
            .context("the cloud's description has no [broker]: run `make cloud-up`, which writes it")
    }

    pub(crate) fn command(&self, environment: &BTreeMap<String, String>) -> Command {
        let mut command = Command::new(&self.openstack);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command.envs(environment).current_dir("/");
        command
    }

    /// The image of a Cinder volume, or of its snapshot.
    #[must_use]
    pub fn volume_image(&self, volume: &str, snapshot: Option<&str>) -> RbdImage {
        let Ceph { conf, user, pool } = self.ceph.clone();
        let snapshot = snapshot.map(|id| format!("snapshot-{id}"));
        RbdImage { conf, user, pool, image: format!("volume-{volume}"), snapshot }
    }
}

impl Broker {
    /// Runs `rabbitmqctl` as its administrator.
    pub fn control(&self, arguments: &[&str], input: &str) -> Result<String> {
        let script = format!(
            ". '{}'; exec /usr/lib/rabbitmq/bin/rabbitmqctl --quiet \"$@\"",
            self.environment.display()
        );
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            "rabbitmq",
            "--regid",
            "rabbitmq",
            "--init-groups",
            "sh",
            "-c",
            &script,
            "sh",
        ]);
        tool::run(command.args(arguments).current_dir("/"), input)
    }
}

impl Database {
    /// Runs a statement as administrator.
    pub fn run(&self, sql: &str) -> Result<String> {
        let mut command = Command::new("mariadb");
        command.arg("--no-defaults").arg("--socket").arg(&self.socket).args(["--batch", "--execute", sql]);
        tool::run(&mut command, "")
    }

    /// Runs a statement in a database as somebody else.
    pub fn run_as(&self, account: &Account, database: &str, sql: &str) -> Result<String> {
        let mut command = Command::new("mariadb");
        command.arg("--no-defaults").args([
            "--host=127.0.0.1",
            "--protocol=tcp",
            "--batch",
            "--execute",
            sql,
        ]);
        command.arg(format!("--port={}", self.port)).arg(format!("--user={}", account.user)).arg(database);
        command.env("MYSQL_PWD", account.password.expose_secret());
        tool::run(&mut command, "")
    }
}
