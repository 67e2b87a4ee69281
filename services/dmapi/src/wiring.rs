//! Puts the service together. The only place that knows the driver.

use std::sync::Arc;

use bus::{AcceptFrom, Consume, Session};
use bus_config::{queue, user};
use cloud::Placement;
use directory_cloud::{DirectoryPlacement, fault_table};
use model::Check;
use nova_placement::{
    Account, Cells, DatabaseUrl, Databases, Grants, InvalidUrl, OpenstackPlacement, Pools, Rule, Settings,
};
use service_kit::actors::{BusSession, Consuming, QueueConsumer};
use service_kit::telemetry::Chain;
use service_kit::{Service, StartError, checks};

use crate::beat_sender;
use crate::config::{CloudSection, Config, DatabaseSection, OpenstackSection};
use crate::forward::Placer;

/// Each waits for the cloud and for two confirms, about 10 ms in all: 16 at once place a thousand commands a second.
const CONCURRENCY: usize = 16;
/// Twice the concurrency: the next is here when one ends.
const PREFETCH: u16 = 32;

/// Starts session, consumer and health; returns when they run.
///
/// Errors: the cloud or the password file cannot be read; the brokers' addresses make no sense.
pub async fn start(service: Service, config: Config) -> Result<(), StartError> {
    let cloud = open_cloud(&config.cloud)?;
    let bus = config
        .bus
        .to_bus_config(service.name())
        .map_err(|error| StartError::usage(Chain(&error).to_string()))?;
    let session = Session::start(bus).map_err(|error| StartError::usage(Chain(&error).to_string()))?;
    BusSession::start(&service, &session);
    let consume = Consume {
        queue: queue::DMAPI.to_owned(),
        prefetch: PREFETCH,
        accept_from: AcceptFrom::users([user::CONTROLLER]),
    };
    let consuming = Consuming { actor: "placer".to_owned(), consume, concurrency: CONCURRENCY };
    let placer = Placer::new(cloud, session.clone(), config.clone());
    QueueConsumer::start(&service, &session, consuming, Arc::new(placer));
    beat_sender::start(&service, &session);
    service.health().serve(&config.health)?;
    Ok(())
}

fn open_cloud(config: &CloudSection) -> Result<Arc<dyn Placement>, StartError> {
    match config {
        CloudSection::Directory { path } => {
            let placement = DirectoryPlacement::open(path, fault_table(path))
                .map_err(|error| StartError::usage(Chain(&error).to_string()))?;
            Ok(Arc::new(placement))
        }
        CloudSection::Openstack(section) => {
            let settings = openstack_settings(section).map_err(StartError::usage)?;
            let placement = OpenstackPlacement::new(settings)
                .map_err(|error| StartError::usage(format!("cloud.api: {}", Chain(&error))))?;
            Ok(Arc::new(placement))
        }
    }
}

/// Looks at the sources of the cloud.
pub(crate) async fn examine_cloud(config: &CloudSection) -> Vec<Check> {
    match config {
        CloudSection::Directory { path } => vec![checks::folder("cloud", "CLOUD_FOLDER_UNUSABLE", path)],
        CloudSection::Openstack(section) => match openstack_settings(section) {
            Ok(settings) => nova_placement::examine(&settings).await,
            Err(reason) => vec![Check::fail("cloud", "CONFIG_INVALID", reason)],
        },
    }
}

/// Checks what is said of the cloud, without asking it.
pub(crate) fn check_cloud(config: &CloudSection) -> Result<(), String> {
    match config {
        CloudSection::Directory { .. } => Ok(()),
        CloudSection::Openstack(section) => openstack_settings(section).map(drop),
    }
}

/// The statements that give the user of `[cloud.database]` its rights.
///
/// Errors: a text; there is no such user.
pub fn grants(config: &CloudSection) -> Result<String, String> {
    let database = match config {
        CloudSection::Openstack(section) => section.database.as_ref(),
        CloudSection::Directory { .. } => None,
    };
    let none = "there is no [cloud.database]: no database is read, and no rights are needed";
    Ok(Grants(&databases(database.ok_or(none)?)?).to_sql())
}

fn openstack_settings(section: &OpenstackSection) -> Result<Settings, String> {
    if section.database.is_none() && section.api.is_none() {
        return Err(
            "cloud: there is neither [cloud.database] nor [cloud.api]: nobody can be asked".to_owned()
        );
    }
    let backends = section.backends.iter();
    let pools = Pools {
        backends: backends
            .map(|row| Rule { host_pattern: row.host_pattern.clone(), pool: row.pool.clone() })
            .collect(),
        targets: section.targets.iter().map(|row| (row.id, row.pool.clone())).collect(),
        default: section.default_pool.clone(),
    };
    let api =
        section.api.as_ref().map(|api| openstack::Config::from_clouds_yaml(&api.clouds_file, &api.cloud));
    let api = api.transpose().map_err(|error| format!("cloud.api: {}", Chain(&error)))?;
    Ok(Settings { databases: section.database.as_ref().map(databases).transpose()?, api, pools })
}

fn databases(section: &DatabaseSection) -> Result<Databases, String> {
    let password = service_kit::config::read_secret(&section.password_file);
    let password = password.map_err(|error| format!("cloud.database: {}", Chain(&error)))?;
    let nova_api = database_url("nova_api", &section.nova_api)?;
    let cells = if section.cells.is_empty() {
        let template = section.cell_template.as_deref().map(|text| database_url("cell_template", text));
        Cells::Read { template: template.transpose()?.unwrap_or_else(|| nova_api.clone()) }
    } else {
        let listed = section.cells.iter().map(|row| Ok((row.name.clone(), database_url("cell", &row.url)?)));
        Cells::Listed(listed.collect::<Result<_, String>>()?)
    };
    Ok(Databases {
        nova_api,
        cells,
        cinder: section.cinder.as_deref().map(|text| database_url("cinder", text)).transpose()?,
        account: Account { user: section.user.clone(), password, ca_file: section.ca_file.clone() },
    })
}

fn database_url(key: &str, text: &str) -> Result<DatabaseUrl, String> {
    text.parse().map_err(|error: InvalidUrl| format!("cloud.database.{key}: {error}"))
}
