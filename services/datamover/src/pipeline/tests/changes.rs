//! What is known not to have changed is not read; what is only claimed about another point in time is.

use std::sync::atomic::Ordering;

use cloud::{ChangeRecord, Changes};
use model::Extent;

use super::*;

/// A full snapshot of a disk, and a backup of the same disk after its sixth MiB changed.
struct Later {
    bench: Bench,
    bytes: Vec<u8>,
    backup: Backup,
}

async fn make_later(since: impl FnOnce(SnapshotId) -> SnapshotId, record: ChangeRecord) -> Later {
    let bench = Bench::new();
    let mut bytes = make_disk();
    let image = make_image(&bench, "source", DiskFormat::Raw, &bytes);
    let full = bench.make_backup(&image, DiskFormat::Raw, bytes.len());
    bench.back_up(&full).await;
    bytes[5 * MIB..6 * MIB].copy_from_slice(&make_noise(77, MIB));
    std::fs::write(&image, &bytes).unwrap();
    let mut backup = bench.make_backup(&image, DiskFormat::Raw, bytes.len());
    backup.parent = Some(full.snapshot_id);
    backup.source.changes = Some(Changes { since: since(full.snapshot_id), record });
    Later { bench, bytes, backup }
}

fn sixth_mib() -> ChangeRecord {
    ChangeRecord::Extents(vec![Extent { offset: 5 * MIB as u64 + 512, length: MIB as u64 - 1024 }])
}

async fn assert_restores(later: &Later) {
    let destination = make_destination(&later.bench, DiskFormat::Raw, later.bytes.len());
    later.bench.restore(later.backup.snapshot_id, destination.clone()).await.unwrap();
    assert!(read_image(&later.bench, &destination) == later.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_reads_only_what_is_recorded_as_changed() {
    let later = make_later(|full| full, sixth_mib()).await;
    let done = later.bench.back_up(&later.backup).await;
    assert_eq!(done.bytes_read, MIB as u64);
    assert_eq!(done.chunks_stored_count, 1);
    assert_restores(&later).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_lies_is_found_out_and_the_whole_disk_is_read() {
    let later = make_later(|full| full, ChangeRecord::Extents(Vec::new())).await;
    // Of the few slots of this disk the sample takes some at random: sooner or later the one that changed.
    let mut done = None;
    for _ in 0..200 {
        let mut backup = later.backup.clone();
        backup.snapshot_id = SnapshotId::from_uuid(Entropy.uuid());
        backup.journal = later.bench.path(&format!("{}.journal", backup.snapshot_id));
        let found = later.bench.back_up(&backup).await;
        if !found.full_read_reason.is_empty() {
            done = Some((backup, found));
            break;
        }
    }
    let (backup, found) = done.expect("a lie about one slot of nine is found in 200 runs");
    assert!(found.full_read_reason.contains("slot 5"), "{}", found.full_read_reason);
    assert_eq!(found.bytes_read, later.bytes.len() as u64);
    assert_eq!(found.chunks_stored_count, 1);
    assert_eq!(later.bench.means.audit.mismatches.load(Ordering::Relaxed), 1);
    assert_restores(&Later { backup, ..later }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_record_is_compared_too() {
    let later = make_later(|full| full, sixth_mib()).await;
    let done = later.bench.back_up(&later.backup).await;
    assert_eq!(done.full_read_reason, "");
    let audit = &later.bench.means.audit;
    assert!(audit.slots.load(Ordering::Relaxed) >= 8, "{audit:?}");
    assert_eq!(audit.mismatches.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_began_at_another_snapshot_is_not_believed() {
    let nothing = ChangeRecord::Extents(Vec::new());
    let later = make_later(|_| SnapshotId::from_uuid(Entropy.uuid()), nothing).await;
    let done = later.bench.back_up(&later.backup).await;
    assert_eq!(done.bytes_read, later.bytes.len() as u64, "the rewritten file has no holes");
    assert_eq!(done.chunks_stored_count, 1);
    assert_restores(&later).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_parent_a_record_of_changes_counts_for_nothing() {
    let mut later = make_later(|full| full, ChangeRecord::Extents(Vec::new())).await;
    later.backup.parent = None;
    let done = later.bench.back_up(&later.backup).await;
    assert_eq!(done.bytes_read, later.bytes.len() as u64);
    assert_restores(&later).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_whose_bitmap_was_lost_is_read_whole() {
    let later = make_later(|full| full, ChangeRecord::DirtyBitmap("lost".to_owned())).await;
    let done = later.bench.back_up(&later.backup).await;
    assert_eq!(done.bytes_read, later.bytes.len() as u64);
    assert_restores(&later).await;
}
