//! `dmapi.toml`.

use std::path::PathBuf;

use serde::Deserialize;
use service_kit::config::{BusSection, HealthSection};
use service_kit::telemetry::Chain;

/// Shown by `--help`.
pub const EXAMPLE: &str = include_str!("../dmapi.example.toml");

/// The config of dmapi.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub bus: BusSection,
    pub cloud: CloudSection,
    #[serde(default)]
    pub health: HealthSection,
}

/// `[cloud]`: which driver, and where.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudSection {
    pub kind: CloudKind,
    pub path: PathBuf,
}

/// The drivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloudKind {
    Directory,
}

impl Config {
    /// Checks what single keys cannot say: the brokers, and the password file.
    ///
    /// Errors: a text that names what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let bus = self.bus.to_bus_config("check").map_err(|error| Chain(&error).to_string())?;
        bus.check().map_err(|error| format!("bus.brokers: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_config_parses() {
        let config: Config = toml::from_str(EXAMPLE).unwrap();
        assert_eq!(config.cloud.kind, CloudKind::Directory);
        assert_eq!(config.bus.user, bus_config::user::DMAPI);
    }

    #[test]
    fn a_broker_that_is_none_is_named() {
        let mut config: Config = toml::from_str(EXAMPLE).unwrap();
        let password = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(password.path(), "secret\n").unwrap();
        config.bus.password_file = password.path().to_owned();
        config.check().unwrap();
        config.bus.brokers = vec!["rabbit:5672".to_owned()];
        let reason = config.check().unwrap_err();
        assert!(reason.contains("bus.brokers") && reason.contains("rabbit:5672"), "{reason}");
    }
}
