//! The port of dmapi.

use std::path::Path;

use async_trait::async_trait;
use cloud::{Located, Placement};
use model::{Failure, InstanceId, PoolName, TargetId, VolumeId};
use runtime::FaultTable;

use crate::effect::Effects;
use crate::error::{self, OpenError};

/// Where instances are: their records say so. One pool reaches all.
#[derive(Debug, Clone)]
pub struct DirectoryPlacement {
    effects: Effects,
}

impl DirectoryPlacement {
    /// Opens the folder at `path`.
    pub fn open(path: &Path, faults: FaultTable) -> Result<Self, OpenError> {
        Ok(Self { effects: Effects::open(path, faults)? })
    }
}

#[async_trait]
impl Placement for DirectoryPlacement {
    async fn locate_instance(&self, id: InstanceId) -> Result<Located, Failure> {
        let locate = self.effects.perform("locate_instance", move |store| {
            let found = store.find_instance(id)?;
            Ok(found.map_or(Located::Nowhere, |instance| Located::On(instance.record.host)))
        });
        locate.await
    }

    async fn pool_of_volume(&self, id: VolumeId) -> Result<PoolName, Failure> {
        let find = self.effects.perform("pool_of_volume", move |store| {
            if store.volume_record(id)?.is_none() && store.holder(id)?.is_none() {
                return Err(error::not_found("VOLUME_NOT_FOUND", "volume", id));
            }
            Ok(store.settings()?.pool)
        });
        find.await
    }

    async fn pool_of_target(&self, _id: TargetId) -> Result<PoolName, Failure> {
        self.effects.perform("pool_of_target", |store| Ok(store.settings()?.pool)).await
    }
}
