//! Backup targets as this controller sees them.

use std::time::Duration;

use tokio::time::timeout;

use super::Error;
use crate::state::{AppState, Space, TargetInfo};

/// A share that does not answer holds its thread; the user is told meanwhile.
const SPACE_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// A target and its room.
#[derive(Debug, Clone)]
pub struct Parts {
    pub info: TargetInfo,
    /// Why it cannot be used, instead of its room.
    pub space: Result<Space, String>,
}

/// Lists the targets of the configuration.
pub async fn list(state: &AppState) -> Result<Vec<Parts>, Error> {
    let looks =
        state.targets.iter().map(|info| async move { Parts { info: info.clone(), space: look(info).await } });
    Ok(futures::future::join_all(looks).await)
}

async fn look(info: &TargetInfo) -> Result<Space, String> {
    let info = info.clone();
    let task = tokio::task::spawn_blocking(move || match info.path.join("repo.json").try_exists() {
        Ok(true) => info.space().map_err(|error| error.to_string()),
        Ok(false) => Err("its repo.json is not there: is it mounted?".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    match timeout(SPACE_TIMEOUT_MAX, task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Err(format!("looking at it broke: {error}")),
        Err(_) => Err(format!(
            "it does not answer within {} s: look at its server and network",
            SPACE_TIMEOUT_MAX.as_secs()
        )),
    }
}
