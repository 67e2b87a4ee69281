//! Services and their last sign of life, one row for each kind and host: any controller may hear it, all show it.

use model::{HostName, PoolName, Timestamp};

use crate::error::{Error, Result};
use crate::statement::statements;
use crate::tx::Tx;
use crate::value::{Row, values};
use crate::words::ServiceKind;

/// One row of `service`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRow {
    pub kind: ServiceKind,
    pub host: HostName,
    /// New at each start of the process.
    pub boot_id: String,
    pub version: Option<String>,
    pub pools: Vec<PoolName>,
    /// Absent: it did not say yet.
    pub capabilities: Option<Vec<String>>,
    /// When this start of it was first heard of.
    pub started_at: Timestamp,
    pub seen_at: Timestamp,
}

/// A service that says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSign {
    pub kind: ServiceKind,
    pub host: HostName,
    pub boot_id: String,
    pub version: Option<String>,
    pub pools: Vec<PoolName>,
    /// Words without blanks.
    pub capabilities: Option<Vec<String>>,
}

statements! {
    // MariaDB assigns from left to right: `started_at` compares with the boot that was.
    UPDATE_SERVICE = "UPDATE service SET started_at = CASE WHEN boot_id = ? THEN started_at ELSE ? END, boot_id = ?, version = ?, pools = ?, capabilities = ?, seen_at = ? WHERE kind = ? AND host = ?";
    INSERT_SERVICE = "INSERT INTO service (kind, host, boot_id, version, pools, capabilities, started_at, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    SEE_SERVICE = "UPDATE service SET seen_at = ? WHERE kind = ? AND host = ?";
    LIST_SERVICES = "SELECT kind, host, boot_id, version, pools, capabilities, started_at, seen_at FROM service ORDER BY kind, host";
    FORGET_SERVICES = "DELETE FROM service WHERE seen_at < ?";
}

impl Tx {
    /// Notes a service with all it says of itself; it is seen now.
    pub async fn upsert_service(&mut self, sign: &ServiceSign) -> Result<()> {
        let now = self.now();
        let (pools, capabilities) = sign.lists();
        let (boot_id, version) = (sign.boot_id.as_str(), sign.version.as_deref());
        let update = values![
            boot_id,
            now,
            boot_id,
            version,
            &pools,
            capabilities.as_deref(),
            now,
            sign.kind,
            &sign.host
        ];
        if self.swap(&UPDATE_SERVICE, update.clone()).await? {
            return Ok(());
        }
        self.insert_service(sign).await?;
        // A first heartbeat may have come between the two, and says less.
        self.swap(&UPDATE_SERVICE, update).await.map(drop)
    }

    /// Notes a service of which nothing is known; where something is, that stays.
    pub async fn insert_service(&mut self, sign: &ServiceSign) -> Result<()> {
        let now = self.now();
        let (pools, capabilities) = sign.lists();
        let (boot_id, version) = (sign.boot_id.as_str(), sign.version.as_deref());
        let insert =
            values![sign.kind, &sign.host, boot_id, version, &pools, capabilities.as_deref(), now, now];
        match self.execute(&INSERT_SERVICE, insert).await {
            // Another controller heard it too.
            Ok(_) | Err(Error::Duplicate { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Notes that a service is seen now; false when it is not known.
    pub async fn see_service(&mut self, kind: ServiceKind, host: &HostName) -> Result<bool> {
        let now = self.now();
        self.swap(&SEE_SERVICE, values![now, kind, host]).await
    }

    /// Shape: by kind and host.
    pub async fn list_services(&mut self) -> Result<Vec<ServiceRow>> {
        self.fetch_all(&LIST_SERVICES, values![]).await?.iter().map(ServiceRow::read).collect()
    }

    /// Forgets what was not seen since; gives how many.
    pub async fn forget_services(&mut self, not_seen_since: Timestamp) -> Result<u64> {
        self.execute(&FORGET_SERVICES, values![not_seen_since]).await
    }
}

impl ServiceSign {
    /// Pools and capabilities as the columns have them.
    fn lists(&self) -> (String, Option<String>) {
        (join(&self.pools), self.capabilities.as_ref().map(|words| words.join(" ")))
    }
}

impl ServiceRow {
    /// Whether it may be sent this command: it announced it, or did not say yet what it can do.
    #[must_use]
    pub fn can(&self, verb: &str) -> bool {
        self.capabilities.as_ref().is_none_or(|known| known.iter().any(|word| word == verb))
    }

    fn read(row: &Row) -> Result<Self> {
        let pools = row.text("pools")?;
        let pools = pools.split_whitespace().map(|pool| {
            pool.parse().map_err(|error: model::InvalidId| Error::Decode {
                statement: row.statement,
                column: "pools",
                reason: error.to_string(),
            })
        });
        Ok(Self {
            kind: row.parse("kind")?,
            host: row.parse("host")?,
            boot_id: row.text("boot_id")?,
            version: row.text_opt("version")?,
            pools: pools.collect::<Result<_>>()?,
            capabilities: row
                .text_opt("capabilities")?
                .map(|words| words.split_whitespace().map(str::to_owned).collect()),
            started_at: row.time("started_at")?,
            seen_at: row.time("seen_at")?,
        })
    }
}

/// Names hold no blanks.
fn join(pools: &[PoolName]) -> String {
    pools.iter().map(PoolName::as_str).collect::<Vec<_>>().join(" ")
}
