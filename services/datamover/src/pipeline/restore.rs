//! A disk on its way back from a target.
//!
//! ```text
//!  destination opened: which ranges does it say read as zero? ──┐ asked before the first write
//!  Restorer::slots ─▶ 8 writes in flight ─▶ holes: write zeroes ┴─ but where it is zero already
//!      ─▶ flush ─▶ read back, compare ─▶ close
//! ```
//!
//! A hole is skipped only on the word of the opened destination: a reused volume or an overlay over an image holds old
//! bytes there, and a file that the guest had deleted would be back.

use std::ops::Range;
use std::sync::atomic::Ordering;

use chunk_store::Restorer;
use cloud::DestinationDisk;
use disk::DiskWriter;
use futures::StreamExt as _;
use futures::stream::{self, FuturesUnordered};
use model::{Extent, Failure, LineageId, SnapshotId, TargetId};
use proto::rep::v1::DiskWritten;

use super::{Control, Means, slots};
use crate::limits;
use crate::outcome::Halt;

/// Slots on their way to the disk.
const WRITES_IN_FLIGHT: usize = 8;
/// Slots on their way back for comparison.
const READS_IN_FLIGHT: usize = 8;
/// One request for zeroes; between two the job may be stopped.
const ZEROES_MAX: u64 = 1 << 30;

/// Which disk of which snapshot, and where to.
#[derive(Debug, Clone)]
pub struct Restore {
    pub destination: DestinationDisk,
    pub target_id: TargetId,
    pub lineage_id: LineageId,
    pub snapshot_id: SnapshotId,
}

/// BLAKE3 of a populated slot's bytes; `None`: a hole.
type SlotDigest = Option<blake3::Hash>;

/// Writes one disk and reads it back.
///
/// Errors: stopped, fenced, or a failure of target or disk. Cancel safe: no, stop it by its control.
pub async fn run(means: &Means, restore: &Restore, control: &Control) -> Result<DiskWritten, Halt> {
    let started_at = means.clock.monotonic();
    let _admission = tokio::select! {
        biased; // both are cancel safe
        halt = control.stopped() => return Err(halt),
        admission = means.budget.admit(limits::RESTORE_MEMORY) => admission,
    };
    let target = means.targets.open(restore.target_id).await.map_err(Halt::effect_free)?;
    let key =
        means.keys.lineage_key(restore.lineage_id).map_err(|error| Halt::effect_free(error.failure()))?;
    let restorer = tokio::select! {
        biased; // it only reads
        halt = control.stopped() => return Err(halt),
        opened = Restorer::open(target, restore.lineage_id, restore.snapshot_id, key) => {
            opened.map_err(|error| Halt::effect_free(error.failure()))?
        }
    };
    let destination = &restore.destination;
    if destination.size < restorer.disk_size() {
        return Err(Halt::effect_free(Failure::permanent(
            "DESTINATION_TOO_SMALL",
            format!(
                "{} has {}, the disk needs {}",
                destination.location,
                destination.size,
                restorer.disk_size()
            ),
        )));
    }
    control.may_write().await?;
    let writer = means
        .disks
        .write(&destination.location, destination.size)
        .await
        .map_err(|error| Halt::failed(error.failure()))?;
    let job = Job { means, restorer: &restorer, writer: &writer, control };
    let written = job.write_and_read_back().await;
    let closed = writer.close().await;
    let mut written = written?;
    closed.map_err(|error| Halt::failed(error.failure()))?;
    let duration = means.clock.monotonic().saturating_duration_since(started_at);
    written.duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Ok(written)
}

struct Job<'a> {
    means: &'a Means,
    restorer: &'a Restorer,
    writer: &'a DiskWriter,
    control: &'a Control,
}

impl Job<'_> {
    async fn write_and_read_back(&self) -> Result<DiskWritten, Halt> {
        let disk_size = self.restorer.disk_size().0;
        self.control.progress().bytes_total.store(disk_size, Ordering::Relaxed);
        // Before the first write: afterwards the disk's answer is about our own bytes too.
        let zero = self.writer.zero_extents().await.map_err(disk_failed)?;
        let (digests, bytes_written, bytes_fetched) = self.write_slots().await?;
        self.write_holes(&zero).await?;
        self.control.may_write().await?;
        self.writer.flush().await.map_err(disk_failed)?;
        let bytes_read_back = self.read_back(&digests).await?;
        self.control.progress().bytes_done.store(disk_size, Ordering::Relaxed);
        Ok(DiskWritten {
            size_bytes: disk_size,
            bytes_written,
            bytes_fetched,
            bytes_read_back,
            duration_ms: 0,
        })
    }

    /// Writes all slots that are no holes; gives their digests, the bytes written and the bytes fetched.
    async fn write_slots(&self) -> Result<(Vec<SlotDigest>, u64, u64), Halt> {
        let chunk_size = self.restorer.chunk_size().0;
        let slot_count = usize::try_from(self.restorer.slot_count()).map_err(|_| {
            Halt::effect_free(Failure::permanent("DISK_GEOMETRY", "the disk has too many slots"))
        })?;
        let mut digests: Vec<SlotDigest> = vec![None; slot_count];
        let mut bytes_written = 0;
        let mut arriving = self.restorer.slots();
        let mut writes = FuturesUnordered::new();
        let mut ended = false;
        let progress = self.control.progress();
        while !ended || !writes.is_empty() {
            tokio::select! {
                biased;
                // A write that is dropped lands on a volume that nobody else may use before it is undone or written again.
                halt = self.control.stopped() => return Err(halt),
                Some(written) = writes.next(), if !writes.is_empty() => {
                    let length: u64 = written?;
                    bytes_written += length;
                    progress.bytes_stored.store(bytes_written, Ordering::Relaxed);
                    progress.bytes_done.fetch_add(length / 2, Ordering::Relaxed);
                }
                next = arriving.next(), if !ended && writes.len() < WRITES_IN_FLIGHT => match next {
                    None => ended = true,
                    Some(arrived) => {
                        let (slot, bytes) = arrived.map_err(|error| Halt::failed(error.failure()))?;
                        let digest = digests
                            .get_mut(usize::try_from(slot).unwrap_or(usize::MAX))
                            .expect("chunk-store checks that slots lie on the disk");
                        *digest = Some(blake3::hash(&bytes));
                        progress.bytes_read.store(arriving.bytes_fetched().0, Ordering::Relaxed);
                        writes.push(async move {
                            let length = bytes.len() as u64;
                            self.means.rate.take(length).await;
                            self.control.may_write().await?;
                            self.writer.write(slot * chunk_size, bytes).await.map_err(disk_failed)?;
                            Ok(length)
                        });
                    }
                },
            }
        }
        Ok((digests, bytes_written, arriving.bytes_fetched().0))
    }

    /// Writes zeroes where the snapshot has a hole, and behind its end, but where the destination was zero before.
    async fn write_holes(&self, zero: &[Extent]) -> Result<(), Halt> {
        let chunk_size = self.restorer.chunk_size().0;
        let disk_size = self.restorer.disk_size().0;
        let mut holes: Vec<Range<u64>> = self
            .restorer
            .holes()
            .into_iter()
            .map(|slots| slots.start * chunk_size..(slots.end * chunk_size).min(disk_size))
            .collect();
        holes.push(disk_size..self.writer.size().0);
        for range in holes.into_iter().filter(|range| !range.is_empty()) {
            for dirty in slots::outside(range, zero) {
                let mut at = dirty.start;
                while at < dirty.end {
                    let length = (dirty.end - at).min(ZEROES_MAX);
                    self.control.may_write().await?;
                    self.writer.write_zeroes(at, length).await.map_err(disk_failed)?;
                    at += length;
                }
            }
        }
        Ok(())
    }

    /// Reads the disk back and compares: each slot, or one of so many as the settings say, holes too.
    async fn read_back(&self, digests: &[SlotDigest]) -> Result<u64, Halt> {
        let chunk_size = self.restorer.chunk_size().0;
        let disk_size = self.restorer.disk_size().0;
        let one_of = usize::try_from(self.means.read_back_one_of.max(1)).unwrap_or(usize::MAX);
        let reads = stream::iter((0..digests.len()).step_by(one_of)).map(|slot| {
            let digest = digests[slot];
            let offset = slot as u64 * chunk_size;
            let length = chunk_size.min(disk_size - offset);
            async move {
                let bytes = self.writer.read(offset, length).await.map_err(disk_failed)?;
                let same = match digest {
                    Some(digest) => blake3::hash(&bytes) == digest,
                    None => bytes.iter().all(|byte| *byte == 0),
                };
                if same { Ok(length) } else { Err(mismatch(offset, length)) }
            }
        });
        let mut reads = std::pin::pin!(reads.buffered(READS_IN_FLIGHT));
        let half_written = self.control.progress().bytes_done.load(Ordering::Relaxed);
        let mut bytes_read_back: u64 = 0;
        loop {
            let next = tokio::select! {
                biased; // both are cancel safe
                halt = self.control.stopped() => return Err(halt),
                next = reads.next() => next,
            };
            let Some(read) = next else { return Ok(bytes_read_back) };
            bytes_read_back += read?;
            let done = (half_written + bytes_read_back / 2).min(disk_size);
            self.control.progress().bytes_done.store(done, Ordering::Relaxed);
        }
    }
}

fn mismatch(offset: u64, length: u64) -> Halt {
    Halt::failed(Failure::permanent(
        "READ_BACK_MISMATCH",
        format!(
            "the bytes {offset}..{} of the volume are not those that were written; look at its storage",
            offset + length
        ),
    ))
}

#[allow(clippy::needless_pass_by_value)] // a function for map_err
fn disk_failed(error: disk::Error) -> Halt {
    Halt::failed(error.failure())
}
