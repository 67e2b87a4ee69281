//! One disk at one point in time on its way to the target.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use backup_target::BackupTarget;
use bytes::Bytes;
use model::{ByteCount, LineageId, SnapshotId};
use target_format::{ChunkRef, Digest, FORMAT_VERSION, Geometry, Manifest, SegmentRef, names};
use tokio::task::JoinHandle;

use crate::fetch::Lineage;
use crate::journal::{Begin, Journal, Line, Run};
use crate::map::Map;
use crate::pack_writer::{PACK_LENGTH_TARGET, PackWriter};
use crate::seal::{CORE_COUNT, SealedSlot, on_a_core, seal_slot};
use crate::{Error, LineageKey};

/// Slots that were read and need no chunk are journaled when there are this many: 1 GiB of 1 MiB slots is what a killed
/// session of a disk where nothing changed reads again.
const UNSAVED_SLOT_COUNT_MAX: u64 = 1024;

/// What to back up, and where to.
#[derive(Debug, Clone)]
pub struct SessionSpec {
    pub target: Arc<dyn BackupTarget>,
    pub lineage_id: LineageId,
    pub snapshot_id: SnapshotId,
    /// Whose unchanged chunks may be referenced.
    pub parent: Option<SnapshotId>,
    /// A power of two from 4 KiB to 16 MiB; the same for all snapshots of a lineage.
    pub chunk_size: ByteCount,
    /// Need be no multiple of the chunk size: the last slot may be partial.
    pub disk_size: ByteCount,
    /// A file of this session alone, on a local disk. `finish` removes it.
    pub journal: PathBuf,
}

/// What a finished transfer left on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSummary {
    pub disk_size: ByteCount,
    /// Length of the packs that this snapshot added.
    pub bytes_stored: ByteCount,
    /// Slots that are not holes.
    pub chunk_count: u64,
    /// Of these, what this snapshot added.
    pub chunks_stored_count: u64,
    /// Packs that the manifest names, the parent's included.
    pub pack_count: u64,
    /// BLAKE3 of the manifest object.
    pub manifest_digest: Digest,
}

/// How far a session is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub bytes_total: ByteCount,
    /// Bytes of the disk whose slots are settled: stored, referenced or holes; what a resumed session found done included.
    pub bytes_done: ByteCount,
    /// Bytes given to `put` since the session was opened.
    pub bytes_given: ByteCount,
    /// Length of this snapshot's packs that are durable.
    pub bytes_stored: ByteCount,
}

/// How a session begins.
#[derive(Debug)]
pub enum Opened {
    New(BackupSession),
    /// An earlier attempt left durable packs and its journal: see `BackupSession::done_slots`.
    Resumed(BackupSession),
    /// An earlier attempt put the manifest.
    AlreadyComplete(ManifestSummary),
}

/// Takes the slots of a disk in any order, each once, and commits them as a manifest.
///
/// Memory: two packs, two slots per core, and some 130 bytes per slot. After an error the session takes no more: close
/// it, open it again and go on with what is not done.
#[derive(Debug)]
pub struct BackupSession {
    pub(crate) lineage: Lineage,
    pub(crate) snapshot_id: SnapshotId,
    pub(crate) geometry: Geometry,
    pub(crate) key: LineageKey,
    pub(crate) parent: Option<Arc<Map>>,
    pub(crate) slots: Vec<SlotState>,
    pub(crate) writer: PackWriter,
    /// Segments that an earlier attempt put.
    pub(crate) segments: HashMap<(u32, Digest), SegmentRef>,
    sealing: VecDeque<(u64, JoinHandle<Result<SealedSlot, Error>>)>,
    pub(crate) unsaved: Vec<Run>,
    unsaved_count: u64,
    /// Slots that nobody read: see `keep`.
    pub(crate) kept: Vec<Range<u64>>,
    pub(crate) read_all: Option<String>,
    bytes_done: u64,
    bytes_given: u64,
    broken: bool,
}

/// What is known of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotState {
    Pending,
    /// Its bytes were given, and are being hashed.
    Sealing,
    Hole,
    /// As in the parent, which has a chunk there.
    AsParent,
    Stored(ChunkRef),
}

impl BackupSession {
    /// Begins or resumes; the caller holds the lease of the lineage.
    ///
    /// Errors: `ParentMissing`, `KeyWrong`, `DISK_GEOMETRY`, `JournalForeign`, the target's.
    pub async fn open(spec: SessionSpec, key: LineageKey) -> Result<Opened, Error> {
        Self::open_with_packs_of(spec, key, PACK_LENGTH_TARGET).await
    }

    /// As `open`, with smaller packs: so that a test of many packs need not move gigabytes.
    #[doc(hidden)]
    pub async fn open_with_packs_of(
        spec: SessionSpec,
        key: LineageKey,
        pack_length: u64,
    ) -> Result<Opened, Error> {
        let (chunk_size, disk_size) = (spec.chunk_size.0, spec.disk_size.0);
        let geometry =
            Geometry::new(disk_size, chunk_size).ok_or(Error::Geometry { chunk_size, disk_size })?;
        let lineage = Lineage { target: Arc::clone(&spec.target), id: spec.lineage_id };
        match lineage.manifest(spec.snapshot_id).await {
            Ok((manifest, digest)) => {
                check_own(&spec, &manifest, geometry, &key)?;
                Journal::remove(&spec.journal);
                return Ok(Opened::AlreadyComplete(summarize(&manifest, digest)));
            }
            Err(Error::ManifestMissing { .. }) => {}
            Err(error) => return Err(error),
        }
        let parent = load_parent(&lineage, &spec, &key).await?;
        let begin = Begin {
            format: FORMAT_VERSION,
            target_id: lineage.target.id(),
            lineage_id: lineage.id,
            snapshot_id: spec.snapshot_id,
            parent: spec.parent,
            parent_manifest: parent.as_ref().map(|map| map.digest),
            key_id: key.id(),
            chunk_size,
            disk_size,
        };
        let (journal, lines) = Journal::open(spec.journal, begin).await?;
        let slot_count = usize::try_from(geometry.slot_count()).expect("at most 2^26 slots");
        let mut session = Self {
            snapshot_id: spec.snapshot_id,
            geometry,
            key,
            parent: parent.map(Arc::new),
            slots: vec![SlotState::Pending; slot_count],
            writer: PackWriter::new(lineage.clone(), journal, pack_length),
            lineage,
            segments: HashMap::new(),
            sealing: VecDeque::new(),
            unsaved: Vec::new(),
            unsaved_count: 0,
            kept: Vec::new(),
            read_all: None,
            bytes_done: 0,
            bytes_given: 0,
            broken: false,
        };
        if session.resume(lines).await? { Ok(Opened::Resumed(session)) } else { Ok(Opened::New(session)) }
    }

    /// How many slots the disk has.
    #[must_use]
    pub fn slot_count(&self) -> u64 {
        self.geometry.slot_count()
    }

    /// How many bytes slot `slot` takes: the chunk size, or less in the last.
    #[must_use]
    pub fn slot_length(&self, slot: u64) -> u64 {
        u64::from(self.geometry.slot_length(slot))
    }

    /// Whether `slot` needs no read.
    #[must_use]
    pub fn is_done(&self, slot: u64) -> bool {
        self.slot(slot).is_some_and(|state| *state != SlotState::Pending)
    }

    /// The slots that need no read.
    ///
    /// Shape: ascending, disjoint, none empty.
    #[must_use]
    pub fn done_slots(&self) -> Vec<Range<u64>> {
        ranges(
            (0..).zip(&self.slots).filter(|(_, state)| **state != SlotState::Pending).map(|(slot, _)| slot),
        )
    }

    /// Takes the bytes of a slot. They are on their way when this returns, and durable after `finish`. A slot that is done
    /// already keeps what it has.
    ///
    /// Errors: of this or of an earlier slot: sealing and putting go on behind.
    pub async fn put(&mut self, slot: u64, plain: Bytes) -> Result<(), Error> {
        self.check_slot(slot)?;
        let (expected, got) = (self.slot_length(slot), plain.len() as u64);
        if got != expected {
            return Err(Error::SlotLength { slot, expected, got });
        }
        self.bytes_given += got;
        if self.is_done(slot) {
            return Ok(());
        }
        self.set(slot, SlotState::Sealing);
        let parent_digest = self.parent.as_ref().and_then(|map| map.chunk(slot)).map(|chunk| chunk.digest);
        let key = self.key.clone();
        let seal = on_a_core(move || seal_slot(&key, &plain, parent_digest));
        self.sealing.push_back((slot, tokio::spawn(seal)));
        let settled = self.settle_down_to(2 * *CORE_COUNT).await;
        self.remember(settled)
    }

    /// Says that slots read as zeroes. A slot that is done already keeps what it has.
    pub async fn put_hole(&mut self, slots: Range<u64>) -> Result<(), Error> {
        if slots.is_empty() {
            return Ok(());
        }
        self.check_slot(slots.end - 1)?;
        for slot in slots {
            if !self.is_done(slot) {
                self.settle_without_chunk(slot, true, false);
            }
        }
        let saved = self.save_if_many().await;
        self.remember(saved)
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            bytes_total: ByteCount(self.geometry.disk_size()),
            bytes_done: ByteCount(self.bytes_done),
            bytes_given: ByteCount(self.bytes_given),
            bytes_stored: self.writer.durable().values().map(|pack| ByteCount(pack.length)).sum(),
        }
    }

    /// Makes all durable and puts the manifest.
    ///
    /// Errors: `SlotsMissing`: a slot that nobody spoke of is never taken for a hole.
    pub async fn finish(mut self) -> Result<ManifestSummary, Error> {
        let outcome = self.commit().await;
        if outcome.is_err() {
            self.close().await;
        }
        outcome
    }

    /// Gives up for now: waits for the put under way, so that nothing lands on the target afterwards. What is durable stays
    /// in the journal. Call it before a purge of the same snapshot.
    pub async fn close(mut self) {
        if let Err(error) = self.writer.arrive().await {
            tracing::debug!(%error, "the last pack of a session that was given up did not arrive");
        }
    }

    async fn commit(&mut self) -> Result<ManifestSummary, Error> {
        if self.broken {
            return Err(Error::SessionBroken);
        }
        self.settle_down_to(0).await?;
        let mut pending =
            (0..).zip(&self.slots).filter(|(_, state)| **state == SlotState::Pending).map(|(slot, _)| slot);
        if let Some(first) = pending.next() {
            return Err(Error::SlotsMissing { missing_count: 1 + pending.count() as u64, first });
        }
        let (manifest, digest) = self.put_manifest().await?;
        Journal::remove(self.writer.journal().path());
        Ok(summarize(&manifest, digest))
    }

    pub(crate) fn slot(&self, slot: u64) -> Option<&SlotState> {
        self.slots.get(usize::try_from(slot).ok()?)
    }

    pub(crate) fn set(&mut self, slot: u64, state: SlotState) {
        let place = usize::try_from(slot).ok().and_then(|index| self.slots.get_mut(index));
        let place = place.expect("the slot was checked to be of the disk");
        let is_done = |state: &SlotState| !matches!(state, SlotState::Pending | SlotState::Sealing);
        let (was, now) = (is_done(place), is_done(&state));
        *place = state;
        let length = u64::from(self.geometry.slot_length(slot));
        match (was, now) {
            (false, true) => self.bytes_done += length,
            (true, false) => self.bytes_done -= length,
            _ => {}
        }
    }

    pub(crate) fn check_slot(&self, slot: u64) -> Result<(), Error> {
        let slot_count = self.slot_count();
        match slot < slot_count {
            _ if self.broken => Err(Error::SessionBroken),
            true => Ok(()),
            false => Err(Error::SlotOutside { slot, slot_count }),
        }
    }

    pub(crate) fn remember(&mut self, outcome: Result<(), Error>) -> Result<(), Error> {
        self.broken |= outcome.is_err();
        outcome
    }

    /// Takes in what was sealed, in the order given, until at most `count` are left.
    async fn settle_down_to(&mut self, count: usize) -> Result<(), Error> {
        while self.sealing.len() > count {
            let Some((slot, handle)) = self.sealing.front_mut() else { break };
            // Cancel safe: the handle stays in its place until it is ready, and its slot counts as under way.
            let (slot, outcome) = (*slot, handle.await);
            self.sealing.pop_front();
            match outcome.map_err(Error::WorkerLost)?? {
                SealedSlot::Hole => self.settle_without_chunk(slot, true, false),
                SealedSlot::AsParent => self.settle_without_chunk(slot, false, false),
                SealedSlot::Chunk { digest, sealed } => {
                    let chunk = self.writer.append_chunk(slot, digest, &sealed);
                    self.set(slot, SlotState::Stored(chunk));
                }
            }
            self.save_if_many().await?;
            self.send_if_full().await?;
        }
        Ok(())
    }

    pub(crate) fn settle_without_chunk(&mut self, slot: u64, hole: bool, kept: bool) {
        self.set(slot, if hole { SlotState::Hole } else { SlotState::AsParent });
        self.unsaved_count += 1;
        match self.unsaved.last_mut() {
            Some(run) if run.end == slot && (run.hole, run.kept) == (hole, kept) => run.end += 1,
            _ => self.unsaved.push(Run { start: slot, end: slot + 1, hole, kept }),
        }
    }

    pub(crate) async fn save_if_many(&mut self) -> Result<(), Error> {
        if self.unsaved_count < UNSAVED_SLOT_COUNT_MAX {
            return Ok(());
        }
        let runs = self.take_unsaved();
        self.writer.journal().append(&[Line::Settled { runs }]).await
    }

    pub(crate) async fn send_if_full(&mut self) -> Result<(), Error> {
        if !self.writer.is_full() {
            return Ok(());
        }
        let runs = self.take_unsaved();
        self.writer.send(runs).await
    }

    fn take_unsaved(&mut self) -> Vec<Run> {
        self.unsaved_count = 0;
        std::mem::take(&mut self.unsaved)
    }
}

/// A manifest that is there already must be the one that this session would make.
fn check_own(
    spec: &SessionSpec,
    manifest: &Manifest,
    geometry: Geometry,
    key: &LineageKey,
) -> Result<(), Error> {
    let name = names::manifest(spec.lineage_id, spec.snapshot_id);
    if manifest.header.key_id != key.id() {
        return Err(Error::KeyWrong { manifest: name });
    }
    if manifest.header.geometry != geometry {
        let reason = "its disk or chunk size differs".to_owned();
        return Err(Error::ManifestForeign { manifest: name, reason });
    }
    Ok(())
}

async fn load_parent(lineage: &Lineage, spec: &SessionSpec, key: &LineageKey) -> Result<Option<Map>, Error> {
    let Some(parent) = spec.parent else { return Ok(None) };
    let map = Map::load(lineage, parent).await.map_err(|error| match error {
        Error::ManifestMissing { .. } => Error::ParentMissing { parent },
        error => error,
    })?;
    let name = names::manifest(lineage.id, parent);
    if map.manifest.header.key_id != key.id() {
        return Err(Error::KeyWrong { manifest: name });
    }
    if u64::from(map.manifest.header.geometry.chunk_size()) != spec.chunk_size.0 {
        let reason = "the chunk size of a lineage is fixed, and it has another".to_owned();
        return Err(Error::ManifestForeign { manifest: name, reason });
    }
    Ok(Some(map))
}

fn summarize(manifest: &Manifest, manifest_digest: Digest) -> ManifestSummary {
    let header = &manifest.header;
    ManifestSummary {
        disk_size: ByteCount(header.geometry.disk_size()),
        bytes_stored: ByteCount(header.bytes_stored),
        chunk_count: header.chunk_count,
        chunks_stored_count: header.chunks_stored_count,
        pack_count: manifest.packs.len() as u64,
        manifest_digest,
    }
}

/// Joins ascending numbers into ranges.
pub(crate) fn ranges(numbers: impl Iterator<Item = u64>) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => ranges.push(number..number + 1),
        }
    }
    ranges
}
