//! The port of a datamover to volumes that are attached to its host: what it connects is a folder in `connections/`, so that a
//! listing shows what was not disconnected.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cloud::{Connected, Connection, Connector};
use model::{DiskLocation, Failure, HostName};
use runtime::FaultTable;

use crate::attachment;
use crate::effect::{self, Effects};
use crate::error::{self, OpenError};
use crate::store::{CONNECTIONS, Store, volume_image};

/// One host's way to what is attached to it.
#[derive(Debug, Clone)]
pub struct DirectoryConnector {
    host: HostName,
    effects: Effects,
}

impl DirectoryConnector {
    /// Opens the folder at `path` for `host`.
    pub fn open(path: &Path, host: HostName, faults: FaultTable) -> Result<Self, OpenError> {
        Ok(Self { host, effects: Effects::open(path, faults)? })
    }
}

#[async_trait]
impl Connector for DirectoryConnector {
    async fn properties(&self) -> Result<String, Failure> {
        let host = self.host.clone();
        self.effects.perform("describe_connector", move |_| Ok(attachment::connector(&host))).await
    }

    async fn connect(&self, connection: &Connection) -> Result<Connected, Failure> {
        let (host, connection) = (self.host.clone(), connection.clone());
        self.effects.perform("connect", move |store| connect(store, &host, &connection)).await
    }

    async fn disconnect(&self, connection: &Connection, _device_info: Option<&str>) -> Result<(), Failure> {
        let (host, connection) = (self.host.clone(), connection.clone());
        self.effects.perform("disconnect", move |store| disconnect(store, &host, &connection)).await
    }
}

fn connect(store: &Store, host: &HostName, connection: &Connection) -> Result<Connected, Failure> {
    let (id, record) = attachment::attachment_of(store, connection)?;
    let record = record.filter(|record| record.host == *host);
    let record = record.ok_or_else(|| error::not_found("ATTACHMENT_NOT_FOUND", "attachment", &id))?;
    let kept = store.volume_record(record.volume_id)?;
    let kept = kept.ok_or_else(|| error::not_found("VOLUME_NOT_FOUND", "volume", record.volume_id))?;
    let lock = store.root().lock()?;
    if store.root().mark(&marker(host, &id), "", &lock)? {
        effect::record(store, "connect", record.volume_id, None)?;
    }
    let location = DiskLocation::file(store.root().absolute(&volume_image(record.volume_id)), kept.format);
    Ok(Connected { location, size: kept.size_bytes, device_info: "{}".to_owned() })
}

/// Also of an attachment that is no more: the host must get rid of what it has.
fn disconnect(store: &Store, host: &HostName, connection: &Connection) -> Result<(), Failure> {
    let (id, _) = attachment::attachment_of(store, connection)?;
    let lock = store.root().lock()?;
    if store.root().unmark(&marker(host, &id), &lock)? {
        effect::record(store, "disconnect", &id, None)?;
    }
    Ok(())
}

fn marker(host: &HostName, attachment: &str) -> PathBuf {
    Path::new(CONNECTIONS).join(attachment::connection_name(host, attachment))
}
