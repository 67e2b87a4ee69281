//! A private MariaDB server.
//!
//! Own data, socket, port and passwords, and no option files: the system's server, if there is one, is never touched.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use runtime::Entropy;
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::certificates::Certificates;
use crate::port::free_port;
use crate::process::Supervised;

/// `/usr/sbin` is in few users' PATH.
const PLACES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
const USER: &str = "holdfast";

/// Both need about a second of a free core; a busy machine takes longer.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(60);
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Another process may take a port between our look and its use.
const START_ATTEMPTS: u32 = 3;
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A MariaDB server of one's own; stopped when dropped.
#[derive(Debug)]
pub struct MariaDb {
    // Dropped in this order: the server, the files.
    server: Option<Supervised>,
    home: Home,
    _temporary: Option<TempDir>,
}

impl MariaDb {
    /// Starts a server in a temporary directory.
    ///
    /// Errors: MariaDB is not installed (names the package), or it did not come up in time (gives its log's end).
    pub async fn start() -> anyhow::Result<Self> {
        // In memory where there is such a place: making tables waits for the disk a thousand times, and nothing here is
        // to outlive the machine.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let temporary = tempfile::Builder::new().prefix("holdfast-mariadb-").tempdir_in(place)?;
        let mut server = Self::start_in(temporary.path()).await?;
        server._temporary = Some(temporary);
        Ok(server)
    }

    /// A server that all tests of a process use together: started by the first, stopped when the last lets go. Tests
    /// keep apart by databases of their own.
    ///
    /// Errors: as `start`.
    pub async fn shared() -> anyhow::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<MariaDb>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(Self::start().await?);
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    /// Starts a server in `dir`, which stays. Databases that an earlier server made there are kept; the password is new.
    /// With the files of [`Certificates::write`](crate::Certificates::write) in `dir` it offers TLS.
    ///
    /// Errors: as `start`.
    pub async fn start_in(dir: &Path) -> anyhow::Result<Self> {
        let mut last = None;
        for _ in 0..START_ATTEMPTS {
            let mut server = Self { server: None, home: Home::make(dir).await?, _temporary: None };
            match server.resume().await {
                Ok(()) => return Ok(server),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there was an attempt"))
    }

    /// Makes an empty database; gives its `mysql://…` URL, with the password.
    pub async fn create_database(&self) -> anyhow::Result<String> {
        let name = format!("holdfast_{}", Entropy.uuid().simple());
        self.home.run(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).await?;
        let Home { port, password, .. } = &self.home;
        Ok(format!("mysql://{USER}:{}@127.0.0.1:{port}/{name}", password.expose_secret()))
    }

    /// Runs statements as administrator: what a test does behind a program's back.
    pub async fn run(&self, sql: &str) -> anyhow::Result<String> {
        self.home.run(sql).await
    }

    /// The process group of the server, while it runs.
    #[must_use]
    pub fn process_group(&self) -> Option<i32> {
        self.server.as_ref().map(Supervised::group)
    }

    /// Kills the server (SIGKILL): connections break, what was committed stays.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(mut server) => tokio::task::spawn_blocking(move || server.kill()).await?,
            None => Ok(()),
        }
    }

    /// Starts the server again after [`Self::kill`], on the same port and with the same password.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        self.server = Some(self.home.spawn()?);
        let waited = timeout(START_TIMEOUT, async {
            loop {
                if let Some(server) = &mut self.server
                    && let Some(status) = server.ended()?
                {
                    bail!("mariadbd ended at its start ({status})");
                }
                // The port opens after the init file ran; the statement proves that the password is the new one.
                if TcpStream::connect((Ipv4Addr::LOCALHOST, self.home.port)).is_ok()
                    && self.home.run("SELECT 1").await.is_ok()
                {
                    return Ok(());
                }
                sleep(POLL_INTERVAL).await;
            }
        });
        let outcome = waited.await.unwrap_or_else(|_| bail!("mariadbd did not come up in {START_TIMEOUT:?}"));
        outcome.with_context(|| format!("its log ends with:\n{}", self.home.log_end()))
    }
}

/// Files and settings of a server.
#[derive(Debug)]
struct Home {
    dir: PathBuf,
    server: PathBuf,
    client: PathBuf,
    port: u16,
    password: SecretString,
}

impl Home {
    /// Makes the data directory (unless it is there) and a new password.
    async fn make(dir: &Path) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir)?;
        let installer = find("mariadb-install-db")?;
        let home = Self {
            server: find("mariadbd")?,
            client: find("mariadb")?,
            port: free_port()?,
            password: SecretString::from(make_password()),
            dir,
        };
        std::fs::create_dir_all(home.dir.join("tmp"))?;
        if !home.data().join("mysql").try_exists()? {
            home.install(&installer).await?;
        }
        home.write_init_file()?;
        Ok(home)
    }

    async fn install(&self, installer: &Path) -> anyhow::Result<()> {
        // As root, --user would make the script change owners in the system's plugin directory.
        let mut command = Command::new(installer);
        command
            .arg("--no-defaults")
            .arg("--basedir=/usr")
            .arg(format!("--datadir={}", self.data().display()));
        command.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"]);
        command
            .arg("--innodb-log-file-size=16M")
            .arg(self.tmpdir_argument())
            .env("PATH", PLACES.join(":") + ":/bin:/sbin");
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(INSTALL_TIMEOUT, command.output()).await;
        let output =
            output.with_context(|| format!("mariadb-install-db did not end in {INSTALL_TIMEOUT:?}"))??;
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "mariadb-install-db failed ({}): {text}", output.status);
        Ok(())
    }

    /// Statements that the server runs before it opens its port.
    fn write_init_file(&self) -> anyhow::Result<()> {
        let password = self.password.expose_secret();
        let text = format!(
            "ALTER USER root@localhost IDENTIFIED BY '{password}';\n\
             CREATE USER IF NOT EXISTS {USER}@'127.0.0.1';\n\
             ALTER USER {USER}@'127.0.0.1' IDENTIFIED BY '{password}';\n\
             GRANT ALL ON `holdfast\\_%`.* TO {USER}@'127.0.0.1';\n"
        );
        write_secret(&self.init_file(), &text)?;
        let text = format!("[client]\nuser=root\npassword={password}\n");
        write_secret(&self.client_file(), &text)
    }

    fn spawn(&self) -> anyhow::Result<Supervised> {
        let mut command = std::process::Command::new(&self.server);
        command.arg("--no-defaults").arg("--basedir=/usr");
        command.arg(format!("--datadir={}", self.data().display()));
        command.arg(format!("--socket={}", self.socket().display()));
        command.arg(self.tmpdir_argument());
        command.arg(format!("--pid-file={}", self.dir.join("pid").display()));
        command.arg(format!("--init-file={}", self.init_file().display()));
        command.arg(format!("--port={}", self.port)).arg("--bind-address=127.0.0.1");
        // Small, and as durable as a site's: a commit is on the disk.
        command.args(["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M", "--key-buffer-size=1M"]);
        command.args(["--innodb-flush-log-at-trx-commit=1", "--performance-schema=OFF", "--skip-log-bin"]);
        command.args(["--skip-name-resolve", "--max-connections=200", "--table-open-cache=200"]);
        let [certificate, key] =
            [Certificates::SERVER, Certificates::SERVER_KEY].map(|name| self.dir.join(name));
        if key.try_exists()? {
            command.arg(format!("--ssl-cert={}", certificate.display()));
            command.arg(format!("--ssl-key={}", key.display()));
        }
        if rustix::process::geteuid().is_root() {
            command.arg("--user=root");
        }
        command.current_dir(&self.dir).env("PATH", PLACES.join(":") + ":/bin:/sbin");
        Supervised::spawn("mariadbd", &command, &self.log())
    }

    async fn run(&self, sql: &str) -> anyhow::Result<String> {
        let mut command = Command::new(&self.client);
        command.arg(format!("--defaults-file={}", self.client_file().display()));
        command.arg(format!("--socket={}", self.socket().display()));
        command
            .args(["--batch", "--skip-column-names", "--connect-timeout=5"])
            .arg(format!("--execute={sql}"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(STATEMENT_TIMEOUT, command.output()).await;
        let output = output.with_context(|| format!("mariadb did not end in {STATEMENT_TIMEOUT:?}"))??;
        ensure!(
            output.status.success(),
            "mariadb failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
    /// A starting server removes what looks like its temporary tables: in the system's folder also those of others.
    fn tmpdir_argument(&self) -> String {
        format!("--tmpdir={}", self.dir.join("tmp").display())
    }
    fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }
    fn init_file(&self) -> PathBuf {
        self.dir.join("init.sql")
    }
    fn client_file(&self) -> PathBuf {
        self.dir.join("client.cnf")
    }
    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn log_end(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// Where the program lies.
fn find(program: &str) -> anyhow::Result<PathBuf> {
    for place in PLACES {
        let path = Path::new(place).join(program);
        if path.try_exists()? {
            return Ok(path);
        }
    }
    bail!("{program} is not installed: apt-get install mariadb-server (looked in {})", PLACES.join(", "))
}

/// Letters and digits only: it stands in SQL and in URLs.
fn make_password() -> String {
    Entropy.key().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let options = std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path);
    let mut file = options.with_context(|| format!("failed to write {}", path.display()))?;
    Ok(file.write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = find("no-such-program-of-mariadb").unwrap_err().to_string();
        assert!(error.contains("no-such-program-of-mariadb") && error.contains("mariadb-server"), "{error}");
    }
}
