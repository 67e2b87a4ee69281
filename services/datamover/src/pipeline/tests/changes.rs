//! What is known not to have changed is not read; what is only claimed about another point in time is.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use cloud::{
    Base, ChangeRecord, Changes, CutRequest, Frozen, Host, HostLeftover, LeftoverKey, Moment, SourceQuery,
    Thawed,
};
use model::{Extent, Failure, InstanceId, VolumeId};

use super::super::backup::HeldMoment;

use super::*;

/// A full snapshot of a disk, and a backup of the same disk after its sixth MiB changed.
struct Later {
    bench: Bench,
    bytes: Vec<u8>,
    backup: Backup,
}

async fn make_later(since: impl FnOnce(SnapshotId) -> SnapshotId, record: ChangeRecord) -> Later {
    make_later_of(ByteCount::mib(1), since, record).await
}

async fn make_later_of(
    chunk_size: ByteCount,
    since: impl FnOnce(SnapshotId) -> SnapshotId,
    record: ChangeRecord,
) -> Later {
    let bench = Bench::new();
    let mut bytes = make_disk();
    let image = make_image(&bench, "source", DiskFormat::Raw, &bytes);
    let mut full = bench.make_backup(&image, DiskFormat::Raw, bytes.len());
    full.chunk_size = chunk_size;
    bench.back_up(&full).await;
    bytes[5 * MIB..6 * MIB].copy_from_slice(&make_noise(77, MIB));
    std::fs::write(&image, &bytes).unwrap();
    let mut backup = bench.make_backup(&image, DiskFormat::Raw, bytes.len());
    (backup.parent, backup.chunk_size) = (Some(full.snapshot_id), chunk_size);
    backup.source.changes = Some(Changes { since: since(full.snapshot_id), record });
    Later { bench, bytes, backup }
}

fn sixth_mib() -> ChangeRecord {
    ChangeRecord::Extents(vec![Extent { offset: 5 * MIB as u64 + 512, length: MIB as u64 - 1024 }])
}

impl Later {
    /// Another snapshot of the same changes.
    fn begin_another(&mut self, host: &Arc<Witness>) {
        let snapshot_id = SnapshotId::from_uuid(Entropy.uuid());
        self.backup.snapshot_id = snapshot_id;
        self.backup.journal = self.bench.path(&format!("{snapshot_id}.journal"));
        let source = SourceQuery {
            instance_id: InstanceId::from_uuid(Entropy.uuid()),
            disk_id: "vda".parse().unwrap(),
            snapshot_id,
            moment: Moment::Cut,
            base: self.backup.parent.map(|snapshot_id| Base { snapshot_id, volume_snapshot_id: None }),
        };
        self.backup.moment = Some(HeldMoment { host: host.clone(), source });
    }
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

/// A host that is told of lies, and answers as it is set.
#[derive(Debug, Default)]
struct Witness {
    forgotten: Mutex<Vec<SourceQuery>>,
    cannot_forget: Mutex<Option<Failure>>,
    lost: Mutex<Option<Failure>>,
    is_false: AtomicBool,
}

#[async_trait]
impl Host for Witness {
    async fn forget_changes(&self, source: &SourceQuery) -> Result<(), Failure> {
        if let Some(failure) = self.cannot_forget.lock().unwrap().clone() {
            return Err(failure);
        }
        self.forgotten.lock().unwrap().push(source.clone());
        Ok(())
    }
    async fn check_moment(&self, _: &SourceQuery) -> Result<(), Failure> {
        self.lost.lock().unwrap().clone().map_or(Ok(()), Err)
    }
    async fn changes_are_false(&self, _: &SourceQuery) -> Result<bool, Failure> {
        Ok(self.is_false.load(Ordering::Relaxed))
    }
    async fn freeze(&self, _: InstanceId) -> Result<Frozen, Failure> {
        unreachable!("a pipeline freezes nobody")
    }
    async fn thaw(&self, _: InstanceId) -> Result<Thawed, Failure> {
        unreachable!("a pipeline thaws nobody")
    }
    async fn cut(&self, _: &CutRequest) -> Result<Moment, Failure> {
        unreachable!("a pipeline cuts nothing")
    }
    async fn end_cut(&self, _: InstanceId, _: SnapshotId, _: bool) -> Result<(), Failure> {
        unreachable!("a pipeline cuts nothing")
    }
    async fn list_leftovers(&self) -> Result<Vec<HostLeftover>, Failure> {
        unreachable!("a pipeline lists nothing")
    }
    async fn remove_leftover(&self, _: LeftoverKey) -> Result<(), Failure> {
        unreachable!("a pipeline sweeps nothing")
    }
    async fn list_frozen(&self) -> Result<Vec<InstanceId>, Failure> {
        unreachable!("a pipeline lists nothing")
    }
    async fn drop_changes(&self, _: InstanceId) -> Result<(), Failure> {
        unreachable!("a pipeline resets nothing")
    }
    async fn source_disk(&self, _: &SourceQuery) -> Result<SourceDisk, Failure> {
        unreachable!("it was found before")
    }
    async fn destination_disk(&self, _: VolumeId) -> Result<DestinationDisk, Failure> {
        unreachable!("nothing is restored")
    }
}

/// A backup whose record of changes lies, and is found out by the sample of this snapshot.
async fn make_lie(host: &Arc<Witness>) -> Later {
    let mut later = make_later(|full| full, ChangeRecord::Extents(Vec::new())).await;
    for _ in 0..200 {
        later.begin_another(host);
        let cannot = Failure::transient("HOST_STATE", "the disk is full");
        *host.cannot_forget.lock().unwrap() = Some(cannot.clone());
        let (_stopper, control) = Control::new(None);
        if let Err(halt) = backup::run(&later.bench.means, &later.backup, &control).await {
            assert_eq!(halt, Halt::failed(cannot), "a lie that cannot be forgotten is tried again");
            *host.cannot_forget.lock().unwrap() = None;
            later.bench.means.audit.mismatches.store(0, Ordering::Relaxed);
            return later;
        }
    }
    panic!("a lie about one slot of nine is found in 200 runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_lies_is_forgotten_at_once_and_no_later_attempt_asks_it() {
    let host = Arc::new(Witness::default());
    let later = make_lie(&host).await;
    let lost = Failure::permanent("POINT_IN_TIME_LOST", "the instance was stopped");
    *host.lost.lock().unwrap() = Some(lost.clone());
    let (_stopper, control) = Control::new(None);
    let failed = backup::run(&later.bench.means, &later.backup, &control).await.unwrap_err();
    assert_eq!(failed, Halt::failed(lost));
    let HeldMoment { source, .. } = later.backup.moment.clone().unwrap();
    assert_eq!(*host.forgotten.lock().unwrap(), [source], "although its snapshot failed");

    *host.lost.lock().unwrap() = None;
    let done = later.bench.back_up(&later.backup).await;
    assert!(done.full_read_reason.contains("slot 5"), "{}", done.full_read_reason);
    assert_eq!(done.bytes_read, later.bytes.len() as u64);
    let found = later.bench.means.audit.mismatches.load(Ordering::Relaxed);
    assert_eq!((found, host.forgotten.lock().unwrap().len()), (1, 1), "it was asked once");
    assert_restores(&later).await;
}

/// A backup whose record of changes lies, and that an attempt went by unseen. It ended before its manifest was put.
async fn make_lie_believed(host: &Arc<Witness>) -> Later {
    // So many slots that what is kept is journaled at once.
    let mut later = make_later_of(ByteCount(4096), |full| full, ChangeRecord::Extents(Vec::new())).await;
    for _ in 0..200 {
        later.begin_another(host);
        host.forgotten.lock().unwrap().clear();
        let lost = Failure::transient("HOST_STATE", "the host cannot be asked");
        *host.lost.lock().unwrap() = Some(lost.clone());
        let (_stopper, control) = Control::new(None);
        let halt = backup::run(&later.bench.means, &later.backup, &control).await.unwrap_err();
        assert_eq!(halt, Halt::failed(lost));
        *host.lost.lock().unwrap() = None;
        if host.forgotten.lock().unwrap().is_empty() {
            return later;
        }
    }
    panic!("a lie about one slot of nine is not found in 200 runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_to_which_no_record_is_given_any_more_reads_what_an_earlier_one_kept_by_it() {
    let host = Arc::new(Witness::default());
    let mut later = make_lie_believed(&host).await;
    // The transfer of another disk of the instance found the lie, and this process was killed.
    later.backup.source.changes = None;
    let (_stopper, control) = Control::new(None);
    let done = backup::run(&later.bench.means, &later.backup, &control).await.unwrap();
    assert!(done.changes_false && done.full_read_reason.contains("is gone"), "{done:?}");
    assert_eq!(done.bytes_read, later.bytes.len() as u64);
    assert_restores(&later).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_reads_what_it_kept_by_a_record_that_proved_false_meanwhile() {
    let host = Arc::new(Witness::default());
    let later = make_lie_believed(&host).await;
    host.is_false.store(true, Ordering::Relaxed);
    let (_stopper, control) = Control::new(None);
    let done = backup::run(&later.bench.means, &later.backup, &control).await.unwrap();
    assert!(done.changes_false && done.full_read_reason.contains("found to be false"), "{done:?}");
    assert_restores(&later).await;
    assert!(host.forgotten.lock().unwrap().is_empty(), "its own sample did not find the lie");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_manifest_that_was_put_before_its_record_proved_false_nobody_says_that_all_was_read() {
    let host = Arc::new(Witness::default());
    let mut later = make_lie_believed(&host).await;
    later.bench.back_up(&later.backup).await;
    // This process was killed before it could tell, and another disk's transfer found the lie.
    later.backup.source.changes = None;
    later.backup.source.changes_are_false = true;
    later.backup.source.full_read_reason = Some("it was found to be false".to_owned());
    let done = later.bench.back_up(&later.backup).await;
    assert_eq!((done.changes_false, done.full_read_reason.as_str()), (true, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_is_told_of_also_when_the_transfer_fails() {
    let host = Arc::new(Witness::default());
    let later = make_lie(&host).await;
    *host.lost.lock().unwrap() = Some(Failure::permanent("POINT_IN_TIME_LOST", "the instance was stopped"));
    for _ in 0..2 {
        let (_stopper, control) = Control::new(None);
        backup::run(&later.bench.means, &later.backup, &control).await.unwrap_err();
        assert!(control.changes_are_false(), "the first attempt found it, the second has it in its journal");
    }
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
