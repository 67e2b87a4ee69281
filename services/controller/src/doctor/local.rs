//! What a controller needs before it can start, by its config alone: `--check`.

use std::path::Path;

use backup_target::Owner;
use catalog::Catalog;
use futures::future::join_all;
use model::Check;
use runtime::SystemClock;
use service_kit::checks::{self, SecretCodes};

use super::broker;
use crate::config::Config;
use crate::wiring;

const TOKENS_FILE: SecretCodes =
    SecretCodes { unreadable: "TOKENS_FILE_UNREADABLE", exposed: "TOKENS_FILE_EXPOSED" };

/// Checks it.
pub(crate) async fn check(config: Config) -> Vec<Check> {
    let mut found = Vec::new();
    let tokens_file = config.auth.tokens_file.as_deref();
    found.extend(tokens_file.map(|path| checks::secret_file("tokens file", TOKENS_FILE, path)));
    let targets = config.targets.iter();
    let targets = targets.map(|target| backup_target::examine(&target.path, Owner::of_process()));
    let (bus, topology, database, cloud, targets) = tokio::join!(
        checks::broker(&config.bus, "holdfast-controller"),
        checks::bounded("broker topology", check_topology(&config)),
        check_database(&config.database.url),
        checks::bounded("cloud", wiring::check_cloud(&config)),
        join_all(targets)
    );
    found.extend(bus);
    found.extend(topology);
    found.push(database);
    found.extend(cloud);
    if targets.is_empty() {
        found.push(Check::fail(
            "targets",
            "NO_TARGET",
            "the config has no [[target]]: add one with its path",
        ));
    }
    found.extend(targets.into_iter().map(|examined| examined.check));
    found
}

async fn check_topology(config: &Config) -> Vec<Check> {
    let Some(section) = &config.broker else { return Vec::new() };
    match section.open() {
        Ok(monitor) => broker::examine_base(&monitor).await,
        Err(reason) => vec![Check::fail("broker topology", "CONFIG_INVALID", format!("[broker]: {reason}"))],
    }
}

/// A file belongs to one controller, which may run: only its folder is looked at.
async fn check_database(url: &str) -> Check {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = Path::new(path.trim_start_matches("//").split('?').next().unwrap_or_default());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return checks::writable("database folder", "DATABASE_FOLDER_UNUSABLE", folder);
    }
    let look = async {
        let catalog = Catalog::open(url, SystemClock::shared()).await?;
        let schema = catalog.require_schema().await;
        let place = catalog.place().to_owned();
        catalog.close().await;
        schema.map(|()| place)
    };
    Check::of("database", look.await.map_err(|error| error.failure()))
}
