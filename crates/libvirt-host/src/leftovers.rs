//! What cuts of this host may have left: backup jobs, checkpoints, bitmaps, folders of old blocks. Told with all that stands,
//! also what is in use: which of it nothing needs, the controllers know. Removed by the ids that it was told with.
//!
//! What is not ours has another name, and is neither told nor touched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use cloud::{HostLeftover, LeftoverKey};
use futures::stream::{self, StreamExt as _};
use model::{DiskFormat, DiskId, InstanceId, SnapshotId, Timestamp};
use runtime::{Clock as _, SystemClock};

use crate::Error;
use crate::bitmaps::{checkpoint_name, snapshot_of};
use crate::cuts::{Cuts, Turn};
use crate::domain::{Domain, Source};
use crate::job_xml;

/// Instances that are looked at at once: each costs some processes of 20 ms.
const LOOKS_AT_ONCE: usize = 4;

impl Cuts {
    /// See `cloud::Host::list_leftovers`.
    pub(crate) async fn list_leftovers(&self) -> Result<Vec<HostLeftover>, Error> {
        let mut instances = self.virsh.defined().await?;
        instances.extend(self.records.instances()?);
        let looks = stream::iter(instances).map(|instance| async move {
            self.leftovers_of(instance).await.inspect_err(|error| {
                tracing::warn!(instance_id = %instance, %error, "what cuts left of an instance is not known now");
            })
        });
        let looks: Vec<Result<Vec<HostLeftover>, Error>> = looks.buffered(LOOKS_AT_ONCE).collect().await;
        let mut found: Vec<HostLeftover> = looks.into_iter().flatten().flatten().collect();
        let is_cut = |key: &LeftoverKey| matches!(key, LeftoverKey::Cut { .. });
        let cuts: BTreeSet<SnapshotId> =
            found.iter().map(|it| it.key).filter(is_cut).map(|key| key.snapshot()).collect();
        for snapshot in self.scratch.snapshots()?.into_iter().filter(|snapshot| !cuts.contains(snapshot)) {
            let path = self.scratch.folder(snapshot);
            found.push(HostLeftover {
                key: LeftoverKey::Scratch { snapshot },
                name: path.display().to_string(),
                owner: None,
                age: age_of(&path),
                size: self.scratch.used_by(snapshot),
                base_of: None,
            });
        }
        Ok(found)
    }

    async fn leftovers_of(&self, instance: InstanceId) -> Result<Vec<HostLeftover>, Error> {
        let record = self.records.load(instance)?;
        let domain = match self.virsh.domain(instance).await {
            Ok(domain) => Some(domain),
            Err(Error::ForeignInstance { .. }) => None,
            Err(error) => return Err(error),
        };
        let owner = domain.as_ref().and_then(|domain| domain.owner.clone());
        let mut found = Vec::new();
        let mut tell = |key, name: String, base_of| {
            let path = match key {
                LeftoverKey::Bitmap { snapshot, .. } => self.records.checkpoint_file(instance, snapshot),
                key => self.scratch.folder(key.snapshot()),
            };
            let size = matches!(key, LeftoverKey::Cut { .. }).then(|| self.scratch.used_by(key.snapshot()));
            found.push(HostLeftover {
                key,
                name,
                owner: owner.clone(),
                age: age_of(&path),
                size: size.flatten(),
                base_of,
            });
        };
        let runs = domain.as_ref().is_some_and(|domain| domain.run_id.is_some());
        let socket = if runs { self.virsh.backup_socket(instance).await? } else { None };
        let standing = socket.and_then(|socket| self.scratch.snapshot_of_socket(&socket));
        let recorded = record.cut.as_ref().map(|cut| cut.snapshot_id);
        for snapshot in BTreeSet::from_iter(standing.into_iter().chain(recorded)) {
            let what = if standing == Some(snapshot) { "a backup job" } else { "the note of a cut" };
            tell(LeftoverKey::Cut { instance, snapshot }, what.to_owned(), None);
        }
        if domain.is_some() {
            let names = self.virsh.checkpoints(instance).await?;
            for snapshot in names.iter().filter_map(|name| snapshot_of(name)) {
                tell(LeftoverKey::Checkpoint { instance, snapshot }, checkpoint_name(snapshot), None);
            }
        }
        let mut bitmaps: BTreeMap<SnapshotId, BTreeSet<DiskId>> =
            record.checkpoints.iter().map(|snapshot| (*snapshot, BTreeSet::new())).collect();
        for (device, path) in domain.iter().flat_map(qcow2_files) {
            for snapshot in bitmaps_of(path) {
                bitmaps.entry(snapshot).or_default().insert(device.clone());
            }
        }
        for (snapshot, disks) in bitmaps {
            let disks: Vec<&str> = disks.iter().map(DiskId::as_str).collect();
            let name = if disks.is_empty() { "the hypervisor".to_owned() } else { disks.join(", ") };
            let base = record.base.as_ref().filter(|base| base.checkpoint == snapshot);
            tell(LeftoverKey::Bitmap { instance, snapshot }, name, base.map(|base| base.since));
        }
        Ok(found)
    }

    /// See `cloud::Host::remove_leftover`.
    pub(crate) async fn remove_leftover(&self, key: LeftoverKey) -> Result<(), Error> {
        match key {
            LeftoverKey::Cut { instance, snapshot } => self.remove_cut(instance, snapshot).await,
            LeftoverKey::Checkpoint { instance, snapshot } => {
                self.remove_checkpoint(instance, snapshot).await
            }
            LeftoverKey::Bitmap { instance, snapshot } => self.remove_bitmap_left(instance, snapshot).await,
            LeftoverKey::Scratch { snapshot } => self.remove_scratch(snapshot).await,
        }
    }

    async fn remove_cut(&self, instance: InstanceId, snapshot: SnapshotId) -> Result<(), Error> {
        let mut turn = self.turn(instance).await?;
        if turn.record.cut.as_ref().is_some_and(|cut| cut.snapshot_id == snapshot) {
            self.end(&mut turn, false).await?;
        } else {
            // Its record was lost.
            self.abort(instance, snapshot).await?;
            self.scratch.remove(snapshot)?;
        }
        self.forget_if_gone(&turn).await
    }

    /// Of one that is recorded the bitmap stays: it is told of by itself. The other goes with its bitmap, as long as it has one.
    async fn remove_checkpoint(&self, instance: InstanceId, snapshot: SnapshotId) -> Result<(), Error> {
        let mut turn = self.turn(instance).await?;
        if turn.record.checkpoints.contains(&snapshot) {
            return self.clear_domain(&mut turn).await;
        }
        let name = checkpoint_name(snapshot);
        if !self.virsh.checkpoints(instance).await?.contains(&name) {
            return Ok(());
        }
        match self.virsh.delete_checkpoint(instance, &name).await {
            Err(Error::ToolRefused { .. }) => self.virsh.forget_checkpoint(instance, &name).await,
            deleted => deleted,
        }
    }

    async fn remove_bitmap_left(&self, instance: InstanceId, snapshot: SnapshotId) -> Result<(), Error> {
        let mut turn = self.turn(instance).await?;
        if let Some(cut) = &turn.record.cut {
            return Err(Error::CutBusy { instance, other: cut.snapshot_id });
        }
        turn.record.base = turn.record.base.take().filter(|base| base.checkpoint != snapshot);
        let removed = async {
            self.adopt(&mut turn, snapshot).await?;
            self.drop_superseded(&mut turn).await?;
            self.drop_from_files(&mut turn).await
        };
        // Deleted, or moved with its disks.
        Error::unless_foreign(removed.await)?;
        self.forget_if_gone(&turn).await?;
        match self.records.load(instance)?.checkpoints.contains(&snapshot) {
            true => Err(Error::BitmapKept { instance, snapshot }),
            false => Ok(()),
        }
    }

    /// Takes a bitmap into the record that is in the files and not there, as when the state folder was lost.
    async fn adopt(&self, turn: &mut Turn, snapshot: SnapshotId) -> Result<(), Error> {
        let instance = turn.instance;
        if !turn.record.checkpoints.contains(&snapshot) {
            let domain = self.virsh.domain(instance).await?;
            let holders = qcow2_files(&domain).filter(|(_, path)| bitmaps_of(path).contains(&snapshot));
            let devices: Vec<&DiskId> = holders.map(|(device, _)| device).collect();
            if devices.is_empty() {
                return Ok(());
            }
            let xml = job_xml::lost_checkpoint(&checkpoint_name(snapshot), &devices);
            self.records.write(instance, &format!("{snapshot}.xml"), &xml)?;
            turn.record.checkpoints.insert(0, snapshot);
        }
        self.records.save(instance, &turn.record)
    }

    /// Nothing that a hypervisor still writes to.
    async fn remove_scratch(&self, snapshot: SnapshotId) -> Result<(), Error> {
        for instance in self.virsh.running().await? {
            if self.stands(instance, snapshot).await? {
                return Err(Error::CutBusy { instance, other: snapshot });
            }
        }
        self.scratch.remove(snapshot)
    }
}

/// Local disks that can hold bitmaps.
pub(crate) fn qcow2_files(domain: &Domain) -> impl Iterator<Item = (&DiskId, &Path)> {
    domain.disks.iter().filter(|disk| disk.volume.is_none()).filter_map(|disk| match &disk.source {
        Source::File { path, format: DiskFormat::Qcow2 } => Some((&disk.device, path.as_path())),
        _ => None,
    })
}

/// Those of ours. A file that cannot be read has none that we could remove.
fn bitmaps_of(path: &Path) -> Vec<SnapshotId> {
    match disk::qcow2_bitmaps(path) {
        Ok(names) => names.iter().filter_map(|name| snapshot_of(name)).collect(),
        Err(error) => {
            tracing::info!(path = %path.display(), %error, "the bitmaps of a file cannot be read");
            Vec::new()
        }
    }
}

/// Since it was written last; absent: it is not there.
fn age_of(path: &Path) -> Option<Duration> {
    use std::os::unix::fs::MetadataExt as _;
    let written = Timestamp(std::fs::symlink_metadata(path).ok()?.mtime().saturating_mul(1_000_000));
    Some(SystemClock.now().since(written))
}
