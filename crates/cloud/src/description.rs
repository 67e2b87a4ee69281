//! What is collected of an instance, so that it can be made again.

use std::collections::BTreeMap;

use model::{ByteCount, DiskFormat, DiskId, InstanceId, ProjectId, VolumeId};
use serde::{Deserialize, Serialize};

/// An instance with all that belongs to it. Kept in the catalog and in the records on the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceDescription {
    pub id: InstanceId,
    pub name: String,
    pub project_id: ProjectId,
    pub availability_zone: String,
    pub flavor: Flavor,
    pub metadata: BTreeMap<String, String>,
    pub nics: Vec<Nic>,
    /// In boot order; the first is the boot disk.
    pub disks: Vec<DiskDescription>,
}

/// Sizes of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flavor {
    pub name: String,
    pub vcpus: u32,
    pub ram_mib: u64,
    pub disk_gib: u64,
}

/// One network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    pub network: String,
    pub mac_address: String,
    #[serde(default)]
    pub ip_address: String,
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
}

impl InstanceDescription {
    /// The disks that belong into a snapshot, in boot order.
    pub fn disks_to_back_up(&self) -> impl Iterator<Item = &DiskDescription> {
        self.disks.iter().filter(|disk| !disk.is_excluded)
    }
}
