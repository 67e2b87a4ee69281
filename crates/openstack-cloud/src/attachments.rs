//! Attachments of volumes: what Cinder says of the way to an instance's volume, and our own, by which a host reads a temporary
//! volume. Ours need no tag: the volume that they are of bears one, and nobody but Holdfast attaches it to no instance.

use std::time::Duration;

use cloud::{Attached, Connection, Tag};
use futures::future::try_join_all;
use model::{Failure, VolumeId};
use openstack::Service::BlockStorage;
use serde_json::{Value, json};

use crate::calls::{Calls, wait};
use crate::volumes;
use crate::wire::cinder::{Attachment, AttachmentBody, AttachmentRow};

/// The ways that datamovers know by themselves: through Ceph, and those of drivers that keep files on a shared file system,
/// where they refuse.
const REACHED_WITHOUT: [&str; 6] = ["rbd", "nfs", "glusterfs", "quobyte", "vzstorage", "scality"];
/// Cinder asks the storage to take the connection back before it answers.
const GONE_MAX: Duration = Duration::from_secs(120);

/// What the storage calls the way to a volume, by the attachment of its instance; `None`: no attachment is needed to read it, or
/// Cinder does not say.
pub(crate) async fn connects_by(calls: &Calls, attachment: &Attachment) -> Result<Option<String>, Failure> {
    let path = format!("/attachments/{}", attachment.attachment_id);
    let found: Option<AttachmentBody> = calls.find(BlockStorage, path).await?;
    let kind = found.and_then(|body| body.attachment.driver_volume_type());
    Ok(kind.filter(|kind| !REACHED_WITHOUT.contains(&kind.as_str())))
}

/// Attaches a volume of ours to the host that described itself as `connector`, or finds that it is.
pub(crate) async fn attach(calls: &Calls, volume: VolumeId, connector: &str) -> Result<Attached, Failure> {
    let connector: Value = serde_json::from_str(connector).map_err(|error| {
        Failure::permanent("COMMAND_INVALID", format!("a host describes itself in no JSON: {error}"))
    })?;
    for row in own(calls, volume).await? {
        let found: Option<AttachmentBody> =
            calls.find(BlockStorage, format!("/attachments/{}", row.id)).await?;
        match found.and_then(|body| attached(body.attachment)) {
            Some(attached) => {
                complete(calls, &row.id).await?;
                return Ok(attached);
            }
            // Half made: the storage failed, or was asked by somebody who died.
            None => remove(calls, &row).await?,
        }
    }
    let body = json!({"attachment": {"volume_uuid": volume, "connector": connector, "mode": "ro"}});
    let made: Result<AttachmentBody, _> = calls.post(BlockStorage, "/attachments", &body).await;
    let made = made.map_err(|error| error.failure())?.attachment;
    let id = made.id.clone();
    let attached = attached(made).ok_or_else(|| {
        let message = format!("the attachment {id} of volume {volume} does not say how to connect it");
        Failure::transient("ATTACHMENT_FAILED", message)
    })?;
    complete(calls, &id).await?;
    Ok(attached)
}

/// Cinder takes the volume for attached from now on; it may be said again.
async fn complete(calls: &Calls, attachment: &str) -> Result<(), Failure> {
    let path = format!("/attachments/{attachment}/action");
    calls.act(BlockStorage, path, &json!({"os-complete": null})).await
}

/// Ends the attachments to hosts of all volumes that bear the tag.
pub(crate) async fn detach_tagged(calls: &Calls, tag: &Tag) -> Result<(), Failure> {
    for volume in volumes::tagged(calls, tag).await? {
        detach(calls, volume.id).await?;
    }
    Ok(())
}

/// Ends the attachments of a volume to hosts; those to instances are their users'.
pub(crate) async fn detach(calls: &Calls, volume: VolumeId) -> Result<(), Failure> {
    try_join_all(own(calls, volume).await?.iter().map(|row| remove(calls, row))).await.map(drop)
}

async fn own(calls: &Calls, volume: VolumeId) -> Result<Vec<AttachmentRow>, Failure> {
    let path = format!("/attachments?volume_id={volume}");
    let mut rows: Vec<AttachmentRow> = calls.list(BlockStorage, path, "attachments").await?;
    rows.retain(|row| row.instance.is_empty() && row.volume_id == volume);
    Ok(rows)
}

async fn remove(calls: &Calls, AttachmentRow { id, volume_id, .. }: &AttachmentRow) -> Result<(), Failure> {
    calls.delete(BlockStorage, format!("/attachments/{id}")).await?;
    let what = format!("attachment {id} of volume {volume_id} has not gone");
    let gone = || async {
        let found: Option<AttachmentBody> = calls.find(BlockStorage, format!("/attachments/{id}")).await?;
        Ok(found.is_none().then_some(()))
    };
    wait(GONE_MAX, "ATTACHMENT_SLOW", &what, gone).await
}

fn attached(attachment: crate::wire::cinder::FullAttachment) -> Option<Attached> {
    attachment.driver_volume_type()?;
    let connection = Connection::from_json(attachment.connection_info.to_string());
    Some(Attached { attachment_id: attachment.id, connection })
}
