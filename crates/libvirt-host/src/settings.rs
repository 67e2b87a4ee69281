//! What an operator says of this host, and what is read from the files of Nova and Ceph.

use std::path::{Path, PathBuf};

use ini::{Ini, ParseOption};

use crate::Error;
use crate::ceph::{self, Cluster};
use crate::scratch::Scratch;

/// Where nova-compute's config lies in all distributions.
const NOVA_CONF: &str = "/etc/nova/nova.conf";

/// What a host is told.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Keeps what must outlive the datamover.
    pub state_dir: PathBuf,
    pub libvirt_uri: String,
    /// Nova's `instances_path`; see [`instances_path`].
    pub instances_path: PathBuf,
    pub scratch: Scratch,
    pub clusters: Vec<Cluster>,
}

/// Nova's own `instances_path`, from its config.
///
/// Errors: `Config`: the file cannot be read, or the value refers to another that this crate does not know.
pub fn instances_path(nova_conf: Option<&Path>) -> Result<PathBuf, Error> {
    let path = nova_conf.unwrap_or(Path::new(NOVA_CONF));
    let config = load(path)?;
    let value = |key| config.get_from(Some("DEFAULT"), key);
    let state_path = value("state_path").unwrap_or("/var/lib/nova");
    let instances = value("instances_path").unwrap_or("$state_path/instances");
    let instances = instances.replace("${state_path}", state_path).replace("$state_path", state_path);
    if instances.starts_with('/') && !instances.contains('$') {
        return Ok(instances.into());
    }
    let reason = format!("instances_path is {instances:?}: set cloud.instances_path to what it means");
    Err(Error::Config { path: path.to_owned(), reason })
}

impl Cluster {
    /// A cluster whose monitors are those of its `ceph.conf`.
    ///
    /// Errors: `Config`.
    pub fn from_conf(
        conf: PathBuf,
        user: String,
        pool: String,
        secret_uuid: Option<String>,
    ) -> Result<Self, Error> {
        let config = load(&conf)?;
        let value = |key| config.get_from(Some("global"), key);
        let mon_host = value("mon_host").or_else(|| value("mon host")).unwrap_or_default();
        let (monitors, fsid) = (ceph::monitors_of(mon_host), value("fsid").map(str::to_owned));
        Ok(Self { conf, user, pool, secret_uuid, fsid, monitors })
    }
}

fn load(path: &Path) -> Result<Ini, Error> {
    let options = ParseOption { enabled_escape: false, enabled_quote: false, ..ParseOption::default() };
    let failed = |reason: String| Error::Config { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    Ini::load_from_str_opt(&text, options).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nova.conf");
        std::fs::write(&path, text).unwrap();
        assert_eq!(instances_path(Some(&path)).ok().as_deref(), expected.map(Path::new), "{text}");
    }

    #[test]
    fn instances_lie_where_nova_says() {
        check("[DEFAULT]\nmy_ip = 10.0.0.1\n", Some("/var/lib/nova/instances"));
        check("[DEFAULT]\nstate_path=/srv/nova\n[libvirt]\nvirt_type = kvm\n", Some("/srv/nova/instances"));
        check("[DEFAULT]\n# instances_path = /a\ninstances_path = /b c # no\n", Some("/b c # no"));
        check("[DEFAULT]\ninstances_path = ${state_path}/i\n", Some("/var/lib/nova/i"));
        check("[DEFAULT]\ninstances_path = $other/i\n", None);
    }

    #[test]
    fn the_monitors_of_a_cluster_are_those_of_its_config() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ceph.conf");
        std::fs::write(&path, "[global]\nfsid = 1\nmon_host = [v2:127.0.0.1:3300/0,v1:127.0.0.1:6789/0]\n")
            .unwrap();
        let cluster = Cluster::from_conf(path, "u".to_owned(), "p".to_owned(), None).unwrap();
        assert_eq!(cluster.monitors, ["127.0.0.1:3300", "127.0.0.1:6789"]);
        assert_eq!(cluster.fsid.as_deref(), Some("1"));
        let missing = Cluster::from_conf("/nonexistent".into(), "u".to_owned(), "p".to_owned(), None);
        assert_eq!(missing.unwrap_err().failure().code, "HOST_CONFIG");
    }
}
