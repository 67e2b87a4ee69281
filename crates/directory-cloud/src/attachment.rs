//! Volumes that a host reaches by an attachment only: what is attached, and what the host has connected.

use std::path::Path;

use cloud::{Attached, Connection};
use model::{Failure, HostName, ProjectId, VolumeId};
use runtime::Entropy;
use serde_json::{Value, json};

use crate::effect;
use crate::error;
use crate::record::{self, AttachmentRecord};
use crate::root::Lock;
use crate::store::{ATTACHMENT_RECORD, ATTACHMENTS, Store};

/// Attaches a volume to the host that the connector names, or finds that it is.
pub(crate) fn begin(
    store: &Store,
    project: &ProjectId,
    volume_id: VolumeId,
    connector: &str,
) -> Result<Attached, Failure> {
    let host = host_of(connector)?;
    let folder = store.root().begin(ATTACHMENTS)?;
    let lock = store.root().lock()?;
    let kept = store.volume_record(volume_id)?.filter(|record| record.project == *project);
    kept.ok_or_else(|| error::not_found("VOLUME_NOT_FOUND", "volume", volume_id))?;
    if let Some(holder) = store.holder(volume_id)? {
        return Err(error::in_use(volume_id, &holder.record.name));
    }
    let mut records = store.attachment_records(project)?.into_iter();
    if let Some(found) = records.find(|record| record.volume_id == volume_id && record.host == host) {
        return Ok(attached(found.id));
    }
    let id = Entropy.uuid().to_string();
    let record = AttachmentRecord { id: id.clone(), project: project.clone(), volume_id, host };
    folder.write_text(ATTACHMENT_RECORD, &record::write(&record)?)?;
    folder.publish(&id, &lock)?;
    effect::record(store, "attach_volume", volume_id, None)?;
    Ok(attached(id))
}

/// Ends the attachments of a volume to hosts.
pub(crate) fn end(store: &Store, project: &ProjectId, volume: VolumeId, lock: &Lock) -> Result<(), Failure> {
    for record in store.attachment_records(project)? {
        if record.volume_id == volume {
            store.root().remove(ATTACHMENTS, &record.id, lock)?;
            effect::record(store, "detach_volume", volume, None)?;
        }
    }
    Ok(())
}

/// What a host tells of itself.
pub(crate) fn connector(host: &HostName) -> String {
    json!({ "host": host }).to_string()
}

/// The attachment that a connection is of.
pub(crate) fn attachment_of(
    store: &Store,
    connection: &Connection,
) -> Result<(String, Option<AttachmentRecord>), Failure> {
    let value: Value = serde_json::from_str(connection.expose_json()).unwrap_or_default();
    let id = value["attachment_id"].as_str().unwrap_or_default().to_owned();
    let record = store.attachment_record(&id)?;
    Ok((id, record))
}

/// Where a host keeps that it has connected an attachment.
pub(crate) fn connection_name(host: &HostName, attachment: &str) -> String {
    format!("{host}.{attachment}")
}

fn attached(id: String) -> Attached {
    let connection =
        json!({ "driver_volume_type": "directory", "attachment_id": id, "auth_password": "hunter2" });
    Attached { attachment_id: id, connection: Connection::from_json(connection.to_string()) }
}

fn host_of(connector: &str) -> Result<HostName, Failure> {
    let value: Value = serde_json::from_str(connector).unwrap_or_default();
    let host = value["host"].as_str().and_then(|host| host.parse().ok());
    host.ok_or_else(|| {
        let path = Path::new("connector");
        error::record_invalid(path, 1, "it names no host")
    })
}
