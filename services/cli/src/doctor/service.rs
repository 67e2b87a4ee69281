//! What a service on this machine needs, by its own config file. Only the keys that are checked are read here; the
//! service itself refuses unknown ones (`--check-config`).

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Check, local};

/// `[bus]` of any service.
#[derive(Debug, Deserialize)]
pub(super) struct Bus {
    pub(super) brokers: Vec<String>,
    #[serde(default = "default_vhost")]
    pub(super) vhost: String,
    pub(super) user: String,
    pub(super) password_file: PathBuf,
}

fn default_vhost() -> String {
    "holdfast".to_owned()
}

#[derive(Debug, Deserialize)]
struct Controller {
    bus: Bus,
    database: Database,
    auth: Auth,
    cloud: CloudFolder,
    #[serde(default, rename = "target")]
    targets: Vec<Folder>,
}

#[derive(Debug, Deserialize)]
struct Datamover {
    bus: Bus,
    cloud: CloudFolder,
    state_dir: PathBuf,
    #[serde(default = "default_qemu_nbd")]
    qemu_nbd: PathBuf,
    key_file: PathBuf,
    #[serde(default, rename = "target")]
    targets: Vec<Folder>,
}

fn default_qemu_nbd() -> PathBuf {
    PathBuf::from("qemu-nbd")
}

#[derive(Debug, Deserialize)]
struct Database {
    url: String,
}

#[derive(Debug, Deserialize)]
struct Auth {
    /// Absent where a cloud vouches for users.
    tokens_file: Option<PathBuf>,
}

/// `[cloud]`.
#[derive(Debug, Deserialize)]
struct CloudFolder {
    /// Absent where the cloud is none of a folder.
    path: Option<PathBuf>,
}

/// `[[target]]`.
#[derive(Debug, Deserialize)]
struct Folder {
    path: PathBuf,
}

impl CloudFolder {
    fn check(&self) -> Option<Check> {
        let path = self.path.as_deref()?;
        Some(local::check_folder("cloud", "CLOUD_FOLDER_UNUSABLE", path))
    }
}

/// Checks what a controller needs.
pub(super) async fn check_controller(path: &Path) -> Vec<Check> {
    let config: Controller = match load(path) {
        Ok(config) => config,
        Err(check) => return vec![check],
    };
    let mut checks = vec![Check::ok("controller config", path.display().to_string())];
    let tokens_file = config.auth.tokens_file.as_deref();
    checks.extend(tokens_file.map(|path| local::check_secret_file("tokens file", local::TOKENS_FILE, path)));
    checks.extend(local::check_broker(&config.bus).await);
    checks.push(local::check_database(&config.database.url).await);
    checks.extend(config.cloud.check());
    checks.extend(check_targets(&config.targets).await);
    checks
}

/// Checks what a datamover needs.
pub(super) async fn check_datamover(path: &Path) -> Vec<Check> {
    let config: Datamover = match load(path) {
        Ok(config) => config,
        Err(check) => return vec![check],
    };
    let mut checks = vec![Check::ok("datamover config", path.display().to_string())];
    checks.push(local::check_qemu_nbd(&config.qemu_nbd).await);
    checks.push(local::check_key_file(&config.key_file));
    checks.push(local::check_writable("state folder", "STATE_FOLDER_UNUSABLE", &config.state_dir));
    checks.extend(local::check_broker(&config.bus).await);
    checks.extend(config.cloud.check());
    checks.extend(check_targets(&config.targets).await);
    checks
}

async fn check_targets(targets: &[Folder]) -> Vec<Check> {
    if targets.is_empty() {
        return vec![Check::fail(
            "targets",
            "NO_TARGET",
            "the config has no [[target]]: add one with its path",
        )];
    }
    let mut checks = Vec::new();
    for target in targets {
        checks.push(local::check_target(&target.path).await);
    }
    checks
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<T, Check> {
    let fail =
        |reason: String| Check::fail("config", "CONFIG_INVALID", format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    toml::from_str(&text).map_err(|error| {
        // The whole error quotes the line, which may hold a password.
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        fail(format!("line {line}: {}", error.message()))
    })
}
