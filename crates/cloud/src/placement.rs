//! dmapi's one question: where?

use std::fmt;

use async_trait::async_trait;
use model::{Failure, HostName, InstanceId, PoolName, TargetId, VolumeId};

/// Where an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// On this compute host.
    On(HostName),
    /// The cloud knows no such instance.
    Nowhere,
    /// The cloud remembers it: it was deleted, or lies among what is soon to be.
    Deleted,
    /// Shelved and offloaded: no host has it, its local disk lies in the image service.
    Shelved,
    /// On its way from this host to another: where it will be is not said before it is there.
    Migrating { from: HostName },
    /// Being built or unshelved: its disks are not whole yet.
    Building,
    /// No host ever had it: the cloud found none.
    NeverPlaced,
}

/// Resolves work to hosts and pools. Reads only.
///
/// A part of the cloud that does not answer is a failure that names it, never `Nowhere`.
#[async_trait]
pub trait Placement: fmt::Debug + Send + Sync {
    /// The compute host of an instance.
    async fn locate_instance(&self, id: InstanceId) -> Result<Located, Failure>;
    /// A pool of datamovers that reach the storage of a volume.
    async fn pool_of_volume(&self, id: VolumeId) -> Result<PoolName, Failure>;
    /// A pool of datamovers that reach a backup target.
    async fn pool_of_target(&self, id: TargetId) -> Result<PoolName, Failure>;
}
