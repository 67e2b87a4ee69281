//! What users of the broker may do, for those who compare it with what they should.

use bus_config::{Permissions, VHOST};
use serde::Deserialize;

use crate::{Admin, Error};

/// The rights of one user on the vhost of Holdfast.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenRights {
    /// `None`: the user may not enter the vhost, or is not there.
    pub permissions: Option<Permissions>,
    /// Exchange, write, read; in order.
    pub topics: Vec<(String, String, String)>,
}

#[derive(Deserialize)]
struct PermissionRow {
    vhost: String,
    configure: String,
    write: String,
    read: String,
}

#[derive(Deserialize)]
struct TopicRow {
    vhost: String,
    exchange: String,
    write: String,
    read: String,
}

impl Admin {
    /// Reads them. Needs an administrator.
    pub async fn rights(&self, user: &str) -> Result<SeenRights, Error> {
        if !self.users().await?.iter().any(|name| name == user) {
            return Ok(SeenRights::default());
        }
        let rows: Vec<PermissionRow> = self.read(&["users", user, "permissions"]).await?;
        let topics: Vec<TopicRow> = self.read(&["users", user, "topic-permissions"]).await?;
        let permissions = rows.into_iter().find(|row| row.vhost == VHOST).map(|row| Permissions {
            configure: row.configure,
            write: row.write,
            read: row.read,
        });
        let topics = topics.into_iter().filter(|row| row.vhost == VHOST);
        let mut topics: Vec<_> = topics.map(|row| (row.exchange, row.write, row.read)).collect();
        topics.sort();
        Ok(SeenRights { permissions, topics })
    }
}
