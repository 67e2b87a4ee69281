//! Instances made of volumes that hold their bytes already: ports first, then the server, which boots once. Deleted by their tag,
//! with the ports that were made for them; their volumes stay.

use std::time::Duration;

use cloud::{InstanceDescription, NewInstance, Tag, UserData};
use futures::try_join;
use model::{ErrorClass, Failure, InstanceId, Owner};
use openstack::Microversion;
use openstack::Service::Compute;
use serde_json::{Value, json};

use crate::calls::{Calls, segment, wait};
use crate::ports::{self, ReadyPort};
use crate::tags;
use crate::wire::nova::{
    AttachmentsBody, KeypairBody, ListedFlavor, MadeServerBody, Server, ServerBody, ServerGroupBody,
    WireKeypair, WireServerGroup,
};

/// A cloud call of a saga may take ten minutes in all.
const ACTIVE_MAX: Duration = Duration::from_secs(480);
const GONE_MAX: Duration = Duration::from_secs(300);
/// The first in which `delete_on_termination` may be changed.
const CHANGES_TERMINATION: Microversion = Microversion::new(2, 85);
/// Nova's own word for a zone that nobody chose; named in a request it would be one that somebody chose.
const DEFAULT_ZONE: &str = "nova";

/// Makes an instance; it runs when this returns.
pub(crate) async fn create(calls: &Calls, owner: &Owner, new: &NewInstance) -> Result<InstanceId, Failure> {
    let (failed, sound): (Vec<Server>, Vec<Server>) =
        tagged(calls, &new.tag).await?.into_iter().partition(|server| server.status == "ERROR");
    for server in failed {
        remove(calls, server.id).await?;
    }
    let id = match sound.first() {
        Some(found) => found.id,
        None => {
            let (flavor, ready) =
                try_join!(find_flavor(calls, &new.description), ports::create(calls, owner, new))?;
            let body = request(calls, new, &flavor, &ready).await?;
            let made: Result<MadeServerBody, _> = calls.post(Compute, "/servers", &body).await;
            made.map_err(|error| error.failure())?.server.id
        }
    };
    wait_until_active(calls, id).await?;
    // Only now: a failed attempt is deleted, and must not take the written volumes along.
    for (volume_id, disk) in new.volume_ids.iter().zip(&new.description.disks) {
        if disk.attachment.delete_on_termination {
            set_delete_on_termination(calls, id, *volume_id, true).await?;
        }
    }
    Ok(id)
}

/// Deletes all that bear the tag, with their ports; gone when this returns. Their volumes stay.
pub(crate) async fn delete(calls: &Calls, tag: &Tag) -> Result<(), Failure> {
    for server in tagged(calls, tag).await? {
        remove(calls, server.id).await?;
    }
    ports::delete(calls, tag).await
}

async fn tagged(calls: &Calls, tag: &Tag) -> Result<Vec<Server>, Failure> {
    let mut all: Vec<Server> = calls.list(Compute, "/servers/detail".to_owned(), "servers").await?;
    if let Some(hidden) = all.iter().find(|server| server.status == "UNKNOWN") {
        return Err(Failure::transient(
            "OPENSTACK_CELL_DOWN",
            format!("Nova cannot tell about instance {}: a cell of it does not answer", hidden.id),
        ));
    }
    all.retain(|server| tags::is_tagged(&server.metadata, tag));
    Ok(all)
}

async fn request(
    calls: &Calls,
    new: &NewInstance,
    flavor_id: &str,
    ready: &[ReadyPort],
) -> Result<Value, Failure> {
    let NewInstance { description, volume_ids, .. } = new;
    let disks = volume_ids.iter().enumerate().map(|(index, volume_id)| {
        let mut disk = json!({
            "boot_index": if index == 0 { 0 } else { -1 },
            "uuid": volume_id,
            "source_type": "volume",
            "destination_type": "volume",
            "delete_on_termination": false,
        });
        if let Some(tag) = description.disks.get(index).and_then(|disk| disk.attachment.tag.as_ref()) {
            disk["tag"] = json!(tag);
        }
        disk
    });
    let networks = ready.iter().map(|port| match &port.device_tag {
        Some(tag) => json!({ "port": port.id, "tag": tag }),
        None => json!({ "port": port.id }),
    });
    let networks: Vec<Value> = networks.collect();
    let of = &description.server;
    let mut server = json!({
        "name": new.name,
        "description": Some(&of.description).filter(|text| !text.is_empty()),
        "flavorRef": flavor_id,
        "metadata": tags::metadata(&description.metadata, &new.tag),
        "networks": if networks.is_empty() { json!("none") } else { json!(networks) },
        "block_device_mapping_v2": disks.collect::<Vec<_>>(),
        "config_drive": of.config_drive,
        "tags": of.tags,
    });
    if let UserData::Base64(data) = &of.user_data {
        server["user_data"] = json!(data);
    }
    if !matches!(description.availability_zone.as_str(), "" | DEFAULT_ZONE) {
        server["availability_zone"] = json!(description.availability_zone);
    }
    let (keypair, group) = try_join!(find_key_name(calls, description), find_group(calls, description))?;
    if let Some(name) = keypair {
        server["key_name"] = json!(name);
    }
    let mut body = json!({ "server": server });
    if let Some(id) = group {
        body["os:scheduler_hints"] = json!({ "group": id });
    }
    Ok(body)
}

/// The flavor of that name and with these figures, else any with these figures.
async fn find_flavor(calls: &Calls, description: &InstanceDescription) -> Result<String, Failure> {
    let wanted = &description.flavor;
    let all: Vec<ListedFlavor> = calls.list(Compute, "/flavors/detail".to_owned(), "flavors").await?;
    let fits = |flavor: &&ListedFlavor| {
        let ListedFlavor { vcpus, ram, disk, ephemeral, .. } = flavor;
        (*vcpus, *ram, *disk, *ephemeral)
            == (wanted.vcpus, wanted.ram_mib, wanted.disk_gib, wanted.ephemeral_gib)
    };
    let mut fitting: Vec<&ListedFlavor> = all.iter().filter(fits).collect();
    fitting.sort_by_key(|flavor| (flavor.name != wanted.name, &flavor.id));
    fitting.first().map(|flavor| flavor.id.clone()).ok_or_else(|| {
        Failure::permanent(
            "FLAVOR_NOT_FOUND",
            format!(
                "no flavor that this project may use is as {} was: {} vCPUs, {} MiB of memory, {} GiB of disk; have one made, or \
                 choose another flavor for the restore",
                wanted.name, wanted.vcpus, wanted.ram_mib, wanted.disk_gib
            ),
        )
    })
}

/// The name of the keypair, when the user has one of that name: Nova refuses a name that it does not know. The key itself is on the
/// disk already.
async fn find_key_name(calls: &Calls, description: &InstanceDescription) -> Result<Option<String>, Failure> {
    let Some(keypair) = &description.server.keypair else { return Ok(None) };
    Ok(find_keypair(calls, &keypair.name).await?.map(|keypair| keypair.name))
}

async fn find_group(calls: &Calls, description: &InstanceDescription) -> Result<Option<String>, Failure> {
    let Some(group) = &description.server.server_group else { return Ok(None) };
    Ok(find_server_group(calls, &group.id).await?.map(|group| group.id))
}

/// `None` when there is none, or when it is another user's.
pub(crate) async fn find_keypair(calls: &Calls, name: &str) -> Result<Option<WireKeypair>, Failure> {
    let found: Option<KeypairBody> = calls.find(Compute, format!("/os-keypairs/{}", segment(name))).await?;
    Ok(found.map(|body| body.keypair))
}

pub(crate) async fn find_server_group(calls: &Calls, id: &str) -> Result<Option<WireServerGroup>, Failure> {
    let found: Option<ServerGroupBody> =
        calls.find(Compute, format!("/os-server-groups/{}", segment(id))).await?;
    Ok(found.map(|body| body.server_group))
}

async fn wait_until_active(calls: &Calls, id: InstanceId) -> Result<(), Failure> {
    let what = format!("instance {id} has not become active");
    let look = || async {
        match find(calls, id).await? {
            Some(server) if server.status == "ERROR" => {
                let why = server.fault.map(|fault| fault.message).unwrap_or_default();
                Err(Failure::transient(
                    "INSTANCE_FAILED",
                    format!(
                        "instance {} ({id}) could not be made: {why}; the next attempt deletes it and makes another",
                        server.name
                    ),
                ))
            }
            Some(server) if server.vm_state == "building" || !server.task_state.is_empty() => Ok(None),
            Some(server) if ["BUILD", "UNKNOWN"].contains(&server.status.as_str()) => Ok(None),
            Some(_) => Ok(Some(())),
            None => Err(Failure::transient(
                "INSTANCE_FAILED",
                format!("instance {id} was deleted by somebody else while it was made"),
            )),
        }
    };
    wait(ACTIVE_MAX, "INSTANCE_SLOW", &what, look).await
}

async fn remove(calls: &Calls, id: InstanceId) -> Result<(), Failure> {
    let attached: Option<AttachmentsBody> =
        calls.find(Compute, format!("/servers/{id}/os-volume_attachments")).await?;
    let attached = attached.map(|body| body.attachments).unwrap_or_default();
    for attachment in attached.iter().filter(|attachment| attachment.delete_on_termination) {
        set_delete_on_termination(calls, id, attachment.volume_id, false).await?;
    }
    calls.delete(Compute, format!("/servers/{id}")).await?;
    let what = format!("instance {id} has not gone after it was deleted");
    let look = || async {
        match find(calls, id).await? {
            None => Ok(Some(())),
            // Some clouds keep deleted instances for a while, for users that think again.
            Some(server) if server.status == "SOFT_DELETED" => {
                calls.act(Compute, format!("/servers/{id}/action"), &json!({"forceDelete": null})).await?;
                Ok(None)
            }
            Some(server) if server.status == "ERROR" && server.task_state.is_empty() => Err(Failure::new(
                ErrorClass::Transient,
                "INSTANCE_NOT_DELETED",
                format!(
                    "instance {} ({id}) is in error instead of gone: see why (`openstack server show`)",
                    server.name
                ),
            )),
            Some(_) => Ok(None),
        }
    };
    wait(GONE_MAX, "INSTANCE_SLOW", &what, look).await
}

async fn set_delete_on_termination(
    calls: &Calls,
    id: InstanceId,
    volume_id: model::VolumeId,
    delete_on_termination: bool,
) -> Result<(), Failure> {
    let path = format!("/servers/{id}/os-volume_attachments/{volume_id}");
    let body =
        json!({"volumeAttachment": {"volumeId": volume_id, "delete_on_termination": delete_on_termination}});
    calls.put_in(CHANGES_TERMINATION, Compute, path, &body).await
}

pub(crate) async fn find(calls: &Calls, id: InstanceId) -> Result<Option<Server>, Failure> {
    let found: Option<ServerBody> = calls.find(Compute, format!("/servers/{id}")).await?;
    Ok(found.map(|body| body.server))
}
