//! The TOML files of the folder.

use std::collections::BTreeMap;
use std::path::Path;

use cloud::{Flavor, Port, Tag};
use model::{
    ByteCount, DiskFormat, Failure, HostName, InstanceId, PoolName, ProjectId, SnapshotId, Timestamp,
    VolumeId, VolumeSnapshotId,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error;
use crate::quotas::Quotas;

/// `cloud.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Of the datamovers that reach the folder: all.
    pub(crate) pool: PoolName,
    pub(crate) hosts: Vec<HostName>,
    /// Of instances that name none.
    pub(crate) project: ProjectId,
    /// Whether it lists what changed between two volume snapshots of a raw disk; else disks are always read whole.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) keeps_changes: bool,
    /// Of each project.
    #[serde(default, skip_serializing_if = "Quotas::is_unlimited")]
    pub(crate) quotas: Quotas,
}

/// `instance.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstanceRecord {
    pub(crate) id: InstanceId,
    pub(crate) name: String,
    pub(crate) host: HostName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<ProjectId>,
    /// Whether the guest can be frozen.
    #[serde(default)]
    pub(crate) guest_agent: bool,
    /// Whether its local disks change, and have to be cut.
    #[serde(default = "yes")]
    pub(crate) running: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<Tag>,
    pub(crate) flavor: Flavor,
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
    /// In the order of the guest; `nics` in older records.
    #[serde(default, alias = "nics")]
    pub(crate) ports: Vec<Port>,
    /// In boot order.
    #[serde(default)]
    pub(crate) disk: Vec<DiskRecord>,
}

/// A `[[disk]]` of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiskRecord {
    /// Absent: a local disk, known by its device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) volume_id: Option<VolumeId>,
    pub(crate) device: String,
    pub(crate) format: DiskFormat,
    /// As the guest sees it; absent: as the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size_bytes: Option<ByteCount>,
    /// Beside this record; absent: the volume is in `volumes/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// Not to be backed up.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) excluded: bool,
    /// A volume that hosts reach by an attachment only, and so are all that are made of its volume snapshots.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) by_attachment: bool,
}

/// `cut.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CutRecord {
    pub(crate) instance_id: InstanceId,
    pub(crate) snapshot_id: SnapshotId,
    /// Where it was made.
    pub(crate) host: HostName,
}

/// `volume.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VolumeRecord {
    pub(crate) id: VolumeId,
    pub(crate) name: String,
    pub(crate) project: ProjectId,
    pub(crate) size_bytes: ByteCount,
    pub(crate) format: DiskFormat,
    pub(crate) volume_type: String,
    pub(crate) bootable: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) image_properties: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<Tag>,
    pub(crate) created_at: Timestamp,
}

/// `attachment.toml`: a volume of `volumes/` that a host may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachmentRecord {
    pub(crate) id: String,
    pub(crate) project: ProjectId,
    pub(crate) volume_id: VolumeId,
    pub(crate) host: HostName,
}

/// `snapshot.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VolumeSnapshotRecord {
    pub(crate) id: VolumeSnapshotId,
    pub(crate) project: ProjectId,
    pub(crate) volume_id: VolumeId,
    pub(crate) size_bytes: ByteCount,
    pub(crate) format: DiskFormat,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<Tag>,
    pub(crate) created_at: Timestamp,
}

/// Reads a record that was found at `path`.
///
/// Errors: `CLOUD_RECORD_INVALID` with file and line.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Failure> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        error::record_invalid(path, before.matches('\n').count() + 1, error.message())
    })
}

pub(crate) fn write<T: Serialize>(record: &T) -> Result<String, Failure> {
    toml::to_string(record).map_err(|source| error::bug("writing a record", source))
}

const fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)] // for serde
const fn is_false(flag: &bool) -> bool {
    !*flag
}
