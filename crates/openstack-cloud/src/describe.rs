//! Reads all that belongs to an instance: in three rounds, each of calls side by side. What it means is worked out in
//! `assemble`, without a call.

mod assemble;
mod topology;

use cloud::InstanceDescription;
use futures::future::try_join_all;
use futures::try_join;
use model::{Failure, InstanceId, Owner, VolumeId};
use openstack::Service::{BlockStorage, Compute, Image, Network};

use crate::calls::{Calls, segment};
use crate::wire::nova::{self, Server};
use crate::wire::{cinder, neutron};
use crate::{refusals, states};

/// All that was read.
#[derive(Debug)]
struct Collected {
    server: Server,
    attachments: Vec<nova::VolumeAttachment>,
    volumes: Vec<cinder::Volume>,
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
    let found: Option<nova::ServerBody> = calls.find(Compute, format!("/servers/{id}")).await?;
    let own = found.map(|body| body.server).filter(|server| server.tenant_id == owner.project_id.as_str());
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
    let floating_ips = read_floating_ips(calls, &ports);
    let (volumes, floating_ips) = try_join!(try_join_all(volumes), floating_ips)?;
    let topology = topology::read(calls, &ports, &interfaces, &floating_ips).await?;
    Ok(Collected {
        server,
        attachments,
        volumes,
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
    let found: Option<cinder::VolumeBody> = calls.find(BlockStorage, format!("/volumes/{id}")).await?;
    let is_own = |volume: &cinder::Volume| {
        volume.tenant_id.as_deref().is_none_or(|project| project == owner.project_id.as_str())
    };
    found.map(|body| body.volume).filter(is_own).ok_or_else(|| {
        Failure::permanent("VOLUME_NOT_FOUND", format!("there is no volume {id} (in this project)"))
    })
}

/// `None` when there is none, or when it is another user's.
async fn read_keypair(calls: &Calls, server: &Server) -> Result<Option<nova::WireKeypair>, Failure> {
    let Some(name) = &server.key_name else { return Ok(None) };
    let path = format!("/os-keypairs/{}", segment(name));
    let found: Option<nova::KeypairBody> = calls.find(Compute, path).await?;
    Ok(found.map(|body| body.keypair))
}

/// Nova puts a server into one group at most.
async fn read_server_group(calls: &Calls, server: &Server) -> Result<Option<nova::WireServerGroup>, Failure> {
    let Some(id) = server.server_groups.first() else { return Ok(None) };
    let found: Option<nova::ServerGroupBody> = calls.find(Compute, format!("/os-server-groups/{id}")).await?;
    Ok(found.map(|body| body.server_group))
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
        Some(service) if server.user_data.is_none() => {
            let found: Option<nova::ServerBody> =
                service.find(Compute, format!("/servers/{}", server.id)).await?;
            Ok(found.map(|body| body.server))
        }
        _ => Ok(None),
    }
}

async fn read_floating_ips(
    calls: &Calls,
    ports: &[neutron::Port],
) -> Result<Vec<neutron::FloatingIp>, Failure> {
    if ports.is_empty() {
        return Ok(Vec::new()); // no filter would list all
    }
    let filter: Vec<_> = ports.iter().map(|port| format!("port_id={}", port.id)).collect();
    calls.list(Network, format!("/floatingips?{}", filter.join("&")), "floatingips").await
}
