//! The product's own view of the cloud's only compute host, as a datamover there would open it.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use cloud::{Base, CutRequest, Host as _, Moment, SourceDisk, SourceQuery};
use libvirt_host::{Cluster, HostSettings, LibvirtHost, Scratch};
use model::{ByteCount, DiskId, Failure, InstanceId, SnapshotId};
use runtime::Entropy;

use crate::lab::{Ceph, Lab};
use crate::scratch::ScratchFolder;

/// The host, with state and scratch folders of its own.
#[derive(Debug)]
pub struct Compute {
    settings: HostSettings,
    host: Option<LibvirtHost>,
    _state: tempfile::TempDir,
    scratch: ScratchFolder,
}

impl Compute {
    /// Opens it with as much room as there is; what must be free before a cut is little, since all disks are.
    pub async fn open(lab: &Lab) -> Result<Self> {
        Self::open_with(lab, None, ByteCount::mib(256), &[]).await
    }

    /// Opens it with more Ceph clusters than the cloud's.
    pub async fn open_with_clusters(lab: &Lab, more: &[Ceph]) -> Result<Self> {
        Self::open_with(lab, None, ByteCount::mib(256), more).await
    }

    /// Opens it with a scratch folder of so many MiB.
    pub async fn open_with_scratch_of(lab: &Lab, size_mib: u32, room_min: ByteCount) -> Result<Self> {
        Self::open_with(lab, Some(size_mib), room_min, &[]).await
    }

    async fn open_with(lab: &Lab, size_mib: Option<u32>, room_min: ByteCount, more: &[Ceph]) -> Result<Self> {
        let scratch = ScratchFolder::make(size_mib)?;
        let state = tempfile::tempdir()?;
        let clusters = [&lab.ceph].into_iter().chain(more).cloned();
        let clusters = clusters.map(|ceph| Cluster::from_conf(ceph.conf, ceph.user, ceph.pool, None));
        let settings = HostSettings {
            state_dir: state.path().to_owned(),
            libvirt_uri: "qemu:///system".to_owned(),
            instances_path: lab.instances_dir.clone(),
            scratch: Scratch { dir: scratch.path().to_owned(), used_max: None, room_min: Some(room_min) },
            clusters: clusters.collect::<Result<_, _>>()?,
        };
        let mut compute = Self { settings, host: None, _state: state, scratch };
        compute.reopen().await?;
        Ok(compute)
    }

    /// Opens it anew, as a datamover does that was killed and started again.
    pub async fn reopen(&mut self) -> Result<()> {
        self.host = None;
        self.host = Some(LibvirtHost::open(self.settings.clone()).await?);
        Ok(())
    }

    /// The port.
    #[must_use]
    pub fn host(&self) -> &LibvirtHost {
        self.host.as_ref().expect("it is open but while it is opened anew")
    }

    /// What lies in the scratch folder.
    pub fn scratch(&self) -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(self.scratch.path())?;
        Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?)
    }

    /// Cuts the disk `vda` under a freeze.
    pub async fn cut(&self, instance: &str, base: Option<SnapshotId>) -> Result<SourceQuery> {
        let instance_id: InstanceId = instance.parse()?;
        let snapshot_id = SnapshotId::from_uuid(Entropy.uuid());
        let disk_id: DiskId = "vda".parse()?;
        let request = CutRequest { instance_id, snapshot_id, disks: vec![disk_id.clone()], base };
        let frozen = self.host().freeze(instance_id).await?;
        let cut = self.host().cut(&request).await;
        let thawed = self.host().thaw(instance_id).await?;
        anyhow::ensure!(thawed.count == frozen.count, "{frozen:?} is not {thawed:?}");
        let moment = cut?;
        anyhow::ensure!(
            moment != Moment::Cut || thawed.count > 0,
            "the guest was frozen when its disk was cut"
        );
        let base = base.map(|snapshot_id| Base { snapshot_id, volume_snapshot_id: None });
        Ok(SourceQuery { instance_id, disk_id, snapshot_id, moment, base })
    }

    /// Where a cut disk is read.
    pub async fn source(&self, query: &SourceQuery) -> Result<SourceDisk> {
        Ok(self.host().source_disk(query).await?)
    }

    /// Ends a cut.
    pub async fn end(&self, query: &SourceQuery, keep_changes: bool) -> Result<()> {
        Ok(self.host().end_cut(query.instance_id, query.snapshot_id, keep_changes).await?)
    }

    /// Why the moment of a disk does not stand any more.
    pub async fn loss(&self, query: &SourceQuery) -> Result<Failure> {
        let checked = self.host().check_moment(query).await;
        checked.err().ok_or_else(|| anyhow!("the moment of {} stands", query.instance_id))
    }
}
