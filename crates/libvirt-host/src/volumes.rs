//! Volumes in Ceph: read at their snapshots, written when nobody has them open.

use cloud::{Base, ChangeRecord, Changes, DestinationDisk, SourceDisk, SourceQuery};
use model::{DiskLocation, RbdImage, VolumeId, VolumeSnapshotId};

use crate::Error;
use crate::ceph::{self, Cluster, ImageInfo};
use crate::domain::Source;
use crate::moment::lost;
use crate::record::Records;
use crate::virsh::Virsh;

/// The volumes that this host reaches.
#[derive(Debug, Clone)]
pub(crate) struct Volumes {
    pub(crate) virsh: Virsh,
    pub(crate) records: Records,
    pub(crate) clusters: Vec<Cluster>,
}

impl Volumes {
    /// A volume at one of its snapshots.
    pub(crate) async fn source(
        &self,
        query: &SourceQuery,
        snapshot: VolumeSnapshotId,
    ) -> Result<SourceDisk, Error> {
        let (volume, image) = self.image_at(query, snapshot).await?;
        let info = ceph::info(&image).await?;
        let info =
            info.ok_or_else(|| lost(query.instance_id, &format!("there is no volume snapshot {snapshot}")))?;
        let base = query.base.and_then(|base| base.volume_snapshot_id);
        let changes = match query.base {
            None => Ok(None),
            Some(base) => self.changes(volume, (&image, &info), base).await?.map(Some),
        };
        self.records.note_image(volume, (snapshot, base), &info.id)?;
        let (changes, full_read_reason) = match changes {
            Ok(changes) => (changes, None),
            Err(reason) => {
                tracing::info!(volume_id = %volume, reason, "the volume is read whole");
                (None, Some(reason))
            }
        };
        let keeps_changes =
            ["object-map", "fast-diff"].iter().all(|feature| info.features.iter().any(|f| f == feature));
        Ok(SourceDisk {
            location: DiskLocation::Rbd(image),
            size: info.size,
            changes,
            full_read_reason,
            changes_are_false: self.changes_are_false(query)?,
            keeps_changes,
        })
    }

    /// Errors: `PointInTimeLost`.
    pub(crate) async fn check(&self, query: &SourceQuery, snapshot: VolumeSnapshotId) -> Result<(), Error> {
        let (_, image) = self.image_at(query, snapshot).await?;
        match ceph::info(&image).await? {
            Some(_) => Ok(()),
            None => Err(lost(query.instance_id, &format!("volume snapshot {snapshot} was deleted"))),
        }
    }

    /// See `cloud::Host::forget_changes`.
    pub(crate) fn forget_changes(&self, query: &SourceQuery) -> Result<(), Error> {
        base_of(query).map_or(Ok(()), |(volume, base)| self.records.distrust(volume, base))
    }

    /// See `cloud::Host::changes_are_false`.
    pub(crate) fn changes_are_false(&self, query: &SourceQuery) -> Result<bool, Error> {
        base_of(query).map_or(Ok(false), |(volume, base)| self.records.is_distrusted(volume, base))
    }

    /// The volume that a disk is, at a snapshot.
    async fn image_at(
        &self,
        query: &SourceQuery,
        snapshot: VolumeSnapshotId,
    ) -> Result<(VolumeId, RbdImage), Error> {
        let none = |_| Error::NoSuchDisk { instance: query.instance_id, disk: query.disk_id.clone() };
        let volume: VolumeId = query.disk_id.as_str().parse().map_err(none)?;
        Ok((volume, at(&self.find_image(query, volume).await?, snapshot)))
    }

    /// A volume that nobody has open.
    pub(crate) async fn destination(&self, volume: VolumeId) -> Result<DestinationDisk, Error> {
        let (image, info) = self.find_detached(volume).await?;
        let watchers = ceph::watchers(&image).await?.ok_or(Error::VolumeMissing { volume })?;
        if !watchers.is_empty() {
            return Err(Error::VolumeInUse { volume, watchers: watchers.join(", ") });
        }
        Ok(DestinationDisk { location: DiskLocation::Rbd(image), size: info.size })
    }

    /// Where the volume lies: as the instance's domain says, if it is here and has it; else by Cinder's name for it.
    async fn find_image(&self, query: &SourceQuery, volume: VolumeId) -> Result<RbdImage, Error> {
        let domain = match self.virsh.domain(query.instance_id).await {
            Ok(domain) => Some(domain),
            // A snapshot can be read from any host that reaches the cluster.
            Err(Error::ForeignInstance { .. }) => None,
            Err(error) => return Err(error),
        };
        let disk = domain.as_ref().and_then(|domain| domain.disk(&query.disk_id));
        let source = match disk.map(|disk| &disk.source) {
            None => return self.find_detached(volume).await.map(|(image, _)| image),
            Some(Source::Rbd(source)) => source,
            Some(Source::Other(found)) => {
                let (instance, disk) = (query.instance_id, query.disk_id.clone());
                return Err(Error::DiskUnsupported { instance, disk, found: found.clone() });
            }
            Some(Source::File { path, .. }) => {
                let (instance, disk) = (query.instance_id, query.disk_id.clone());
                let found = format!("the file {}, which is no volume in Ceph", path.display());
                return Err(Error::DiskUnsupported { instance, disk, found });
            }
        };
        let cluster = match self.clusters.as_slice() {
            [only] if only.is_anonymous() => Some(only),
            clusters => clusters.iter().find(|cluster| cluster.holds(source)),
        };
        let unknown = || Error::ClusterUnknown { volume, monitors: source.monitors.join(", ") };
        Ok(cluster.ok_or_else(unknown)?.image(&source.pool, &source.image, None))
    }

    async fn find_detached(&self, volume: VolumeId) -> Result<(RbdImage, ImageInfo), Error> {
        for cluster in &self.clusters {
            let image = cluster.image(&cluster.pool, &format!("volume-{volume}"), None);
            if let Some(info) = ceph::info(&image).await? {
                return Ok((image, info));
            }
        }
        Err(Error::VolumeMissing { volume })
    }

    /// What changed since the base; else why that is not known.
    async fn changes(
        &self,
        volume: VolumeId,
        (image, info): (&RbdImage, &ImageInfo),
        base: Base,
    ) -> Result<Result<Changes, String>, Error> {
        let Some(snapshot) = base.volume_snapshot_id else {
            return Ok(Err("the volume snapshot of the last snapshot was not kept".to_owned()));
        };
        if self.records.is_distrusted(volume, snapshot)? {
            return Ok(Err("what changed since the last snapshot was found to be false".to_owned()));
        }
        let known = self.records.image_of(volume, snapshot)?;
        if known.is_some_and(|known| known != info.id) {
            return Ok(Err("the volume lies in another image than at the last snapshot".to_owned()));
        }
        let then = at(image, snapshot);
        let Some(base_info) = ceph::info(&then).await? else {
            return Ok(Err(format!("the volume snapshot {snapshot} of the last snapshot is gone")));
        };
        let flags = info.flags.iter().chain(&base_info.flags);
        let invalid: Vec<_> = flags.filter(|flag| flag.contains("invalid")).cloned().collect();
        if !invalid.is_empty() {
            return Ok(Err(format!("Ceph's own record is not valid: {}", invalid.join(", "))));
        }
        let since = then.snapshot.unwrap_or_default();
        match ceph::changes(image, &since, info.size).await {
            Ok(extents) => {
                Ok(Ok(Changes { since: base.snapshot_id, record: ChangeRecord::Extents(extents) }))
            }
            Err(error @ Error::ToolTalkative { .. }) => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

fn base_of(query: &SourceQuery) -> Option<(VolumeId, VolumeSnapshotId)> {
    query.disk_id.as_str().parse().ok().zip(query.base.and_then(|base| base.volume_snapshot_id))
}

/// The image at a snapshot of Cinder's.
fn at(image: &RbdImage, snapshot: VolumeSnapshotId) -> RbdImage {
    RbdImage { snapshot: Some(format!("snapshot-{snapshot}")), ..image.clone() }
}
