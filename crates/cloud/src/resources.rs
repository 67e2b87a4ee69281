//! The port of the controllers' cloud workers: resources are found again by tag, so that every effect can be repeated.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use model::{ByteCount, DiskFormat, Failure, InstanceId, Owner, SagaId, VolumeId, VolumeSnapshotId};
use serde::{Deserialize, Serialize};

use crate::{Attached, InstanceDescription};

/// What an effect leaves on its resource: saga, step and branch. Clouds have no idempotency keys and names are not unique.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag(String);

impl Tag {
    /// The tag of the effect of one branch of one step.
    #[must_use]
    pub fn new(saga_id: SagaId, step: &str, branch: u16) -> Self {
        Self(format!("{saga_id}/{step}/{branch}"))
    }

    /// Takes a tag as it came over the bus or was read from a resource.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text on the resource.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A volume to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVolume {
    pub name: String,
    pub size: ByteCount,
    pub volume_type: String,
    pub format: DiskFormat,
    pub bootable: bool,
    /// What it holds from the beginning; absent: zeroes.
    pub source: Option<VolumeSnapshotId>,
    /// Of the image that a boot disk came from: without them a guest lacks devices, as the channel of its agent.
    pub image_properties: BTreeMap<String, String>,
    pub tag: Tag,
}

/// An instance to make from volumes that hold their bytes already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInstance {
    pub name: String,
    /// As captured; its id and disks are those of the original.
    pub description: InstanceDescription,
    /// In boot order.
    pub volume_ids: Vec<VolumeId>,
    pub tag: Tag,
}

/// One row of a full listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    pub kind: ResourceKind,
    pub id: String,
    pub name: String,
    pub tag: Option<Tag>,
}

/// Who uses a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeUse {
    pub name: String,
    /// It hangs on nothing, and nobody is about to change that.
    pub is_free: bool,
    pub holders: Vec<InstanceId>,
}

/// What can be left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    Instance,
    Volume,
    VolumeSnapshot,
    /// Of a volume, to an instance or a host.
    Attachment,
    ServerGroup,
    Image,
    Port,
    FloatingIp,
    Network,
    Subnet,
    Router,
    SecurityGroup,
}

/// One thing that a plan will make, as far as quotas count it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    VolumeSnapshot { volume_type: String, size: ByteCount },
    Volume { volume_type: String, size: ByteCount },
    Instance { vcpus: u32, ram_mib: u64 },
}

/// Effects on the cloud, each on behalf of one owner: in their project, with their rights.
///
/// Every create first looks for its tag and returns what it finds; every delete by tag succeeds when nothing is there.
/// Errors: a `Failure` whose class tells whether a retry may help; an answer that was lost is `Indeterminate`.
#[async_trait]
pub trait Cloud: fmt::Debug + Send + Sync {
    /// Reads an instance. Codes: `INSTANCE_NOT_FOUND`, also when it belongs to another project.
    async fn describe_instance(&self, owner: &Owner, id: InstanceId) -> Result<InstanceDescription, Failure>;
    /// Lists the ids and names of all instances of the project.
    async fn list_instances(&self, owner: &Owner) -> Result<Vec<(InstanceId, String)>, Failure>;
    /// Cuts a volume at the present moment.
    async fn create_volume_snapshot(
        &self,
        owner: &Owner,
        volume: VolumeId,
        tag: &Tag,
    ) -> Result<VolumeSnapshotId, Failure>;
    /// Who uses a volume; `None`: there is no such volume in the project.
    async fn volume_use(&self, owner: &Owner, volume: VolumeId) -> Result<Option<VolumeUse>, Failure>;
    /// Deletes the volume snapshots that bear `tag`.
    async fn delete_volume_snapshots(&self, owner: &Owner, tag: &Tag) -> Result<(), Failure>;
    /// Makes a volume that reads as its source, or as zeros.
    async fn create_volume(&self, owner: &Owner, volume: &NewVolume) -> Result<VolumeId, Failure>;
    /// Deletes the volumes that bear `tag`; what `attach_volume` made of them ends first.
    async fn delete_volumes(&self, owner: &Owner, tag: &Tag) -> Result<(), Failure>;
    /// Lets one host read a volume of ours, which hangs on nothing else. `connector`: as the host described itself.
    async fn attach_volume(
        &self,
        owner: &Owner,
        volume: VolumeId,
        connector: &str,
    ) -> Result<Attached, Failure>;
    /// Ends what `attach_volume` made of the volumes that bear `tag`.
    async fn detach_volumes(&self, owner: &Owner, tag: &Tag) -> Result<(), Failure>;
    /// Makes an instance from written volumes.
    async fn create_instance(&self, owner: &Owner, instance: &NewInstance) -> Result<InstanceId, Failure>;
    /// Deletes the instances that bear `tag`; their volumes stay.
    async fn delete_instances(&self, owner: &Owner, tag: &Tag) -> Result<(), Failure>;
    /// Whether the project has room for all of a plan, beside what it has already. Makes nothing.
    ///
    /// Codes: `QUOTA_TOO_SMALL` names each quota that is too small: what is needed, what is left, of what limit.
    async fn check_quotas(&self, owner: &Owner, plan: &[Planned]) -> Result<(), Failure>;
    /// Lists everything that a saga could leave behind in the project, ours or not: for ledgers before and after.
    async fn list_resources(&self, owner: &Owner) -> Result<Vec<Resource>, Failure>;
}
