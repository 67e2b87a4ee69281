//! Reads all that belongs to an instance: in three rounds, each of calls side by side. What it means is worked out in
//! `assemble`, without a call.

mod assemble;
mod topology;

use std::collections::BTreeMap;

use cloud::InstanceDescription;
use futures::future::try_join_all;
use futures::try_join;
use model::{Failure, InstanceId, Owner, VolumeId};
use openstack::Service::{Compute, Image, Network};

use crate::calls::Calls;
use crate::wire::nova::{self, Server};
use crate::wire::{cinder, neutron};
use crate::{attachments, instances, refusals, states, volumes};

/// All that was read.
#[derive(Debug)]
struct Collected {
    server: Server,
    attachments: Vec<nova::VolumeAttachment>,
    volumes: Vec<cinder::Volume>,
    /// What the storage calls the way to each volume, where a datamover reaches it by an attachment only.
    connects_by: BTreeMap<VolumeId, String>,
    interfaces: Vec<nova::Interface>,
    ports: Vec<neutron::Port>,
    floating_ips: Vec<neutron::FloatingIp>,
    keypair: Option<nova::WireKeypair>,
    image: Option<nova::WireImage>,
    server_group: Option<nova::WireServerGroup>,
    topology: cloud::Topology,
}

/// Describes an instance of the owner's project.
///
/// `service`: of Holdfast's own identity, for what the owner's rights do not show of their own instance.
/// Errors: `INSTANCE_NOT_FOUND`, and every refusal of docs/instance-states.md.
pub(crate) async fn describe(
    calls: &Calls,
    service: Option<&Calls>,
    owner: &Owner,
    id: InstanceId,
) -> Result<InstanceDescription, Failure> {
    let server = find_server(calls, owner, id).await?;
    states::check(&server)?;
    let collected = Box::pin(collect(calls, service, owner, server)).await?; // it holds every call
    let volumes = collected.volumes.clone();
    let description = assemble::assemble(collected)?;
    refusals::check(&description)?;
    for disk in description.disks_to_back_up() {
        if let Some(volume) = volumes.iter().find(|volume| Some(volume.id) == disk.volume_id) {
            refusals::check_volume(volume)?;
        }
    }
    Ok(description)
}

/// The server, when it is of the owner's project: a token with the role `admin` would see others too.
pub(crate) async fn find_server(calls: &Calls, owner: &Owner, id: InstanceId) -> Result<Server, Failure> {
    let found = instances::find(calls, id).await?;
    let own = found.filter(|server| server.tenant_id == owner.project_id.as_str());
    own.ok_or_else(|| {
        Failure::permanent("INSTANCE_NOT_FOUND", format!("there is no instance {id} (in this project)"))
    })
}

async fn collect(
    calls: &Calls,
    service: Option<&Calls>,
    owner: &Owner,
    mut server: Server,
) -> Result<Collected, Failure> {
    let id = server.id;
    let (attachments, interfaces, mut ports, keypair, server_group, image, shown) = try_join!(
        calls.get(Compute, format!("/servers/{id}/os-volume_attachments")),
        calls.get(Compute, format!("/servers/{id}/os-interface")),
        calls.list(Network, format!("/ports?device_id={id}"), "ports"),
        read_keypair(calls, &server),
        read_server_group(calls, &server),
        read_image(calls, &server),
        read_hidden(service, &server),
    )?;
    let nova::AttachmentsBody { attachments } = attachments;
    let nova::InterfacesBody { mut interfaces } = interfaces;
    keep_own(owner, &server, &mut ports, &mut interfaces);
    if let Some(shown) = shown {
        server.user_data = shown.user_data;
        server.root_device_name = shown.root_device_name;
        server.hostname = shown.hostname.or(server.hostname);
    }
    let volumes = attachments.iter().map(|attachment| find_volume(calls, owner, attachment.volume_id));
    let port_ids = ports.iter().map(|port| port.id.clone()).collect();
    let floating_ips = topology::list_by(calls, "floatingips", "port_id", &port_ids);
    let (volumes, floating_ips) = try_join!(try_join_all(volumes), floating_ips)?;
    let topology = topology::read(calls, &ports, &interfaces, &floating_ips);
    let (topology, connects_by) = try_join!(topology, read_ways(calls, &server, &volumes))?;
    Ok(Collected {
        server,
        attachments,
        volumes,
        connects_by,
        interfaces,
        ports,
        floating_ips,
        keypair,
        image,
        server_group,
        topology,
    })
}

/// Whose instance a port names is a text that any user may write on a port of theirs, and whoever owns the network sees it.
fn keep_own(
    owner: &Owner,
    server: &Server,
    ports: &mut Vec<neutron::Port>,
    interfaces: &mut Vec<nova::Interface>,
) {
    let macs = server.mac_addresses();
    ports.retain(|port| {
        port.project_id == owner.project_id.as_str() || macs.contains(&port.mac_address.as_str())
    });
    interfaces.retain(|interface| {
        ports.iter().any(|port| port.id == interface.port_id) || macs.contains(&interface.mac_addr.as_str())
    });
}

/// The volume, when it is of the owner's project.
pub(crate) async fn find_volume(
    calls: &Calls,
    owner: &Owner,
    id: VolumeId,
) -> Result<cinder::Volume, Failure> {
    let is_own = |volume: &cinder::Volume| {
        volume.tenant_id.as_deref().is_none_or(|project| project == owner.project_id.as_str())
    };
    volumes::find(calls, id).await?.filter(is_own).ok_or_else(|| {
        Failure::permanent("VOLUME_NOT_FOUND", format!("there is no volume {id} (in this project)"))
    })
}

async fn read_ways(
    calls: &Calls,
    server: &Server,
    volumes: &[cinder::Volume],
) -> Result<BTreeMap<VolumeId, String>, Failure> {
    let server_id = server.id.to_string();
    let holds =
        volumes.iter().flat_map(|volume| volume.attachments.iter().map(move |hold| (volume.id, hold)));
    let own = holds.filter(|(_, hold)| hold.server_id == server_id && !hold.attachment_id.is_empty());
    let ways =
        own.map(
            |(id, hold)| async move { Ok::<_, Failure>((id, attachments::connects_by(calls, hold).await?)) },
        );
    let ways = try_join_all(ways).await?.into_iter();
    Ok(ways.filter_map(|(id, way)| Some((id, way?))).collect())
}

async fn read_keypair(calls: &Calls, server: &Server) -> Result<Option<nova::WireKeypair>, Failure> {
    match &server.key_name {
        Some(name) => instances::find_keypair(calls, name).await,
        None => Ok(None),
    }
}

/// Nova puts a server into one group at most.
async fn read_server_group(calls: &Calls, server: &Server) -> Result<Option<nova::WireServerGroup>, Failure> {
    match server.server_groups.first() {
        Some(id) => instances::find_server_group(calls, id).await,
        None => Ok(None),
    }
}

/// `None` when it boots from a volume, or its image was deleted.
async fn read_image(calls: &Calls, server: &Server) -> Result<Option<nova::WireImage>, Failure> {
    match server.image_id() {
        Some(id) => calls.find(Image, format!("/images/{id}")).await,
        None => Ok(None),
    }
}

/// The server with what Nova's policy shows to administrators only: user data, and the name of the root device.
async fn read_hidden(service: Option<&Calls>, server: &Server) -> Result<Option<Server>, Failure> {
    match service {
        Some(service) if server.user_data.is_none() => instances::find(service, server.id).await,
        _ => Ok(None),
    }
}
