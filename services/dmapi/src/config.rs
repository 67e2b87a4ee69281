//! `dmapi.toml`.

use std::path::PathBuf;

use model::{PoolName, TargetId};
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
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CloudSection {
    Directory { path: PathBuf },
    Openstack(Box<OpenstackSection>),
}

/// `[cloud]` with `kind = "openstack"`: at least one of `database` and `api`; the database is asked first.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenstackSection {
    /// The pool that reaches every volume and target which no table below names.
    pub default_pool: Option<PoolName>,
    #[serde(default, rename = "backend")]
    pub backends: Vec<BackendRow>,
    #[serde(default, rename = "target")]
    pub targets: Vec<TargetRow>,
    pub database: Option<DatabaseSection>,
    pub api: Option<ApiSection>,
}

/// `[[cloud.backend]]`: which pool reaches a backend of the block storage.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendRow {
    /// `HOST@BACKEND#POOL`; `*` stands for any text.
    pub host_pattern: String,
    pub pool: PoolName,
}

/// `[[cloud.target]]`: which pool reaches a backup target.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetRow {
    pub id: TargetId,
    pub pool: PoolName,
}

/// `[cloud.database]`: URLs are `mysql://HOST[:PORT]/DATABASE`, without user and password.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSection {
    pub user: String,
    /// A file whose first line is the password.
    pub password_file: PathBuf,
    /// Whoever signs the certificates of the servers. With it they must have one.
    pub ca_file: Option<PathBuf>,
    pub nova_api: String,
    /// Without it no volume is placed by the database.
    pub cinder: Option<String>,
    /// What variables in the URLs of cells stand for. Absent: the parts of `nova_api`.
    pub cell_template: Option<String>,
    /// All cells, cell0 too. Absent: they are read from `nova_api`.
    #[serde(default, rename = "cell")]
    pub cells: Vec<CellRow>,
}

/// `[[cloud.database.cell]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellRow {
    /// As `nova-manage cell_v2 list_cells` shows it; the uuid where it has no name.
    pub name: String,
    pub url: String,
}

/// `[cloud.api]`: the service identity, as an entry of a `clouds.yaml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiSection {
    pub clouds_file: PathBuf,
    pub cloud: String,
}

impl Config {
    /// Checks what single keys cannot say: the brokers, the password files, the cloud.
    ///
    /// Errors: a text that names what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let bus = self.bus.to_bus_config("check").map_err(|error| Chain(&error).to_string())?;
        bus.check().map_err(|error| format!("bus.brokers: {error}"))?;
        crate::wiring::check_cloud(&self.cloud)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret_file() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\n").unwrap();
        file
    }

    fn config() -> (Config, tempfile::NamedTempFile) {
        let mut config: Config = toml::from_str(EXAMPLE).unwrap();
        let password = secret_file();
        config.bus.password_file = password.path().to_owned();
        (config, password)
    }

    #[test]
    fn the_example_config_parses() {
        let (config, _password) = config();
        assert!(matches!(config.cloud, CloudSection::Directory { .. }));
        assert_eq!(config.bus.user, bus_config::user::DMAPI);
    }

    #[test]
    fn a_broker_that_is_none_is_named() {
        let (mut config, _password) = config();
        config.bus.brokers = vec!["rabbit:5672".to_owned()];
        let reason = config.check().unwrap_err();
        assert!(reason.contains("bus.brokers") && reason.contains("rabbit:5672"), "{reason}");
    }

    #[test]
    fn the_example_of_an_openstack_parses_and_says_where_to_ask() {
        let (mut config, password) = config();
        let (_, openstack) = EXAMPLE.split_once("# Or an OpenStack:\n").unwrap();
        let openstack = openstack.replace("# ", "").replace('#', "");
        config.cloud =
            toml::from_str::<toml::Table>(&openstack).unwrap()["cloud"].clone().try_into().unwrap();
        let CloudSection::Openstack(section) = &mut config.cloud else { panic!("{openstack}") };
        let database = section.database.as_mut().unwrap();
        database.password_file = password.path().to_owned();
        database.nova_api = "mysql://nova:hunter2@db/nova_api".to_owned();
        section.api = None;
        let reason = config.check().unwrap_err();
        assert!(reason.contains("cloud.database.nova_api") && !reason.contains("hunter2"), "{reason}");
        let CloudSection::Openstack(section) = &mut config.cloud else { panic!("{openstack}") };
        section.database.as_mut().unwrap().nova_api = "mysql://db/nova_api".to_owned();
        config.check().unwrap();
        let CloudSection::Openstack(section) = &mut config.cloud else { panic!("{openstack}") };
        section.database = None;
        let reason = config.check().unwrap_err();
        assert!(reason.contains("[cloud.database]") && reason.contains("[cloud.api]"), "{reason}");
    }
}
