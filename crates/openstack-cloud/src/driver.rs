//! The controllers' port on an OpenStack.

use std::sync::Arc;

use async_trait::async_trait;
use cloud::{
    Attached, Cloud, InstanceDescription, NewInstance, NewVolume, Planned, Resource, Tag, VolumeUse,
};
use model::{Failure, InstanceId, Owner, VolumeId, VolumeSnapshotId};
use openstack::Service::Compute;
use tokio::sync::Semaphore;

use crate::calls::Calls;
use crate::wire::nova::Server;
use crate::{Sessions, attachments, describe, instances, ledger, quotas, snapshots, volumes};

/// What the driver has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Calls under way at once, of all jobs of this controller together.
    pub calls_max: usize,
    /// Cinder counts volume snapshots in the quota `gigabytes`, unless its `no_snapshot_gb_quota` is set. It does not tell.
    pub snapshots_count_gigabytes: bool,
}

impl Default for Settings {
    /// 16 calls: two for each cloud job that a controller runs at once.
    fn default() -> Self {
        Self { calls_max: 16, snapshots_count_gigabytes: true }
    }
}

/// The cloud, with the rights of whoever owns what is touched. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OpenStackCloud {
    sessions: Arc<dyn Sessions>,
    under_way: Arc<Semaphore>,
    settings: Settings,
}

impl OpenStackCloud {
    /// Calls nothing yet.
    #[must_use]
    pub fn new(sessions: Arc<dyn Sessions>, settings: Settings) -> Self {
        let under_way = Arc::new(Semaphore::new(settings.calls_max.clamp(1, 1000)));
        Self { sessions, under_way, settings }
    }

    async fn calls(&self, owner: &Owner) -> Result<Calls, Failure> {
        Ok(Calls::new(self.sessions.session_for(owner).await?, Arc::clone(&self.under_way)))
    }
}

#[async_trait]
impl Cloud for OpenStackCloud {
    async fn describe_instance(&self, owner: &Owner, id: InstanceId) -> Result<InstanceDescription, Failure> {
        let service = self.sessions.service_session().await?;
        let service = service.map(|session| Calls::new(session, Arc::clone(&self.under_way)));
        let calls = self.calls(owner).await?;
        // Boxed: it holds all answers at once.
        Box::pin(describe::describe(&calls, service.as_ref(), owner, id)).await
    }

    async fn list_instances(&self, owner: &Owner) -> Result<Vec<(InstanceId, String)>, Failure> {
        let calls = self.calls(owner).await?;
        let mut all: Vec<Server> = calls.list(Compute, "/servers/detail".to_owned(), "servers").await?;
        all.retain(|server| server.tenant_id == owner.project_id.as_str());
        Ok(all.into_iter().map(|server| (server.id, server.name)).collect())
    }

    async fn create_volume_snapshot(
        &self,
        owner: &Owner,
        volume: VolumeId,
        tag: &Tag,
    ) -> Result<VolumeSnapshotId, Failure> {
        snapshots::create(&self.calls(owner).await?, owner, volume, tag).await
    }

    async fn volume_use(&self, owner: &Owner, volume: VolumeId) -> Result<Option<VolumeUse>, Failure> {
        volumes::find_use(&self.calls(owner).await?, owner, volume).await
    }

    async fn delete_volume_snapshots(&self, owner: &Owner, tag: &Tag) -> Result<(), Failure> {
        snapshots::delete(&self.calls(owner).await?, tag).await
    }

    async fn create_volume(&self, owner: &Owner, volume: &NewVolume) -> Result<VolumeId, Failure> {
        volumes::create(&self.calls(owner).await?, volume).await
    }

    async fn delete_volumes(&self, owner: &Owner, tag: &Tag) -> Result<(), Failure> {
        volumes::delete(&self.calls(owner).await?, tag).await
    }

    async fn attach_volume(
        &self,
        owner: &Owner,
        volume: VolumeId,
        connector: &str,
    ) -> Result<Attached, Failure> {
        let calls = self.calls(owner).await?;
        describe::find_volume(&calls, owner, volume).await?;
        attachments::attach(&calls, volume, connector).await
    }

    async fn detach_volumes(&self, owner: &Owner, tag: &Tag) -> Result<(), Failure> {
        attachments::detach_tagged(&self.calls(owner).await?, tag).await
    }

    async fn create_instance(&self, owner: &Owner, instance: &NewInstance) -> Result<InstanceId, Failure> {
        Box::pin(instances::create(&self.calls(owner).await?, owner, instance)).await
    }

    async fn delete_instances(&self, owner: &Owner, tag: &Tag) -> Result<(), Failure> {
        instances::delete(&self.calls(owner).await?, tag).await
    }

    async fn check_quotas(&self, owner: &Owner, plan: &[Planned]) -> Result<(), Failure> {
        quotas::check(&self.calls(owner).await?, owner, self.settings.snapshots_count_gigabytes, plan).await
    }

    async fn list_resources(&self, owner: &Owner) -> Result<Vec<Resource>, Failure> {
        ledger::list(&self.calls(owner).await?, owner.project_id.as_str()).await
    }
}
