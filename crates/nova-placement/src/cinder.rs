//! Cinder's database: on which backend a volume lies.

use model::VolumeId;
use sqlx::Row as _;

use crate::address::DatabaseUrl;
use crate::database::{Account, ReadOnly};
use crate::error::Error;
use crate::source::VolumeState;

const FIND_VOLUME: &str = "SELECT host, deleted FROM volumes WHERE id = ?";

/// Cinder's database.
#[derive(Debug)]
pub(crate) struct Cinder {
    database: ReadOnly,
}

impl Cinder {
    pub(crate) fn new(url: &DatabaseUrl, account: &Account) -> Self {
        Self { database: ReadOnly::new("the database of Cinder", url, account) }
    }

    /// What it says of a volume; None: it was deleted, or never was.
    pub(crate) async fn volume(&self, id: VolumeId) -> Result<Option<VolumeState>, Error> {
        let Some(row) = self.database.find(FIND_VOLUME, &id.to_string()).await? else { return Ok(None) };
        let read = || -> Result<_, sqlx::Error> {
            let is_deleted = row.try_get::<Option<bool>, _>("deleted")?.unwrap_or(false);
            Ok((!is_deleted).then_some(VolumeState { host: row.try_get("host")? }))
        };
        read().map_err(|error| self.database.error(&error))
    }
}
