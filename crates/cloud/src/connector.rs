//! A host's way to volumes that it does not reach by itself: how it presents itself to storage, and how it connects what was
//! attached to it. What storage and host tell each other is passed through as it came: only the driver understands it.

use std::fmt;

use async_trait::async_trait;
use model::{ByteCount, DiskLocation, Failure};

/// What a storage tells one host about one volume, in JSON. It may hold passwords: it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection(String);

/// A volume that is attached to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    pub attachment_id: String,
    pub connection: Connection,
}

/// A volume that a host has connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    pub location: DiskLocation,
    pub size: ByteCount,
    /// What the driver wants to be told again when it disconnects, in JSON. It holds no secret.
    pub device_info: String,
}

impl Connection {
    /// Takes it as the storage gave it.
    #[must_use]
    pub const fn from_json(json: String) -> Self {
        Self(json)
    }

    /// For the driver, and to be sealed.
    #[must_use]
    pub fn expose_json(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection(not shown)")
    }
}

/// What a datamover asks of its host about volumes that are reached by an attachment only.
#[async_trait]
pub trait Connector: fmt::Debug + Send + Sync {
    /// How this host presents itself to storage, in JSON. Codes: `CONNECTOR_OFF`.
    async fn properties(&self) -> Result<String, Failure>;
    /// Connects a volume. What is connected already is found.
    async fn connect(&self, connection: &Connection) -> Result<Connected, Failure>;
    /// Disconnects; succeeds when it is not connected. `device_info`: absent when nobody heard of the connection's making.
    async fn disconnect(&self, connection: &Connection, device_info: Option<&str>) -> Result<(), Failure>;
}
