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
use std::sync::{Arc, Mutex, PoisonError};

use cloud::{CutRequest, Moment};
use model::{ByteCount, DiskFormat, DiskId, InstanceId, SnapshotId};
use tokio::sync::OwnedMutexGuard;

use crate::Error;
use crate::domain::{Domain, DomainDisk, Source};
use crate::job_xml::{self, JobDisk};
use crate::record::{BaseRecord, Cut, CutDisk, CutKind, FileStamp, Record, Records};
use crate::scratch::Scratch;
use crate::virsh::Virsh;
use crate::watch;

/// The cuts of this host. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Cuts {
    pub(crate) virsh: Virsh,
    pub(crate) records: Records,
    pub(crate) scratch: Scratch,
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
    pub(crate) fn new(virsh: Virsh, records: Records, scratch: Scratch) -> Self {
        Self { virsh, records, scratch, turns: Turns::default(), endings: Endings::default() }
    }

    /// Takes up what an earlier process left: checkpoints leave the domains, cuts that stand are watched again.
    pub(crate) async fn take_up(&self) -> Result<(), Error> {
        for instance in self.records.instances()? {
            match self.take_up_one(instance).await {
                Ok(()) => {}
                Err(Error::ForeignInstance { .. }) => self.records.save(instance, &Record::default())?,
                Err(error) => {
                    tracing::warn!(instance_id = %instance, %error, "what an earlier process left is looked at again later");
                }
            }
        }
        Ok(())
    }

    async fn take_up_one(&self, instance: InstanceId) -> Result<(), Error> {
        let turn = self.turn(instance).await?;
        if let Some(Cut { snapshot_id, kind: CutKind::Job { disks, ended: None, .. } }) = &turn.record.cut
            && self.stands(instance, *snapshot_id).await?
        {
            tracing::info!(instance_id = %instance, snapshot_id = %snapshot_id, "a cut of an earlier process stands");
            watch::start(self, instance, *snapshot_id, size_of(disks));
        }
        Ok(())
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
                CutKind::Job { .. } if cut.snapshot_id == snapshot && stands => return Ok(Moment::Cut),
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
        let mut turn = match self.turn(instance).await {
            // Deleted, or moved with its disks: what was known of it means nothing any more.
            Err(Error::ForeignInstance { .. }) => return self.forget(instance, snapshot),
            turn => turn?,
        };
        if turn.record.cut.as_ref().is_none_or(|cut| cut.snapshot_id != snapshot) {
            return Ok(());
        }
        match self.end(&mut turn, keep_changes).await {
            Err(Error::ForeignInstance { .. }) => self.forget(instance, snapshot),
            ended => ended,
        }
    }

    /// See `cloud::Host::drop_changes`.
    pub(crate) async fn drop_changes(&self, instance: InstanceId) -> Result<(), Error> {
        let dropped = match self.turn(instance).await {
            Ok(mut turn) => {
                turn.record.base = None;
                self.records.save(instance, &turn.record)?;
                self.end(&mut turn, false).await?;
                self.drop_superseded(&mut turn).await
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
        let lock = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(instance).or_default())
        };
        let guard = lock.lock_owned().await;
        let mut turn = Turn { instance, record: self.records.load(instance)?, _guard: guard };
        if turn.record.on_domain {
            self.clear_domain(&mut turn).await?;
        }
        Ok(turn)
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
            disks.insert(id.clone(), CutDisk { size, has_checkpoint, since });
        }
        let size = size_of(&disks);
        self.check_room(size)?;
        let at = (snapshot, run_id);
        let base = base.map(|base| base.checkpoint);
        let is_lost = match self.begin(turn, at, &disks, base).await {
            Err(error @ Error::ToolRefused { .. }) if base.is_some() => {
                tracing::warn!(instance_id = %instance, snapshot_id = %snapshot, %error, "the record of changes is of no use, the disks are read whole");
                disks.values_mut().for_each(|disk| disk.since = None);
                self.begin(turn, at, &disks, None).await?;
                true
            }
            begun => begun.map(|()| false)?,
        };
        // A base that is not asked for now is never asked for again: there was a later snapshot, or its bitmap is lost.
        if turn.record.base.as_ref().is_some_and(|base| Some(base.since) != request.base || is_lost) {
            turn.record.base = None;
            self.records.save(instance, &turn.record)?;
        }
        watch::start(self, instance, snapshot, size);
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
        if has_checkpoint {
            turn.record.checkpoints.push(snapshot);
        }
        turn.record.on_domain = true;
        self.records.save(instance, &turn.record)?;
        let begun = self.ask_to_begin(turn, snapshot, disks, base).await;
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
        if base.is_some() {
            self.redefine(turn, Some(snapshot)).await?;
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
    async fn end(&self, turn: &mut Turn, keep_changes: bool) -> Result<(), Error> {
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

    /// Removes bitmaps. Of an instance that does not run they stay until the next cut ends: its user may start it any time,
    /// and a start is refused while somebody else has the file open.
    async fn drop_superseded(&self, turn: &mut Turn) -> Result<(), Error> {
        let instance = turn.instance;
        let superseded = turn.record.superseded();
        if superseded.is_empty() || self.virsh.domain(instance).await?.run_id.is_none() {
            return Ok(());
        }
        turn.record.on_domain = true;
        self.records.save(instance, &turn.record)?;
        if let Err(error) = self.redefine(turn, None).await {
            tolerate(instance, error)?;
        }
        for id in &superseded {
            if let Err(error) = self.virsh.delete_checkpoint(instance, &checkpoint_name(*id)).await {
                tolerate(instance, error)?;
            }
        }
        // It also writes down those that lost their parent: they are told to libvirt without it from now on.
        self.clear_domain(turn).await?;
        for id in &superseded {
            self.records.remove(instance, &format!("{id}.xml"))?;
        }
        turn.record.checkpoints.retain(|id| !superseded.contains(id));
        self.records.save(instance, &turn.record)
    }

    /// Tells libvirt of the checkpoints whose bitmaps are in the disks, oldest first.
    async fn redefine(&self, turn: &Turn, except: Option<SnapshotId>) -> Result<(), Error> {
        for id in turn.record.checkpoints.iter().filter(|id| Some(**id) != except) {
            let file = self.records.checkpoint_file(turn.instance, *id);
            // None was written: it was never made.
            if file.try_exists().map_err(|source| Error::State { path: file.clone(), source })? {
                self.virsh.redefine_checkpoint(turn.instance, &file).await?;
            }
        }
        Ok(())
    }

    /// Lets libvirt forget all checkpoints of ours, after it was asked how they are to be told again.
    async fn clear_domain(&self, turn: &mut Turn) -> Result<(), Error> {
        let instance = turn.instance;
        let ours = turn.record.checkpoints.iter().map(|id| (*id, checkpoint_name(*id)));
        let ours: Vec<_> = ours.collect();
        let there = self.virsh.checkpoints(instance).await?;
        // The youngest first: then none is taken away below another.
        for (id, name) in ours.iter().rev().filter(|(_, name)| there.contains(name)) {
            let xml = self.virsh.checkpoint_xml(instance, name).await?;
            self.records.write(instance, &format!("{id}.xml"), &xml)?;
            self.virsh.forget_checkpoint(instance, name).await?;
        }
        turn.record.on_domain = false;
        self.records.save(instance, &turn.record)
    }

    fn forget(&self, instance: InstanceId, snapshot: SnapshotId) -> Result<(), Error> {
        self.scratch.remove(snapshot)?;
        self.records.save(instance, &Record::default())
    }
}

/// The cut's checkpoint, as libvirt and qemu know it.
fn checkpoint_name(snapshot: SnapshotId) -> String {
    format!("holdfast-{snapshot}")
}

/// A bitmap that cannot be removed was lost before, as by a crash of the host or a rebuild, or was never made.
///
/// Errors: libvirt did not answer, so nothing is known.
fn tolerate(instance: InstanceId, error: Error) -> Result<(), Error> {
    match error {
        Error::ToolRefused { .. } => {
            tracing::info!(instance_id = %instance, %error, "a record of changes that is not needed any more is not there");
            Ok(())
        }
        error => Err(error),
    }
}

/// Of all disks together.
fn size_of(disks: &BTreeMap<DiskId, CutDisk>) -> ByteCount {
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
