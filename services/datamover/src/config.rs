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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CloudSection {
    Directory { path: PathBuf },
    Openstack(OpenstackSection),
}

/// `[cloud]` of a compute host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenstackSection {
    #[serde(default = "default_libvirt_uri")]
    pub libvirt_uri: String,
    /// Absent: as `nova_conf` says.
    pub instances_path: Option<PathBuf>,
    /// Absent: `/etc/nova/nova.conf`.
    pub nova_conf: Option<PathBuf>,
    /// Where the hypervisor puts old blocks while running disks are read.
    #[serde(default = "default_scratch_dir")]
    pub scratch_dir: PathBuf,
    /// What all cuts together may use of it; absent: what the file system has.
    pub scratch_max_mib: Option<u32>,
    /// What must be free before a cut; absent: 2 GiB, or a tenth of the disks if that is more.
    pub scratch_free_min_mib: Option<u32>,
    #[serde(default)]
    pub ceph: Vec<CephSection>,
    /// Absent: volumes that are reached by an attachment only are refused.
    pub brick: Option<Box<BrickSection>>,
}

/// `[[cloud.ceph]]`: a cluster of volumes that this host reaches.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CephSection {
    /// Names the monitors, by which the volumes of an instance are known to lie here, and the user's keyring.
    pub conf: PathBuf,
    /// Without `client.`.
    pub user: String,
    #[serde(default = "default_ceph_pool")]
    pub pool: String,
    /// Cinder's `rbd_secret_uuid`: tells clusters apart whose monitors have the same addresses.
    pub secret_uuid: Option<String>,
}

/// `[cloud.brick]`: the helper that connects what Cinder attached to this host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrickSection {
    /// The program, perhaps behind `sudo -n`.
    pub command: Vec<String>,
    /// How os-brick becomes root where the program is not; absent: `sudo`.
    pub root_helper: Option<String>,
    /// Of this host, in the storage network.
    pub my_ip: Option<String>,
    /// Nova's `oslo_concurrency.lock_path`; absent: `/var/lock/nova`.
    pub lock_path: Option<String>,
    /// As Nova's `libvirt.volume_use_multipath`.
    #[serde(default)]
    pub multipath: bool,
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
        if let CloudSection::Openstack(OpenstackSection { scratch_free_min_mib: Some(0), .. }) = self.cloud {
            return Err("cloud.scratch_free_min_mib must be at least 1".to_owned());
        }
        if let CloudSection::Openstack(OpenstackSection { brick: Some(brick), .. }) = &self.cloud
            && brick.command.first().is_none_or(String::is_empty)
        {
            return Err("cloud.brick.command must name a program".to_owned());
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

fn default_libvirt_uri() -> String {
    "qemu:///system".to_owned()
}

/// Not below the hypervisor's own folder, which Debian closes to all others.
fn default_scratch_dir() -> PathBuf {
    PathBuf::from("/var/lib/holdfast-scratch")
}

fn default_ceph_pool() -> String {
    "volumes".to_owned()
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
        assert!(matches!(config.cloud, CloudSection::Directory { .. }));
    }

    /// The example with another `[cloud]`.
    fn parse_with_cloud(cloud: &str) -> Result<Config, toml::de::Error> {
        let old = "kind = \"directory\"\npath = \"/srv/holdfast/cloud\"\n";
        assert!(EXAMPLE.contains(old));
        toml::from_str(&EXAMPLE.replace(old, cloud))
    }

    #[test]
    fn a_compute_host_needs_its_kind_only_and_knows_several_clusters() {
        let config = parse_with_cloud("kind = \"openstack\"\n").unwrap();
        let CloudSection::Openstack(section) = &config.cloud else { panic!("{config:?}") };
        assert_eq!((section.libvirt_uri.as_str(), section.ceph.len()), ("qemu:///system", 0));
        let cluster = "[[cloud.ceph]]\nconf = \"/etc/ceph/b.conf\"\nuser = \"holdfast\"\n";
        let config = parse_with_cloud(&format!("kind = \"openstack\"\n{cluster}{cluster}")).unwrap();
        let CloudSection::Openstack(section) = &config.cloud else { panic!("{config:?}") };
        assert_eq!((section.ceph.len(), section.ceph[0].pool.as_str()), (2, "volumes"));
    }

    #[test]
    fn a_key_of_another_kind_of_cloud_is_refused() {
        for cloud in
            ["kind = \"openstack\"\npath = \"/srv\"\n", "kind = \"directory\"\n", "kind = \"vmware\"\n"]
        {
            parse_with_cloud(cloud).unwrap_err();
        }
    }

    #[test]
    fn a_zero_interval_is_refused_by_its_key() {
        let mut config: Config = toml::from_str(EXAMPLE).unwrap();
        config.timing.heartbeat_interval_ms = 0;
        assert!(config.check().unwrap_err().contains("timing.heartbeat_interval_ms"));
    }
}
