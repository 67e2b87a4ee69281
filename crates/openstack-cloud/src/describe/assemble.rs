//! Makes a description of what was read. Pure.

use std::collections::BTreeMap;

use cloud::{Attachment, DiskDescription, InstanceDescription, Keypair, Port, Server, UserData, Volume};
use model::{ByteCount, DiskFormat, DiskId, ErrorClass, Failure};

use super::Collected;
use crate::tags;
use crate::wire::{cinder, neutron, nova};

/// By these words in the metadata of a volume, or of an instance, its user says what is not to be backed up.
const EXCLUDE_VOLUME: &str = "exclude_from_backup";
const EXCLUDE_BOOT_DISK: &str = "exclude_boot_disk_from_backup";

/// Shape: disks in boot order, cards in the guest's.
pub(super) fn assemble(collected: Collected) -> Result<InstanceDescription, Failure> {
    let disks = disks(&collected)?;
    let ports = ports(&collected);
    let Collected { server, keypair, image, server_group, topology, .. } = collected;
    let image_id = server.image_id().map(str::to_owned);
    let keypair = match (keypair, server.key_name) {
        (Some(keypair), _) => Some(keypair.into()),
        (None, Some(name)) => Some(Keypair { name, ..Keypair::default() }),
        (None, None) => None,
    };
    let details = Server {
        user_id: server.user_id.parse().ok(),
        description: server.description,
        hostname: server.hostname.unwrap_or_default(),
        status: server.status,
        created_at: server.created,
        tags: server.tags,
        user_data: match server.user_data {
            None => UserData::NotShown,
            Some(None) => UserData::None,
            Some(Some(text)) => UserData::Base64(text),
        },
        keypair,
        image: image_id.map(|id| match image {
            Some(image) => image.into(),
            None => cloud::Image { id, ..cloud::Image::default() },
        }),
        server_group: server_group.map(Into::into),
        config_drive: server.config_drive,
        is_locked: server.locked,
        locked_reason: server.locked_reason,
        trusted_image_certificates: server.trusted_image_certificates,
    };
    Ok(InstanceDescription {
        id: server.id,
        name: server.name,
        project_id: server.tenant_id.parse().map_err(|error| invalid("the server's project", &error))?,
        availability_zone: server.availability_zone,
        flavor: server.flavor.into(),
        metadata: users(server.metadata),
        ports,
        disks,
        server: details,
        topology,
    })
}

/// The boot disk first, then by device: `vdb` before `vdaa`.
fn disks(collected: &Collected) -> Result<Vec<DiskDescription>, Failure> {
    let Collected { server, attachments, volumes, image, .. } = collected;
    let by_id: BTreeMap<_, _> = volumes.iter().map(|volume| (volume.id, volume)).collect();
    let mut disks = Vec::new();
    for attachment in attachments {
        let volume = by_id.get(&attachment.volume_id).expect("each attached volume was read");
        let mut disk = volume_disk(server, attachment, volume)?;
        disk.volume.connects_by = collected.connects_by.get(&volume.id).cloned();
        disks.push(disk);
    }
    disks.sort_by(|a, b| (a.device.len(), &a.device).cmp(&(b.device.len(), &b.device)));
    let root = server.root_device_name.as_deref().map(short);
    if server.image_id().is_some() {
        disks.insert(0, local_root(server, image.as_ref())?);
    } else {
        // Where Nova does not say which it is, the first that one could boot from.
        let by_name = root.and_then(|root| disks.iter().position(|disk| disk.device == root));
        let boots = by_name.or_else(|| disks.iter().position(|disk| disk.bootable));
        if let Some(boots) = boots {
            disks[..=boots].rotate_right(1);
        }
    }
    if let Some(boot) = disks.first_mut() {
        boot.is_excluded |= is_true(&server.metadata, EXCLUDE_BOOT_DISK);
    }
    Ok(disks)
}

fn volume_disk(
    server: &nova::Server,
    attachment: &nova::VolumeAttachment,
    volume: &cinder::Volume,
) -> Result<DiskDescription, Failure> {
    let server_id = server.id.to_string();
    let hold = volume.attachments.iter().find(|hold| hold.server_id == server_id);
    Ok(DiskDescription {
        id: disk_id(&volume.id.to_string())?,
        volume_id: Some(volume.id),
        device: short(&attachment.device).to_owned(),
        size: ByteCount::gib(volume.size),
        format: DiskFormat::Raw,
        volume_type: volume.volume_type.clone(),
        bootable: volume.bootable,
        is_excluded: is_true(&volume.metadata, EXCLUDE_VOLUME),
        volume: Volume {
            name: volume.name.clone(),
            description: volume.description.clone(),
            metadata: users(volume.metadata.clone()),
            image_metadata: volume.volume_image_metadata.clone(),
            availability_zone: volume.availability_zone.clone(),
            multiattach: volume.multiattach,
            encrypted: volume.encrypted,
            connects_by: None, // another service's answer
        },
        attachment: Attachment {
            id: hold.map(|hold| hold.attachment_id.clone()).unwrap_or_default(),
            delete_on_termination: attachment.delete_on_termination,
            tag: attachment.tag.clone(),
        },
    })
}

/// The disk that Nova made of an image. Its size is the flavor's; where that has none, the image's.
fn local_root(server: &nova::Server, image: Option<&nova::WireImage>) -> Result<DiskDescription, Failure> {
    let device = match server.root_device_name.as_deref().map(short) {
        Some(device) if !device.is_empty() => device.to_owned(),
        _ => first_device(image.map(|image| image.property("hw_disk_bus")).unwrap_or_default()).to_owned(),
    };
    let of_image = ByteCount(image.and_then(|image| image.virtual_size).unwrap_or_default());
    Ok(DiskDescription {
        id: disk_id(&device)?,
        volume_id: None,
        device,
        size: if server.flavor.disk > 0 { ByteCount::gib(server.flavor.disk) } else { of_image },
        // Nova's habit; only the host knows, and tells its datamover.
        format: DiskFormat::Qcow2,
        volume_type: String::new(),
        bootable: true,
        is_excluded: false,
        volume: Volume::default(),
        attachment: Attachment::default(),
    })
}

/// The name that the first disk gets on a bus, by Nova's own rule.
fn first_device(bus: &str) -> &'static str {
    match bus {
        "scsi" | "sata" | "usb" => "sda",
        "ide" => "hda",
        "xen" => "xvda",
        _ => "vda",
    }
}

/// In the order of the cards; one of which Neutron shows the owner nothing as far as Nova knows it.
fn ports(collected: &Collected) -> Vec<Port> {
    let Collected { server, interfaces, ports, floating_ips, topology, .. } = collected;
    let mut described: Vec<Port> = ports.iter().cloned().map(Port::from).collect();
    for interface in interfaces {
        if let Some(port) = described.iter_mut().find(|port| port.id == interface.port_id) {
            port.device_tag.clone_from(&interface.tag);
            continue;
        }
        described.push(Port {
            id: interface.port_id.clone(),
            network_id: interface.net_id.clone(),
            mac_address: interface.mac_addr.clone(),
            fixed_ips: neutron::fixed_ips(interface.fixed_ips.clone()),
            device_tag: interface.tag.clone(),
            ..Port::default()
        });
    }
    for port in &mut described {
        port.description = tags::without_tag(&port.description).to_owned();
        let network = topology.networks.iter().find(|network| network.id == port.network_id);
        port.network = network.map(|network| network.name.clone()).unwrap_or_default();
        let leading = floating_ips.iter().filter(|address| address.port_id == port.id);
        port.floating_ips = leading.cloned().map(Into::into).collect();
    }
    let order = server.mac_addresses();
    let place = |port: &Port| order.iter().position(|mac| *mac == port.mac_address).unwrap_or(order.len());
    described.sort_by(|a, b| (place(a), &a.id).cmp(&(place(b), &b.id)));
    described
}

/// Without what we wrote on something that a restore made.
fn users(mut metadata: BTreeMap<String, String>) -> BTreeMap<String, String> {
    metadata.remove(tags::KEY);
    metadata
}

fn is_true(metadata: &BTreeMap<String, String>, key: &str) -> bool {
    metadata.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// `vda` of `/dev/vda`.
fn short(device: &str) -> &str {
    device.strip_prefix("/dev/").unwrap_or(device)
}

fn disk_id(text: &str) -> Result<DiskId, Failure> {
    text.parse().map_err(|error| invalid("a disk's name", &error))
}

fn invalid(what: &str, error: &model::InvalidId) -> Failure {
    Failure::new(ErrorClass::Bug, "OPENSTACK_ANSWER_INVALID", format!("{what} makes no sense: {error}"))
}

#[cfg(test)]
mod tests;
