//! The datamover's port. The only file that knows it.

use async_trait::async_trait;
use cloud::{
    CutRequest, DestinationDisk, Frozen, Host, HostLeftover, LeftoverKey, Moment, SourceDisk, SourceQuery,
    Thawed,
};
use model::{Failure, InstanceId, SnapshotId, VolumeId};

use crate::agent::Agents;
use crate::cuts::Cuts;
use crate::record::Records;
use crate::settings::HostSettings;
use crate::virsh::Virsh;
use crate::volumes::Volumes;

/// A compute host.
#[derive(Debug)]
pub struct LibvirtHost {
    agents: Agents,
    cuts: Cuts,
    volumes: Volumes,
}

impl LibvirtHost {
    /// Opens this host, and takes up what an earlier process left.
    ///
    /// Errors: the state folder cannot be used. A libvirt that does not answer yet is none.
    pub async fn open(settings: HostSettings) -> Result<Self, Failure> {
        let records = Records::open(&settings.state_dir).map_err(|error| error.failure())?;
        let virsh = Virsh::new(settings.libvirt_uri);
        let cuts = Cuts::new(virsh.clone(), records.clone(), settings.scratch, settings.instances_path);
        cuts.take_up().await.map_err(|error| error.failure())?;
        let volumes = Volumes { virsh: virsh.clone(), records, clusters: settings.clusters };
        Ok(Self { agents: Agents::new(virsh), cuts, volumes })
    }
}

#[async_trait]
impl Host for LibvirtHost {
    async fn freeze(&self, instance: InstanceId) -> Result<Frozen, Failure> {
        self.agents.freeze(instance).await.map_err(|error| error.failure())
    }

    async fn thaw(&self, instance: InstanceId) -> Result<Thawed, Failure> {
        self.agents.thaw(instance).await.map_err(|error| error.failure())
    }

    async fn cut(&self, request: &CutRequest) -> Result<Moment, Failure> {
        self.cuts.cut(request).await.map_err(|error| error.failure())
    }

    async fn end_cut(
        &self,
        instance: InstanceId,
        snapshot: SnapshotId,
        keep_changes: bool,
    ) -> Result<(), Failure> {
        self.cuts.end_cut(instance, snapshot, keep_changes).await.map_err(|error| error.failure())
    }

    async fn drop_changes(&self, instance: InstanceId) -> Result<(), Failure> {
        self.cuts.drop_changes(instance).await.map_err(|error| error.failure())
    }

    async fn source_disk(&self, source: &SourceQuery) -> Result<SourceDisk, Failure> {
        let found = match source.moment {
            Moment::VolumeSnapshot(snapshot) => self.volumes.source(source, snapshot).await,
            Moment::Cut => self.cuts.running_source(source).await,
            Moment::AsIs => self.cuts.file_source(source).await,
        };
        found.map_err(|error| error.failure())
    }

    async fn check_moment(&self, source: &SourceQuery) -> Result<(), Failure> {
        let checked = match source.moment {
            Moment::VolumeSnapshot(snapshot) => self.volumes.check(source, snapshot).await,
            Moment::Cut => self.cuts.check_running(source).await,
            Moment::AsIs => self.cuts.check_files(source).await,
        };
        checked.map_err(|error| error.failure())
    }

    async fn forget_changes(&self, source: &SourceQuery) -> Result<(), Failure> {
        let forgotten = match source.moment {
            Moment::VolumeSnapshot(_) => self.volumes.forget_changes(source),
            Moment::Cut | Moment::AsIs => self.cuts.forget_changes(source).await,
        };
        forgotten.map_err(|error| error.failure())
    }

    async fn changes_are_false(&self, source: &SourceQuery) -> Result<bool, Failure> {
        let found = match source.moment {
            Moment::VolumeSnapshot(_) => self.volumes.changes_are_false(source),
            Moment::Cut | Moment::AsIs => self.cuts.changes_are_false(source),
        };
        found.map_err(|error| error.failure())
    }

    async fn destination_disk(&self, volume: VolumeId) -> Result<DestinationDisk, Failure> {
        self.volumes.destination(volume).await.map_err(|error| error.failure())
    }

    async fn list_leftovers(&self) -> Result<Vec<HostLeftover>, Failure> {
        self.cuts.list_leftovers().await.map_err(|error| error.failure())
    }

    async fn remove_leftover(&self, key: LeftoverKey) -> Result<(), Failure> {
        self.cuts.remove_leftover(key).await.map_err(|error| error.failure())
    }

    async fn list_frozen(&self) -> Result<Vec<InstanceId>, Failure> {
        self.agents.list_frozen().await.map_err(|error| error.failure())
    }
}
