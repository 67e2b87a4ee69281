//! `datamover.toml`.

use std::path::PathBuf;
use std::time::Duration;

use model::{HostName, PoolName};
use serde::Deserialize;
use service_kit::config::{BusSection, HealthSection};

/// Shown by `--help`.
pub const EXAMPLE: &str = include_str!("../datamover.example.toml");

/// The config of a datamover.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Our own name, as the cloud calls this compute host.
    pub host: HostName,
    /// Journals of jobs and transfers; survives restarts, belongs to one datamover.
    pub state_dir: PathBuf,
    /// Sockets of disk servers; made with mode 0700. Absent: below `state_dir`.
    pub runtime_dir: Option<PathBuf>,
    #[serde(default = "default_qemu_nbd")]
    pub qemu_nbd: PathBuf,
    /// Keys of the lineages; mode 0600.
    pub key_file: PathBuf,
    /// Of all transfers together; absent: as fast as it goes.
    pub rate_limit_mib_per_s: Option<u32>,
    /// Memory for transfers; more of them wait for their turn.
    #[serde(default = "default_memory_mib")]
    pub memory_mib: u32,
    /// Storage and targets that this host reaches for others.
    #[serde(default)]
    pub pools: Vec<PoolName>,
    pub bus: BusSection,
    pub cloud: CloudSection,
    #[serde(default, rename = "target")]
    pub targets: Vec<TargetSection>,
    #[serde(default)]
    pub timing: TimingSection,
    #[serde(default)]
    pub restore: RestoreSection,
    #[serde(default)]
    pub health: HealthSection,
    /// Faults to inject into the targets; see docs.
    pub drill_file: Option<PathBuf>,
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

/// `[[target]]`: a backup target this host reaches.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSection {
    pub path: PathBuf,
}

/// `[timing]`, in milliseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimingSection {
    pub heartbeat_interval_ms: u64,
    /// The right to write ends so long before the lease.
    pub lease_margin_ms: u64,
    /// Results nobody acknowledged are sent again so often.
    pub resend_ms: u64,
    /// No guest stays frozen longer, whatever a command says.
    pub freeze_duration_max_ms: u64,
}

/// `[restore]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestoreSection {
    /// One slot of so many is read back after a restore; 1: all of them.
    pub read_back_one_of: u64,
}

impl Default for TimingSection {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 15_000,
            lease_margin_ms: 20_000,
            resend_ms: 60_000,
            freeze_duration_max_ms: 20_000,
        }
    }
}

impl Default for RestoreSection {
    fn default() -> Self {
        Self { read_back_one_of: 1 }
    }
}

impl TimingSection {
    /// How often beats are sent.
    #[must_use]
    pub const fn heartbeat_interval(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval_ms)
    }
    /// See `lease_margin_ms`.
    #[must_use]
    pub const fn lease_margin(&self) -> Duration {
        Duration::from_millis(self.lease_margin_ms)
    }
    /// See `resend_ms`.
    #[must_use]
    pub const fn resend(&self) -> Duration {
        Duration::from_millis(self.resend_ms)
    }
    /// See `freeze_duration_max_ms`.
    #[must_use]
    pub const fn freeze_duration_max(&self) -> Duration {
        Duration::from_millis(self.freeze_duration_max_ms)
    }
}

impl Config {
    /// Checks what single keys cannot say.
    ///
    /// Errors: a text that names the key.
    pub fn check(&self) -> Result<(), String> {
        let timing = self.timing;
        for (key, value) in [
            ("timing.heartbeat_interval_ms", timing.heartbeat_interval_ms),
            ("timing.resend_ms", timing.resend_ms),
            ("timing.freeze_duration_max_ms", timing.freeze_duration_max_ms),
            ("restore.read_back_one_of", self.restore.read_back_one_of),
            ("rate_limit_mib_per_s", self.rate_limit_mib_per_s.map_or(1, u64::from)),
        ] {
            if value == 0 {
                return Err(format!("{key} must be at least 1"));
            }
        }
        if u64::from(self.memory_mib) < crate::limits::BACKUP_MEMORY.0 >> 20 {
            return Err(format!("memory_mib must be at least {}", crate::limits::BACKUP_MEMORY.0 >> 20));
        }
        if self.targets.is_empty() {
            return Err("at least one [[target]] is needed".to_owned());
        }
        self.bus.to_bus_config("check").map_err(|error| service_kit::telemetry::Chain(&error).to_string())?;
        Ok(())
    }

    /// Where the sockets of disk servers are.
    #[must_use]
    pub fn runtime_dir(&self) -> PathBuf {
        self.runtime_dir.clone().unwrap_or_else(|| self.state_dir.join("run"))
    }
}

fn default_qemu_nbd() -> PathBuf {
    PathBuf::from("qemu-nbd")
}

const fn default_memory_mib() -> u32 {
    512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_config_parses() {
        let config: Config = toml::from_str(EXAMPLE).unwrap();
        assert_eq!(config.timing.lease_margin(), Duration::from_secs(20));
        assert_eq!(config.cloud.kind, CloudKind::Directory);
    }

    #[test]
    fn a_zero_interval_is_refused_by_its_key() {
        let mut config: Config = toml::from_str(EXAMPLE).unwrap();
        config.timing.heartbeat_interval_ms = 0;
        assert!(config.check().unwrap_err().contains("timing.heartbeat_interval_ms"));
    }
}
