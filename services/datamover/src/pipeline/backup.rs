//! A disk on its way to a target.
//!
//! ```text
//!  extents that changed since the parent, if known ─▶ all other slots are kept, unread but for a sample (see `audit`)
//!  allocated extents ─▶ slots to read ─▶ 16 reads in flight ─▶ BackupSession::put ─▶ … ─▶ finish: the manifest
//!  all other slots are holes; does the point in time stand still? Only then the manifest is written. Slots that an earlier attempt made durable are neither read nor put
//! ```

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chunk_store::{BackupSession, ManifestSummary, Opened, SessionSpec};
use cloud::{ChangeRecord, Changes, Host, SourceDisk, SourceQuery};
use disk::DiskReader;
use futures::StreamExt as _;
use futures::stream;
use model::{ByteCount, Extent, LineageId, SnapshotId, TargetId};
use proto::rep::v1::DiskTransferred;

use super::fence::Fenced;
use super::{Control, Means, audit, slots};
use crate::limits;
use crate::outcome::Halt;

/// Slots on their way from the disk. See `limits`.
const READS_IN_FLIGHT: usize = 16;

/// Which disk, and where to.
#[derive(Debug, Clone)]
pub struct Backup {
    pub source: SourceDisk,
    /// `None`: it cannot be lost.
    pub moment: Option<HeldMoment>,
    pub target_id: TargetId,
    pub lineage_id: LineageId,
    pub snapshot_id: SnapshotId,
    pub parent: Option<SnapshotId>,
    pub chunk_size: ByteCount,
    /// What is durable of it; the same for all attempts.
    pub journal: PathBuf,
}

/// A point in time that must stand until all is read.
#[derive(Debug, Clone)]
pub struct HeldMoment {
    pub host: Arc<dyn Host>,
    pub source: SourceQuery,
}

/// Backs up one disk, or goes on where an earlier attempt stopped.
///
/// Errors: stopped, fenced, or a failure of disk or target. Cancel safe: no, stop it by its control: what is under way on
/// the target is waited for.
pub async fn run(means: &Means, backup: &Backup, control: &Control) -> Result<DiskTransferred, Halt> {
    let started_at = means.clock.monotonic();
    let _admission = tokio::select! {
        biased; // both are cancel safe
        halt = control.stopped() => return Err(halt),
        admission = means.budget.admit(limits::backup_memory(backup.chunk_size)) => admission,
    };
    let target = means.targets.open(backup.target_id).await.map_err(Halt::effect_free)?;
    let key =
        means.keys.lineage_key(backup.lineage_id).map_err(|error| Halt::effect_free(error.failure()))?;
    control.may_write().await?;
    let spec = SessionSpec {
        target: Fenced::around(target, control.clone()),
        lineage_id: backup.lineage_id,
        snapshot_id: backup.snapshot_id,
        parent: backup.parent,
        chunk_size: backup.chunk_size,
        disk_size: backup.source.size,
        journal: backup.journal.clone(),
    };
    let report = |summary: &ManifestSummary, bytes_read: u64, full_read_reason: Option<String>| {
        let duration = means.clock.monotonic().saturating_duration_since(started_at);
        let figures = report(summary, bytes_read, duration);
        DiskTransferred {
            keeps_changes: backup.source.keeps_changes,
            full_read_reason: full_read_reason.unwrap_or_default(),
            changes_false: control.changes_are_false(),
            ..figures
        }
    };
    if backup.source.changes_are_false {
        control.note_false_changes();
    }
    let opened = BackupSession::open(spec, key).await.map_err(|error| stored(control, &error))?;
    let mut session = match opened {
        Opened::New(session) => session,
        Opened::Resumed(session) => {
            tracing::info!(done_bytes = session.progress().bytes_done.0, "the transfer resumes");
            if session.distrusts_changes().is_some() {
                control.note_false_changes();
            }
            session
        }
        Opened::AlreadyComplete(summary) => {
            // Whether it went by a record that was found to be false only afterwards, nobody knows any more.
            let reason = backup.source.full_read_reason.clone();
            return Ok(report(&summary, 0, reason.filter(|_| !backup.source.changes_are_false)));
        }
    };
    let disk = match open_disk(means, backup, &mut session, control).await {
        Ok(opened) => opened,
        Err(halt) => {
            session.close().await;
            return Err(halt);
        }
    };
    let OpenDisk { reader, populated, full_read_reason } = disk;
    let carried = carry((means, control), backup, (&reader, &populated), session).await;
    if let Err(error) = reader.close().await {
        // All bytes that were needed were read and checked for length.
        tracing::warn!(error = %error, "the disk server did not end well");
    }
    let (summary, bytes_read, read_again_reason) = carried?;
    Ok(report(&summary, bytes_read, read_again_reason.or(full_read_reason)))
}

/// A disk at its point in time.
struct OpenDisk {
    reader: DiskReader,
    /// The slots in which there is something.
    populated: Vec<Range<u64>>,
    /// Why what changed since the parent is not known, where one would expect it.
    full_read_reason: Option<String>,
}

/// Opens the disk, and tells the session what of it is known not to have changed since the parent.
async fn open_disk(
    means: &Means,
    backup: &Backup,
    session: &mut BackupSession,
    control: &Control,
) -> Result<OpenDisk, Halt> {
    control.progress().bytes_total.store(session.progress().bytes_total.0, Ordering::Relaxed);
    let distrusted = session.distrusts_changes().map(str::to_owned);
    let (reader, changed) = tokio::select! {
        biased; // a disk server that is being opened dies with the future
        halt = control.stopped() => return Err(halt),
        opened = open_with_changes(means, backup, distrusted) => {
            opened.map_err(|error| Halt::failed(error.failure()))?
        }
    };
    let allocated = tokio::select! {
        biased; // both are cancel safe
        halt = control.stopped() => return Err(halt),
        allocated = reader.allocated_extents() => allocated.map_err(|error| Halt::failed(error.failure()))?,
    };
    let (chunk_size, slot_count) = (slots::chunk_size(session), session.slot_count());
    let populated = slots::touched(&allocated, chunk_size, slot_count);
    let changed = match changed {
        Changed::In(extents) => slots::touched(&extents, chunk_size, slot_count),
        Changed::Unknown { reason } => {
            let full_read_reason = take_back_kept(session, reason, control).await?;
            return Ok(OpenDisk { reader, populated, full_read_reason });
        }
    };
    let unchanged = slots::gaps(&changed, slot_count);
    // Where both the disk and the parent have nothing there is nothing to compare.
    let mut candidates = slots::common(&unchanged, &populated);
    candidates.extend(slots::common(&unchanged, &session.parent_slots()));
    let lie = tokio::select! {
        biased; // both are cancel safe
        halt = control.stopped() => return Err(halt),
        lie = audit::find_lie(means, &reader, session, &candidates, backup.snapshot_id) => lie?,
    };
    if let Some(slot) = lie {
        let full_read_reason = Some(distrust(backup, session, slot, control).await?);
        return Ok(OpenDisk { reader, populated, full_read_reason });
    }
    for unchanged in unchanged {
        session.keep(unchanged).await.map_err(|error| stored(control, &error))?;
    }
    Ok(OpenDisk { reader, populated, full_read_reason: None })
}

/// The record of changes is wrong in `slot`, so nothing of it counts, nor what an earlier attempt kept by it; gives the reason
/// of the full read. The host forgets it first: whatever becomes of this attempt and of its snapshot, nobody trusts that record
/// again.
///
/// Errors: the host cannot forget it now.
async fn distrust(
    backup: &Backup,
    session: &mut BackupSession,
    slot: u64,
    control: &Control,
) -> Result<String, Halt> {
    let reason = format!("the record of changes lies: slot {slot} changed, and it does not say so");
    tracing::error!(slot, "a record of changes lies, the whole disk is read");
    control.note_false_changes();
    if let Some(HeldMoment { host, source }) = &backup.moment {
        host.forget_changes(source).await.map_err(Halt::failed)?;
    }
    session.distrust_changes(&reason).await.map_err(|error| stored(control, &error))?;
    Ok(reason)
}

/// An earlier attempt may have kept slots by a record of changes that is not given any more: these are read now. Gives the
/// reason of the full read.
async fn take_back_kept(
    session: &mut BackupSession,
    reason: Option<String>,
    control: &Control,
) -> Result<Option<String>, Halt> {
    if !session.keeps_unread() {
        return Ok(reason);
    }
    let reason = reason.unwrap_or_else(|| "the record of changes that was begun with is gone".to_owned());
    tracing::warn!(reason, "what was kept unread is read");
    control.note_false_changes();
    session.distrust_changes(&reason).await.map_err(|error| stored(control, &error))?;
    Ok(Some(reason))
}

/// What changed since the parent.
enum Changed {
    In(Vec<Extent>),
    /// All is read; `reason`: although there is a parent and somebody keeps a record.
    Unknown {
        reason: Option<String>,
    },
}

/// `distrusted`: why no record counts, whatever the host says of it.
async fn open_with_changes(
    means: &Means,
    backup: &Backup,
    distrusted: Option<String>,
) -> Result<(DiskReader, Changed), disk::Error> {
    let SourceDisk { location, size, changes, full_read_reason, .. } = &backup.source;
    let reason = match changes {
        _ if distrusted.is_some() => distrusted,
        Some(changes) if Some(changes.since) == backup.parent => match &changes.record {
            ChangeRecord::Extents(extents) => {
                return Ok((means.disks.read(location, *size).await?, Changed::In(extents.clone())));
            }
            ChangeRecord::DirtyBitmap(name) => {
                match means.disks.read_with_bitmap(location, *size, name).await {
                    Ok(reader) => {
                        let changed = reader.changed_extents().await?;
                        return Ok((reader, Changed::In(changed)));
                    }
                    Err(error @ disk::Error::BitmapMissing { .. }) => Some(error.to_string()),
                    Err(error) => return Err(error),
                }
            }
        },
        // A record that began at another point in time says nothing of what the parent holds.
        Some(Changes { since, .. }) => Some(format!("changes are known since snapshot {since} only")),
        None => full_read_reason.clone(),
    };
    let reason = reason.filter(|_| backup.parent.is_some());
    if let Some(reason) = &reason {
        tracing::warn!(reason, "the whole disk is read");
    }
    Ok((means.disks.read(location, *size).await?, Changed::Unknown { reason }))
}

/// Feeds the session; gives the summary, the number of bytes read, and why all was read after all. The session is closed in
/// any case.
async fn carry(
    (means, control): (&Means, &Control),
    backup: &Backup,
    disk: (&DiskReader, &[Range<u64>]),
    mut session: BackupSession,
) -> Result<(ManifestSummary, u64, Option<String>), Halt> {
    match feed_all((means, control), backup, disk, &mut session).await {
        Ok((bytes_read, read_again_reason)) => {
            control.may_write().await?;
            let summary = session.finish().await.map_err(|error| stored(control, &error))?;
            control.progress().bytes_done.store(summary.disk_size.0, Ordering::Relaxed);
            control.progress().bytes_stored.store(summary.bytes_stored.0, Ordering::Relaxed);
            Ok((summary, bytes_read, read_again_reason))
        }
        Err(halt) => {
            session.close().await;
            Err(halt)
        }
    }
}

/// Feeds the session with what is not kept. When the record by which the rest was kept is found false meanwhile, as by the
/// transfer of another disk of the instance, with the rest too.
async fn feed_all(
    (means, control): (&Means, &Control),
    backup: &Backup,
    disk: (&DiskReader, &[Range<u64>]),
    session: &mut BackupSession,
) -> Result<(u64, Option<String>), Halt> {
    let mut bytes_read = feed((means, control), disk, session).await?;
    let mut read_again_reason = None;
    if let Some(HeldMoment { host, source }) = &backup.moment
        && session.keeps_unread()
        && host.changes_are_false(source).await.map_err(Halt::failed)?
    {
        let reason = "the record of changes was found to be false while the disk was read".to_owned();
        read_again_reason = take_back_kept(session, Some(reason), control).await?;
        bytes_read += feed((means, control), disk, session).await?;
    }
    check_moment(backup).await?;
    Ok((bytes_read, read_again_reason))
}

/// What was read is of the point in time only if that stood until now.
async fn check_moment(backup: &Backup) -> Result<(), Halt> {
    match &backup.moment {
        Some(HeldMoment { host, source }) => host.check_moment(source).await.map_err(Halt::failed),
        None => Ok(()),
    }
}

async fn feed(
    (means, control): (&Means, &Control),
    (reader, populated): (&DiskReader, &[Range<u64>]),
    session: &mut BackupSession,
) -> Result<u64, Halt> {
    let (progress, chunk_size) = (control.progress(), slots::chunk_size(session));
    // What was kept of the parent is done, and stays as it is.
    for hole in slots::gaps(populated, session.slot_count()) {
        session.put_hole(hole).await.map_err(|error| stored(control, &error))?;
    }
    let wanted: Vec<(u64, u64)> = populated
        .iter()
        .cloned()
        .flatten()
        .filter(|slot| !session.is_done(*slot))
        .map(|slot| (slot, session.slot_length(slot)))
        .collect();
    let reads = stream::iter(wanted).map(|(slot, length)| async move {
        means.rate.take(length).await;
        let bytes = reader.read(slot * chunk_size, length).await;
        bytes.map(|bytes| (slot, bytes)).map_err(|error| Halt::failed(error.failure()))
    });
    let mut reads = std::pin::pin!(reads.buffered(READS_IN_FLIGHT));
    let mut bytes_read = 0;
    loop {
        let next = tokio::select! {
            biased; // both are cancel safe: a read that is dropped is read again by the next attempt
            halt = control.stopped() => return Err(halt),
            next = reads.next() => next,
        };
        let Some(read) = next else { return Ok(bytes_read) };
        let (slot, bytes) = read?;
        bytes_read += bytes.len() as u64;
        control.may_write().await?;
        session.put(slot, bytes).await.map_err(|error| stored(control, &error))?;
        let now = session.progress();
        progress.bytes_read.store(bytes_read, Ordering::Relaxed);
        progress.bytes_done.store(now.bytes_done.0, Ordering::Relaxed);
        progress.bytes_stored.store(now.bytes_stored.0, Ordering::Relaxed);
    }
}

/// A failure of the chunk store; when the job was stopped or lost its lease meanwhile, that is the reason.
fn stored(control: &Control, error: &chunk_store::Error) -> Halt {
    control.halt_of(error.failure())
}

fn report(summary: &ManifestSummary, bytes_read: u64, duration: Duration) -> DiskTransferred {
    DiskTransferred {
        size_bytes: summary.disk_size.0,
        bytes_read,
        bytes_stored: summary.bytes_stored.0,
        chunk_count: summary.chunk_count,
        chunks_stored_count: summary.chunks_stored_count,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        manifest_digest: summary.manifest_digest.as_bytes().to_vec(),
        ..Default::default()
    }
}
