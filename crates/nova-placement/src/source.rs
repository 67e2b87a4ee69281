//! Who can be asked: the databases, or OpenStack's API.

use std::fmt;

use async_trait::async_trait;
use cloud::Located;
use model::{Failure, InstanceId, VolumeId};

/// What Cinder says of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolumeState {
    /// Its backend, `HOST@BACKEND#POOL`; None while none was chosen.
    pub(crate) host: Option<String>,
}

/// Knows where things are.
#[async_trait]
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// Where an instance is.
    async fn locate(&self, id: InstanceId) -> Result<Located, Failure>;
    /// What is said of a volume; None: it was deleted, or never was.
    async fn volume(&self, id: VolumeId) -> Result<Option<VolumeState>, Failure>;
}
