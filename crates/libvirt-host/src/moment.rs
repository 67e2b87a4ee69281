//! Where local disks are read at their point in time, and whether it still stands. It is never taken for another one: what
//! is not proven to stand is lost.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cloud::{Base, ChangeRecord, Changes, SourceDisk, SourceQuery};
use model::{DiskId, DiskLocation, ImageFile, InstanceId, NbdExport, SnapshotId};

use crate::Error;
use crate::cuts::{Cuts, local_disk, size_of, unsupported};
use crate::domain::{Domain, Source};
use crate::job_xml::BITMAP;
use crate::record::{Cut, CutDisk, CutKind, FileStamp};
use crate::watch;

impl Cuts {
    /// The export of a cut that stands.
    pub(crate) async fn running_source(&self, query: &SourceQuery) -> Result<SourceDisk, Error> {
        let disks = self.standing_disks(query).await?;
        let (instance, disk) = (query.instance_id, &query.disk_id);
        let cut = disks.get(disk).ok_or_else(|| Error::NoSuchDisk { instance, disk: disk.clone() })?;
        let record = || ChangeRecord::DirtyBitmap(BITMAP.to_owned());
        let changes = cut.since.map(|since| Changes { since, record: record() });
        let wanted = query.base.as_ref().map(|base| base.snapshot_id);
        let is_told = changes.as_ref().map(|changes| changes.since) == wanted;
        let socket = self.scratch.socket(query.snapshot_id);
        Ok(SourceDisk {
            location: DiskLocation::Export(NbdExport { socket, name: disk.to_string() }),
            size: cut.size,
            changes,
            full_read_reason: (!is_told && wanted.is_some()).then(|| match cut.is_false {
                true => {
                    "what is recorded as changed since the last snapshot was found to be false".to_owned()
                }
                false => {
                    format!("the hypervisor of this host has no record of what changed on disk {disk} since")
                }
            }),
            changes_are_false: cut.is_false,
            keeps_changes: false,
        })
    }

    /// The file of a disk of an instance that does not run.
    pub(crate) async fn file_source(&self, query: &SourceQuery) -> Result<SourceDisk, Error> {
        let (instance, id) = (query.instance_id, &query.disk_id);
        let domain = self.virsh.domain(instance).await?;
        let (path, format) = match &local_disk(instance, &domain, id)?.source {
            Source::File { path, format } => (path.clone(), *format),
            _ => return Err(unsupported(instance, local_disk(instance, &domain, id)?)),
        };
        self.check_file(query, &domain)?;
        let size = self.virsh.sizes(instance).await?.get(id.as_str()).copied();
        let size = size.ok_or_else(|| Error::NoSuchDisk { instance, disk: id.clone() })?;
        let backing_dir = Some(self.instances_path.join("_base"));
        // Its user may start it at any time: that ends the moment, and is not to be refused because we read.
        let image = ImageFile { path, format, backing_dir, is_shared: true };
        let reason = |_: Base| "the instance does not run, and its disk is read as it is".to_owned();
        Ok(SourceDisk {
            location: DiskLocation::File(image),
            size,
            changes: None,
            full_read_reason: query.base.map(reason),
            changes_are_false: false,
            keeps_changes: false,
        })
    }

    /// See `cloud::Host::changes_are_false`. The disk of an instance that does not run is read without a record.
    pub(crate) fn changes_are_false(&self, query: &SourceQuery) -> Result<bool, Error> {
        Ok(match self.kind(query)? {
            CutKind::Job { disks, .. } => disks.get(&query.disk_id).is_some_and(|disk| disk.is_false),
            CutKind::AsIs { .. } => false,
        })
    }

    /// Errors: `PointInTimeLost`.
    pub(crate) async fn check_running(&self, query: &SourceQuery) -> Result<(), Error> {
        self.standing_disks(query).await.map(drop)
    }

    /// The disks of a cut that stands.
    ///
    /// Errors: `PointInTimeLost`.
    async fn standing_disks(&self, query: &SourceQuery) -> Result<BTreeMap<DiskId, CutDisk>, Error> {
        let CutKind::Job { run_id, ended, disks, .. } = self.kind(query)? else {
            return Err(lost(query.instance_id, "no cut of it runs"));
        };
        if self.stands(query.instance_id, query.snapshot_id).await? {
            watch::ensure(self, query.instance_id, query.snapshot_id, size_of(&disks));
            return Ok(disks);
        }
        Err(self.lost((query.instance_id, query.snapshot_id), run_id, ended.as_deref()).await?)
    }

    /// Errors: `PointInTimeLost`.
    pub(crate) async fn check_files(&self, query: &SourceQuery) -> Result<(), Error> {
        match self.virsh.domain(query.instance_id).await {
            Ok(domain) => self.check_file(query, &domain),
            Err(Error::ForeignInstance { instance }) => Err(lost(instance, GONE)),
            Err(error) => Err(error),
        }
    }

    /// The error of a cut that does not stand, with what its user did as far as it can be seen.
    ///
    /// Errors: it cannot be seen.
    pub(crate) async fn lost(
        &self,
        (instance, snapshot): (InstanceId, SnapshotId),
        run_id: u32,
        ended: Option<&str>,
    ) -> Result<Error, Error> {
        let domain = match self.virsh.domain(instance).await {
            Ok(domain) => domain,
            Err(Error::ForeignInstance { .. }) => return Ok(lost(instance, GONE)),
            Err(error) => return Err(error),
        };
        let ending = self.ending(snapshot);
        let reason = match domain.run_id {
            None => "the instance was stopped",
            Some(run) if run != run_id => {
                "the instance was stopped and started again, as a hard reboot and a rebuild do"
            }
            Some(_) => ended.or(ending.as_deref()).unwrap_or(
                "the backup job in its hypervisor was ended by somebody else, as the creation of an image does",
            ),
        };
        Ok(lost(instance, reason))
    }

    fn check_file(&self, query: &SourceQuery, domain: &Domain) -> Result<(), Error> {
        let instance = query.instance_id;
        if domain.run_id.is_some() {
            return Err(lost(instance, "the instance was started"));
        }
        let CutKind::AsIs { files } = self.kind(query)? else {
            return Err(lost(instance, "the instance was stopped"));
        };
        let disk = || Error::NoSuchDisk { instance, disk: query.disk_id.clone() };
        let stamp = files.get(&query.disk_id).ok_or_else(disk)?;
        let path: PathBuf = match &local_disk(instance, domain, &query.disk_id)?.source {
            Source::File { path, .. } => path.clone(),
            _ => return Err(disk()),
        };
        match FileStamp::of(&path) {
            Ok(now) if now == *stamp => Ok(()),
            Ok(_) => Err(lost(
                instance,
                "its disk was written to: the instance ran meanwhile, or was rebuilt or resized",
            )),
            Err(error) => Err(lost(instance, &format!("its disk cannot be looked at: {error}"))),
        }
    }

    /// What kind of cut of this snapshot is recorded.
    fn kind(&self, query: &SourceQuery) -> Result<CutKind, Error> {
        match self.records.load(query.instance_id)?.cut {
            Some(Cut { snapshot_id, kind }) if snapshot_id == query.snapshot_id => Ok(kind),
            _ => Err(lost(query.instance_id, "this host has no cut of it for this snapshot")),
        }
    }
}

const GONE: &str = "the instance was deleted, or moved to another host";

pub(crate) fn lost(instance: InstanceId, reason: &str) -> Error {
    Error::PointInTimeLost { instance, reason: reason.to_owned() }
}
