//! Cuts of local disks: one point in time of all of them, kept by the hypervisor while it is read.
//!
//! Four rules, each of which a guest or its user would pay for:
//!
//! 1. One `backup-begin` for all disks. Checkpoints stand on the domain only while it is called: left there they keep
//!    Nova from starting, rebooting and deleting the instance. The bitmaps stay in the disks' files.
//! 2. The bitmap of the last committed snapshot stays until the next one is committed; a run that fails removes its own.
//!    Two bitmaps while a cut stands, one between two.
//! 3. Room for old blocks: see `scratch` and `watch`.
//! 4. The point in time dies with the job, and is never taken for another: see `moment`.
//!
//! The record is written before the hypervisor is asked, so that whatever a killed process left is found again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloud::{CutRequest, Moment, SourceQuery};
use model::{ByteCount, DiskFormat, DiskId, InstanceId, SnapshotId};
use tokio::sync::OwnedMutexGuard;

use crate::Error;
use crate::bitmaps::checkpoint_name;
use crate::domain::{Domain, DomainDisk, Source};
use crate::job_xml::{self, JobDisk};
use crate::record::{BaseRecord, Cut, CutDisk, CutKind, FileStamp, Record, Records};
use crate::scratch::Scratch;
use crate::virsh::Virsh;
use crate::watch::{self, Watches};

/// How long what an earlier process left waits for the next look, at first and at last.
const TAKE_UP_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The cuts of this host. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Cuts {
    pub(crate) virsh: Virsh,
    pub(crate) records: Records,
    pub(crate) scratch: Scratch,
    /// Nova's: where an instance of this host has its folder.
    pub(crate) instances_path: PathBuf,
    pub(crate) watches: Watches,
    turns: Turns,
    endings: Endings,
}

/// One at a time may change what is recorded of an instance.
type Turns = Arc<Mutex<BTreeMap<InstanceId, Arc<tokio::sync::Mutex<()>>>>>;

/// Why cuts are being ended by us, until their records say so.
type Endings = Arc<Mutex<BTreeMap<SnapshotId, String>>>;

/// What is recorded of an instance, for the one whose turn it is.
pub(crate) struct Turn {
    pub(crate) instance: InstanceId,
    pub(crate) record: Record,
    _guard: OwnedMutexGuard<()>,
}

impl Cuts {
    pub(crate) fn new(virsh: Virsh, records: Records, scratch: Scratch, instances_path: PathBuf) -> Self {
        let (watches, turns, endings) = (Watches::default(), Turns::default(), Endings::default());
        Self { virsh, records, scratch, instances_path, watches, turns, endings }
    }

    /// Takes up what an earlier process left: cuts are watched again, checkpoints leave the domains. What cannot be done
    /// now, as while libvirt is away, is tried again until it was.
    pub(crate) async fn take_up(&self) -> Result<(), Error> {
        let mut left = self.take_up_all(self.records.instances()?).await;
        if left.is_empty() {
            return Ok(());
        }
        let (cuts, (mut pause, pause_max)) = (self.clone(), TAKE_UP_PAUSES);
        tokio::spawn(async move {
            while !left.is_empty() {
                tokio::time::sleep(pause).await;
                pause = pause_max.min(pause * 2);
                left = cuts.take_up_all(left).await;
            }
            tracing::info!("all that an earlier process left is taken up");
        });
        Ok(())
    }

    /// Gives the instances that must be looked at again.
    async fn take_up_all(&self, instances: Vec<InstanceId>) -> Vec<InstanceId> {
        // Before libvirt is asked, which may take its time: no cut is unwatched meanwhile.
        for instance in &instances {
            if let Err(error) = self.watch_cut_of(*instance) {
                tracing::warn!(instance_id = %instance, %error, "a record of a cut cannot be read");
            }
        }
        let mut left = Vec::new();
        for instance in instances {
            if let Err(error) = self.take_up_one(instance).await {
                tracing::warn!(instance_id = %instance, %error, "what an earlier process left is looked at again later");
                left.push(instance);
            }
        }
        left
    }

    fn watch_cut_of(&self, instance: InstanceId) -> Result<(), Error> {
        if let Some(Cut { snapshot_id, kind: CutKind::Job { disks, .. } }) = self.records.load(instance)?.cut
        {
            // Whether its job stands need not be known: a watch without one harms nobody.
            watch::ensure(self, instance, snapshot_id, size_of(&disks));
        }
        Ok(())
    }

    async fn take_up_one(&self, instance: InstanceId) -> Result<(), Error> {
        self.watch_cut_of(instance)?;
        let turn = self.turn(instance).await?;
        self.forget_if_gone(&turn).await
    }

    /// The record of an instance that was deleted, or moved with its disks, means nothing any more. A domain may be away for
    /// a moment, as in a hard reboot: then Nova's folder of the instance is there, and in its disks our bitmaps.
    pub(crate) async fn forget_if_gone(&self, turn: &Turn) -> Result<(), Error> {
        let instance = turn.instance;
        let folder = self.instances_path.join(instance.to_string());
        match self.virsh.domain(instance).await {
            Err(Error::ForeignInstance { .. }) if matches!(folder.try_exists(), Ok(false)) => {
                tracing::info!(instance_id = %instance, "the instance is gone from this host, and what was known of its cuts");
                turn.record.cut.as_ref().map_or(Ok(()), |cut| self.scratch.remove(cut.snapshot_id))?;
                self.records.save(instance, &Record::default())
            }
            Ok(_) | Err(Error::ForeignInstance { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// See `cloud::Host::cut`.
    pub(crate) async fn cut(&self, request: &CutRequest) -> Result<Moment, Error> {
        let (instance, snapshot) = (request.instance_id, request.snapshot_id);
        let mut turn = self.turn(instance).await?;
        if let Some(cut) = turn.record.cut.clone() {
            let is_job = matches!(cut.kind, CutKind::Job { .. });
            let stands = is_job && self.stands(instance, cut.snapshot_id).await?;
            match &cut.kind {
                CutKind::AsIs { .. } if cut.snapshot_id == snapshot => return Ok(Moment::AsIs),
                CutKind::Job { disks, .. } if cut.snapshot_id == snapshot && stands => {
                    watch::ensure(self, instance, snapshot, size_of(disks));
                    return Ok(Moment::Cut);
                }
                CutKind::Job { run_id, is_begun: true, ended, .. } if cut.snapshot_id == snapshot => {
                    return Err(self.lost((instance, snapshot), *run_id, ended.as_deref()).await?);
                }
                CutKind::Job { .. } if stands => {
                    return Err(Error::CutBusy { instance, other: cut.snapshot_id });
                }
                // It never began, or its point in time is gone and nobody said so yet.
                CutKind::Job { .. } => self.end(&mut turn, false).await?,
                CutKind::AsIs { .. } => turn.record.cut = None,
            }
        }
        let domain = self.virsh.domain(instance).await?;
        match domain.run_id {
            None => self.cut_files(&mut turn, request, &domain),
            Some(run_id) => self.cut_running(&mut turn, request, &domain, run_id).await,
        }
    }

    /// See `cloud::Host::end_cut`.
    pub(crate) async fn end_cut(
        &self,
        instance: InstanceId,
        snapshot: SnapshotId,
        keep_changes: bool,
    ) -> Result<(), Error> {
        let mut turn = self.turn(instance).await?;
        if turn.record.cut.as_ref().is_none_or(|cut| cut.snapshot_id != snapshot) {
            return Ok(());
        }
        self.end(&mut turn, keep_changes).await?;
        self.forget_if_gone(&turn).await
    }

    /// See `cloud::Host::forget_changes`. One lie, and nothing counts that was recorded of the instance since then: its
    /// bitmaps were kept by one hypervisor, in files that lie beside each other.
    pub(crate) async fn forget_changes(&self, query: &SourceQuery) -> Result<(), Error> {
        let Some(since) = query.base.map(|base| base.snapshot_id) else { return Ok(()) };
        let Turn { instance, mut record, _guard } = self.hold(query.instance_id).await?;
        if let Some(Cut { kind: CutKind::Job { disks, .. }, .. }) = &mut record.cut {
            for disk in disks.values_mut().filter(|disk| disk.since == Some(since)) {
                (disk.since, disk.is_false) = (None, true);
            }
        }
        record.base = record.base.filter(|base| base.since != since);
        self.records.save(instance, &record)
    }

    /// See `cloud::Host::drop_changes`.
    pub(crate) async fn drop_changes(&self, instance: InstanceId) -> Result<(), Error> {
        let dropped = match self.turn(instance).await {
            Ok(mut turn) => {
                turn.record.base = None;
                self.records.save(instance, &turn.record)?;
                self.end(&mut turn, false).await?;
                self.drop_superseded(&mut turn).await?;
                // It may come again, as long as its folder is there.
                Error::unless_foreign(self.drop_from_files(&mut turn).await)?;
                self.forget_if_gone(&turn).await
            }
            Err(error) => Err(error),
        };
        match dropped {
            // Deleted, or moved with its disks.
            Err(Error::ForeignInstance { .. }) => self.records.save(instance, &Record::default()),
            dropped => dropped,
        }
    }

    /// Waits for the turn, and first sees to it that no checkpoint is left on the domain.
    pub(crate) async fn turn(&self, instance: InstanceId) -> Result<Turn, Error> {
        let mut turn = self.hold(instance).await?;
        if turn.record.on_domain {
            // With a domain go its checkpoints. When it comes again it is looked at again.
            Error::unless_foreign(self.clear_domain(&mut turn).await)?;
        }
        Ok(turn)
    }

    /// Waits for the turn, and asks nobody but the record.
    pub(crate) async fn hold(&self, instance: InstanceId) -> Result<Turn, Error> {
        let lock = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(instance).or_default())
        };
        let guard = lock.lock_owned().await;
        Ok(Turn { instance, record: self.records.load(instance)?, _guard: guard })
    }

    /// Whether the job that runs on the domain is that of this cut.
    pub(crate) async fn stands(&self, instance: InstanceId, snapshot: SnapshotId) -> Result<bool, Error> {
        match self.virsh.backup_socket(instance).await {
            Ok(socket) => Ok(socket == Some(self.scratch.socket(snapshot))),
            Err(Error::ForeignInstance { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says why a cut is about to be ended: whoever finds it gone knows it at once.
    pub(crate) fn note_ending(&self, snapshot: SnapshotId, reason: &str) {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner).insert(snapshot, reason.to_owned());
    }

    /// Why the cut is being ended by us.
    pub(crate) fn ending(&self, snapshot: SnapshotId) -> Option<String> {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner).get(&snapshot).cloned()
    }

    /// Ends the job of this cut, if it runs.
    pub(crate) async fn abort(&self, instance: InstanceId, snapshot: SnapshotId) -> Result<(), Error> {
        if !self.stands(instance, snapshot).await? {
            return Ok(());
        }
        match self.virsh.abort_job(instance).await {
            // It may have ended in between.
            Err(_) if !self.stands(instance, snapshot).await? => Ok(()),
            aborted => aborted,
        }
    }

    fn cut_files(&self, turn: &mut Turn, request: &CutRequest, domain: &Domain) -> Result<Moment, Error> {
        let instance = request.instance_id;
        let mut files = BTreeMap::new();
        for id in &request.disks {
            let disk = local_disk(instance, domain, id)?;
            let Source::File { path, .. } = &disk.source else { return Err(unsupported(instance, disk)) };
            let stamp = FileStamp::of(path).map_err(|error| Error::DiskUnsupported {
                instance,
                disk: id.clone(),
                found: format!("a file that cannot be looked at, {}: {error}", path.display()),
            })?;
            files.insert(id.clone(), stamp);
        }
        turn.record.cut = Some(Cut { snapshot_id: request.snapshot_id, kind: CutKind::AsIs { files } });
        self.records.save(instance, &turn.record)?;
        Ok(Moment::AsIs)
    }

    async fn cut_running(
        &self,
        turn: &mut Turn,
        request: &CutRequest,
        domain: &Domain,
        run_id: u32,
    ) -> Result<Moment, Error> {
        let (instance, snapshot) = (request.instance_id, request.snapshot_id);
        let sizes = self.virsh.sizes(instance).await?;
        let base = turn.record.base.clone().filter(|base| Some(base.since) == request.base);
        let mut disks = BTreeMap::new();
        for id in &request.disks {
            let disk = local_disk(instance, domain, id)?;
            let size = sizes.get(id.as_str()).copied();
            let size = size.ok_or_else(|| Error::NoSuchDisk { instance, disk: id.clone() })?;
            let has_checkpoint = matches!(disk.source, Source::File { format: DiskFormat::Qcow2, .. });
            let since = base.as_ref().filter(|base| base.disks.contains(id)).map(|base| base.since);
            disks.insert(id.clone(), CutDisk { size, has_checkpoint, since, is_false: false });
        }
        let size = size_of(&disks);
        self.check_room(size)?;
        let at = (snapshot, run_id);
        let base = base.map(|base| base.checkpoint);
        match self.begin(turn, at, &disks, base).await {
            Err(error @ Error::ToolRefused { .. }) if base.is_some() => {
                tracing::warn!(instance_id = %instance, snapshot_id = %snapshot, %error, "the record of changes is of no use, the disks are read whole");
                disks.values_mut().for_each(|disk| disk.since = None);
                self.begin(turn, at, &disks, None).await?;
            }
            begun => begun?,
        }
        // Whatever was asked for, the last base stays until the next snapshot is committed: see `end`.
        Ok(Moment::Cut)
    }

    fn check_room(&self, size: ByteCount) -> Result<(), Error> {
        let room = self.scratch.room(size)?;
        if room.may_begin() {
            return Ok(());
        }
        let path = self.scratch.dir.clone();
        Err(Error::ScratchFull { path, free: room.free, needed: room.needed })
    }

    /// Begins the job. After an error nothing of it is left.
    async fn begin(
        &self,
        turn: &mut Turn,
        (snapshot, run_id): (SnapshotId, u32),
        disks: &BTreeMap<DiskId, CutDisk>,
        base: Option<SnapshotId>,
    ) -> Result<(), Error> {
        let instance = turn.instance;
        let has_checkpoint = disks.values().any(|disk| disk.has_checkpoint);
        let kind = CutKind::Job { run_id, is_begun: false, disks: disks.clone(), ended: None };
        turn.record.cut = Some(Cut { snapshot_id: snapshot, kind });
        if has_checkpoint && !turn.record.checkpoints.contains(&snapshot) {
            turn.record.checkpoints.push(snapshot);
        }
        turn.record.on_domain = true;
        self.records.save(instance, &turn.record)?;
        let begun = self.ask_to_begin(turn, snapshot, disks, base).await;
        // At once, and also after an error: a job may stand that could not be ended.
        watch::ensure(self, instance, snapshot, size_of(disks));
        let cleared = self.clear_domain(turn).await;
        if let Err(error) = begun.and(cleared) {
            if let Err(undone) = self.end(turn, false).await {
                tracing::warn!(instance_id = %instance, error = %undone, "a cut that failed is ended later");
            }
            return Err(error);
        }
        if let Some(Cut { kind: CutKind::Job { is_begun, .. }, .. }) = &mut turn.record.cut {
            *is_begun = true;
        }
        self.records.save(instance, &turn.record)
    }

    async fn ask_to_begin(
        &self,
        turn: &Turn,
        snapshot: SnapshotId,
        disks: &BTreeMap<DiskId, CutDisk>,
        base: Option<SnapshotId>,
    ) -> Result<(), Error> {
        let instance = turn.instance;
        let folder = self.scratch.make(snapshot)?;
        if let Some(base) = base
            && let Some(refusal) = self.redefine(turn, Some(snapshot)).await?.remove(&base)
        {
            return Err(refusal);
        }
        let jobs: Vec<_> = disks
            .iter()
            .map(|(device, disk)| JobDisk {
                device,
                has_checkpoint: disk.has_checkpoint,
                is_incremental: disk.since.is_some(),
            })
            .collect();
        let name = |id| checkpoint_name(id);
        let backup = job_xml::backup(&self.scratch.socket(snapshot), &folder, &jobs, base.map(name));
        let backup = self.records.write(instance, "backup-job", &backup)?;
        let checkpoint = job_xml::checkpoint(&checkpoint_name(snapshot), &jobs);
        let checkpoint =
            checkpoint.map(|xml| self.records.write(instance, "checkpoint-job", &xml)).transpose()?;
        self.virsh.begin_backup(instance, &backup, checkpoint.as_deref()).await
    }

    /// Ends the cut of the record, and removes the bitmaps that nothing needs any more.
    pub(crate) async fn end(&self, turn: &mut Turn, keep_changes: bool) -> Result<(), Error> {
        let instance = turn.instance;
        let Some(cut) = turn.record.cut.clone() else { return Ok(()) };
        let snapshot = cut.snapshot_id;
        if let CutKind::Job { .. } = cut.kind {
            self.abort(instance, snapshot).await?;
            self.scratch.remove(snapshot)?;
        }
        self.endings.lock().unwrap_or_else(PoisonError::into_inner).remove(&snapshot);
        let record = &mut turn.record;
        record.cut = None;
        match (keep_changes, cut.kind) {
            (false, _) => {}
            (true, CutKind::AsIs { files }) => {
                if let Some(base) = &mut record.base {
                    base.since = snapshot;
                    base.disks.retain(|disk| files.contains_key(disk));
                }
            }
            (true, CutKind::Job { disks, .. }) => {
                let with_checkpoint = disks.into_iter().filter(|(_, disk)| disk.has_checkpoint);
                let disks: BTreeSet<_> = with_checkpoint.map(|(id, _)| id).collect();
                let has_any = !disks.is_empty();
                record.base = has_any.then_some(BaseRecord { checkpoint: snapshot, since: snapshot, disks });
            }
        }
        self.records.save(instance, record)?;
        self.drop_superseded(turn).await
    }
}

/// Of all disks together.
pub(crate) fn size_of(disks: &BTreeMap<DiskId, CutDisk>) -> ByteCount {
    ByteCount(disks.values().map(|disk| disk.size.0).sum())
}

/// The local disk of that device.
pub(crate) fn local_disk<'a>(
    instance: InstanceId,
    domain: &'a Domain,
    id: &DiskId,
) -> Result<&'a DomainDisk, Error> {
    let disk = domain.disk(id).filter(|disk| disk.volume.is_none());
    let disk = disk.ok_or_else(|| Error::NoSuchDisk { instance, disk: id.clone() })?;
    if matches!(disk.source, Source::Other(_)) { Err(unsupported(instance, disk)) } else { Ok(disk) }
}

/// The error for a disk that cannot be read in this way.
pub(crate) fn unsupported(instance: InstanceId, disk: &DomainDisk) -> Error {
    let found = match &disk.source {
        Source::Other(found) => found.clone(),
        Source::Rbd(rbd) => {
            format!("the image {}/{}, which is read only while its instance runs", rbd.pool, rbd.image)
        }
        Source::File { path, .. } => format!("the file {}", path.display()),
    };
    Error::DiskUnsupported { instance, disk: disk.device.clone(), found }
}

#[cfg(test)]
mod leftover_tests;
#[cfg(test)]
mod tests;
