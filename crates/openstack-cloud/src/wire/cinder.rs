//! Cinder.

use std::collections::BTreeMap;

use model::{VolumeId, VolumeSnapshotId};
use serde::Deserialize;
use serde_json::Value;

use super::{flag, nullable, texts};

#[derive(Debug, Deserialize)]
pub(crate) struct VolumeBody {
    pub(crate) volume: Volume,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Volume {
    pub(crate) id: VolumeId,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) name: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) status: String,
    /// In GiB.
    pub(crate) size: u64,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) volume_type: String,
    #[serde(default, deserialize_with = "texts")]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "texts")]
    pub(crate) volume_image_metadata: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) availability_zone: String,
    #[serde(default, deserialize_with = "flag")]
    pub(crate) bootable: bool,
    #[serde(default)]
    pub(crate) multiattach: bool,
    #[serde(default)]
    pub(crate) encrypted: bool,
    #[serde(default, rename = "os-vol-tenant-attr:tenant_id")]
    pub(crate) tenant_id: Option<String>,
    #[serde(default)]
    pub(crate) attachments: Vec<Attachment>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Attachment {
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) server_id: String,
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) attachment_id: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SnapshotBody {
    pub(crate) snapshot: Snapshot,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) id: VolumeSnapshotId,
    #[serde(default)]
    pub(crate) status: String,
    pub(crate) volume_id: VolumeId,
    #[serde(default, deserialize_with = "texts")]
    pub(crate) metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(crate) struct AttachmentBody {
    pub(crate) attachment: FullAttachment,
}

/// No `Debug`: what it says of the connection may hold passwords.
#[derive(Deserialize)]
pub(crate) struct FullAttachment {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) connection_info: Value,
}

impl FullAttachment {
    /// The kind of the connection; `None`: there is none yet.
    pub(crate) fn driver_volume_type(&self) -> Option<String> {
        Some(self.connection_info.get("driver_volume_type")?.as_str()?.to_owned())
    }
}

/// Of a listing.
#[derive(Debug, Deserialize)]
pub(crate) struct AttachmentRow {
    pub(crate) id: String,
    /// Empty: it is attached to a host alone.
    #[serde(default, deserialize_with = "nullable")]
    pub(crate) instance: String,
    pub(crate) volume_id: VolumeId,
}

/// `/os-quota-sets/PROJECT?usage=True`: also the project's id is in it.
#[derive(Debug, Deserialize)]
pub(crate) struct QuotaSetBody {
    pub(crate) quota_set: BTreeMap<String, Value>,
}
