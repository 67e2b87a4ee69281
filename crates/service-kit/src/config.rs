//! Config files. What a file says wrongly is named by file, line and key; what a secret file holds is never named.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A config that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The text of `toml` names line, column and key, and shows the line.
    #[error("{} is not a valid config: {reason}", path.display())]
    Parse { path: PathBuf, reason: String },
    #[error("the password file {} is empty", path.display())]
    EmptyPassword { path: PathBuf },
}

/// `[bus]`: how to reach the broker.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusSection {
    /// For example `["amqp://rabbit1:5672", "amqps://rabbit2:5671"]`, without user and password.
    pub brokers: Vec<String>,
    #[serde(default = "default_vhost")]
    pub vhost: String,
    pub user: String,
    /// A file whose first line is the password.
    pub password_file: PathBuf,
}

/// `[health]`: where to answer `GET /health`. Absent: nowhere.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthSection {
    /// Port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// Where the address that was taken is written.
    pub address_file: Option<PathBuf>,
}

/// Reads a config file.
///
/// Errors: `Read`; `Parse` with line and key.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Reads a secret: the first line of a file.
///
/// Errors: `Read`, `EmptyPassword`; none of them shows what the file holds.
pub fn read_secret(path: &Path) -> Result<SecretString, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    match text.lines().next().map(str::trim) {
        None | Some("") => Err(ConfigError::EmptyPassword { path: path.to_owned() }),
        Some(secret) => Ok(SecretString::from(secret.to_owned())),
    }
}

impl BusSection {
    /// Makes the config of a session; `connection_name` is what operators see at the broker.
    ///
    /// Errors: the password file cannot be read or is empty.
    pub fn to_bus_config(&self, connection_name: &str) -> Result<bus::BusConfig, ConfigError> {
        Ok(bus::BusConfig {
            brokers: self.brokers.clone(),
            vhost: self.vhost.clone(),
            user: self.user.clone(),
            password: read_secret(&self.password_file)?,
            connection_name: connection_name.to_owned(),
        })
    }
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text)
        .map_err(|error| ConfigError::Parse { path: path.to_owned(), reason: error.to_string() })
}

fn default_vhost() -> String {
    "holdfast".to_owned()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[allow(dead_code)]
        bus: BusSection,
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &[&str]) {
        let error = parse::<Example>(Path::new("mover.toml"), text).unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_file_and_line() {
        check_refused(
            "[bus]\nbrokers = []\nuser = \"u\"\npassword_file = \"/p\"\npasswrod = 1\n",
            &["mover.toml", "line 5", "passwrod"],
        );
    }

    #[test]
    fn a_missing_key_and_a_wrong_type_are_named() {
        check_refused("[bus]\nbrokers = []\n", &["mover.toml", "line 1", "user"]);
        check_refused("[bus]\nbrokers = 5\nuser = \"u\"\npassword_file = \"/p\"\n", &["line 2", "brokers"]);
    }

    #[test]
    fn a_secret_is_the_first_line_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "  hunter2 \nsecond\n").unwrap();
        let secret = read_secret(&path).unwrap();
        assert_eq!(secret.expose_secret(), "hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(read_secret(&path), Err(ConfigError::EmptyPassword { .. })));
    }
}
