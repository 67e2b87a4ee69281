//! What is collected of an instance, so that it can be made again: its own part, the machine and its disks. What lies around
//! it is in `network`. Kept in the catalog and in the records on the target, so every field that came later has a default:
//! older records stay readable.

use std::collections::BTreeMap;

use model::{ByteCount, DiskFormat, DiskId, InstanceId, ProjectId, UserId, VolumeId};
use serde::{Deserialize, Serialize};

use crate::network::{Port, Topology};

/// An instance with all that belongs to it. Words are `OpenStack`'s own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceDescription {
    pub id: InstanceId,
    pub name: String,
    pub project_id: ProjectId,
    pub availability_zone: String,
    pub flavor: Flavor,
    pub metadata: BTreeMap<String, String>,
    /// In the order in which the guest has them.
    #[serde(default, alias = "nics")]
    pub ports: Vec<Port>,
    /// In boot order; the first is the boot disk.
    pub disks: Vec<DiskDescription>,
    #[serde(default)]
    pub server: Server,
    #[serde(default)]
    pub topology: Topology,
}

impl InstanceDescription {
    /// The disks that belong into a snapshot, in boot order.
    pub fn disks_to_back_up(&self) -> impl Iterator<Item = &DiskDescription> {
        self.disks.iter().filter(|disk| !disk.is_excluded)
    }

    /// The properties of the image that a disk came from; a local one came from the instance's.
    #[must_use]
    pub fn image_properties<'a>(&'a self, disk: &'a DiskDescription) -> &'a BTreeMap<String, String> {
        match (&self.server.image, disk.volume_id) {
            (Some(image), None) => &image.properties,
            _ => &disk.volume.image_metadata,
        }
    }
}

/// Sizes of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flavor {
    pub name: String,
    pub vcpus: u32,
    pub ram_mib: u64,
    pub disk_gib: u64,
    #[serde(default)]
    pub ephemeral_gib: u64,
    #[serde(default)]
    pub swap_mib: u64,
    #[serde(default)]
    pub extra_specs: BTreeMap<String, String>,
}

/// What the compute service knows of an instance beyond its sizes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Who made it; the keypair is theirs.
    pub user_id: Option<UserId>,
    pub description: String,
    pub hostname: String,
    /// For example `ACTIVE`, when it was described.
    pub status: String,
    pub created_at: String,
    pub tags: Vec<String>,
    pub user_data: UserData,
    pub keypair: Option<Keypair>,
    /// Absent: it boots from a volume.
    pub image: Option<Image>,
    pub server_group: Option<ServerGroup>,
    pub config_drive: bool,
    pub is_locked: bool,
    pub locked_reason: Option<String>,
    pub trusted_image_certificates: Vec<String>,
}

/// The script or document that an instance was given at its creation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserData {
    /// By the cloud's policy it is not shown to whoever asked.
    #[default]
    NotShown,
    /// There is none.
    None,
    /// As the compute service keeps it.
    Base64(String),
}

/// A public key, by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keypair {
    pub name: String,
    /// `ssh` or `x509`; empty: unknown, as the key.
    pub keypair_type: String,
    /// Absent: it was deleted, or is another user's.
    pub public_key: Option<String>,
    pub fingerprint: String,
}

/// What an instance was booted from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    pub id: String,
    /// Empty, as all that follows: the image was deleted.
    pub name: String,
    pub disk_format: String,
    pub container_format: String,
    pub min_disk_gib: u64,
    pub min_ram_mib: u64,
    /// For example `hw_qemu_guest_agent`.
    pub properties: BTreeMap<String, String>,
}

/// Instances that are placed together, or apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerGroup {
    pub id: String,
    pub name: String,
    pub policy: String,
    /// For example `max_server_per_host`.
    pub rules: BTreeMap<String, String>,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskDescription {
    /// The volume's id, or the device name of a local disk. The key of the disk's lineage within its instance.
    pub id: DiskId,
    /// Absent: a local disk of the instance's host.
    #[serde(default)]
    pub volume_id: Option<VolumeId>,
    /// For example `vda`.
    pub device: String,
    pub size: ByteCount,
    pub format: DiskFormat,
    pub volume_type: String,
    pub bootable: bool,
    /// By its user's wish it is not backed up.
    #[serde(default)]
    pub is_excluded: bool,
    /// Of a local disk: nothing.
    #[serde(default)]
    pub volume: Volume,
    /// Of a local disk: nothing.
    #[serde(default)]
    pub attachment: Attachment,
}

/// What the block storage service knows of a volume beyond its size and type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    pub name: String,
    pub description: String,
    pub metadata: BTreeMap<String, String>,
    /// What a server that boots from it takes for its image's properties.
    pub image_metadata: BTreeMap<String, String>,
    pub availability_zone: String,
    pub multiattach: bool,
    pub encrypted: bool,
    /// What its storage calls the way to it, as `iscsi`, where a datamover reaches it by an attachment only. Absent: datamovers
    /// reach it and its volume snapshots by themselves.
    pub connects_by: Option<String>,
}

/// How a volume hangs on its instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    pub id: String,
    pub delete_on_termination: bool,
    /// How the guest finds it in its metadata.
    pub tag: Option<String>,
}

#[cfg(test)]
mod tests;
