//! Real images, real disk servers, a real target.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backup_target::PosixTarget;
use chunk_store::FileKeys;
use cloud::{DestinationDisk, SourceDisk};
use model::{ByteCount, DiskFormat, DiskLocation, ErrorClass, LineageId, SnapshotId, TargetId, Timestamp};
use proto::rep::v1::{DiskTransferred, DiskWritten};
use runtime::{Clock as _, Entropy, FaultTable, ManualClock, SystemClock};

use super::backup::{self, Backup};
use super::restore::{self, Restore};
use super::{AuditFigures, Control, Means, RateLimit, Stopper};
use crate::lease::Lease;
use crate::limits::ByteBudget;
use crate::outcome::{Halt, StopReason};
use crate::targets::Targets;

mod changes;
mod purges;

const MIB: usize = 1 << 20;

/// A target with one lineage on it.
struct Bench {
    dir: tempfile::TempDir,
    means: Means,
    target_id: TargetId,
    lineage_id: LineageId,
}

impl Bench {
    fn new() -> Self {
        Self::with_rate(None)
    }

    fn with_rate(mib_per_s: Option<u64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::fs::create_dir(&target).unwrap();
        let target_id = PosixTarget::init(&target, &Entropy).unwrap();
        let means = Means {
            targets: Targets::new(vec![target], Arc::new(FaultTable::none())),
            keys: Arc::new(FileKeys::create(&dir.path().join("keys"), &Entropy).unwrap()),
            disks: disk::Opener { qemu_nbd: "qemu-nbd".into(), runtime_dir: dir.path().join("run") },
            clock: SystemClock::shared(),
            budget: ByteBudget::new(512),
            rate: RateLimit::new(SystemClock::shared(), mib_per_s.map(|rate| rate << 20)),
            read_back_one_of: 1,
            audit: AuditFigures::default(),
        };
        Self { dir, means, target_id, lineage_id: LineageId::from_uuid(Entropy.uuid()) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn make_backup(&self, path: &Path, format: DiskFormat, size: usize) -> Backup {
        let snapshot_id = SnapshotId::from_uuid(Entropy.uuid());
        Backup {
            source: SourceDisk {
                location: DiskLocation::file(path, format),
                size: ByteCount(size as u64),
                changes: None,
                full_read_reason: None,
                changes_are_false: false,
                keeps_changes: false,
            },
            moment: None,
            target_id: self.target_id,
            lineage_id: self.lineage_id,
            snapshot_id,
            parent: None,
            chunk_size: ByteCount::mib(1),
            journal: self.path(&format!("{snapshot_id}.journal")),
        }
    }

    async fn back_up(&self, backup: &Backup) -> DiskTransferred {
        let (_stopper, control) = Control::new(None);
        backup::run(&self.means, backup, &control).await.unwrap()
    }

    async fn restore(&self, snapshot_id: SnapshotId, to: DestinationDisk) -> Result<DiskWritten, Halt> {
        let (_stopper, control) = Control::new(None);
        let restore =
            Restore { destination: to, target_id: self.target_id, lineage_id: self.lineage_id, snapshot_id };
        restore::run(&self.means, &restore, &control).await
    }

    /// All files below the target, but `repo.json`.
    fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("target")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("repo.json") {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

/// Bytes that no compressor makes smaller, the same for the same seed.
fn make_noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Data, a hole, data, a partial last slot.
fn make_disk() -> Vec<u8> {
    let mut bytes = make_noise(1, 3 * MIB);
    bytes.resize(7 * MIB, 0);
    bytes.extend(make_noise(2, 2 * MIB + 4096));
    bytes
}

fn qemu_img(arguments: &[&str]) {
    let output = Command::new("qemu-img").args(arguments).output().expect("qemu-img is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn make_image(bench: &Bench, name: &str, format: DiskFormat, bytes: &[u8]) -> PathBuf {
    let raw = bench.path(&format!("{name}.dense"));
    std::fs::write(&raw, bytes).unwrap();
    let image = bench.path(&format!("{name}.{}", format.as_str()));
    // Zeroes become holes.
    let (from, to) = (raw.to_str().unwrap(), image.to_str().unwrap());
    qemu_img(&["convert", "-S", "4k", "-f", "raw", "-O", format.as_str(), from, to]);
    image
}

fn make_destination(bench: &Bench, format: DiskFormat, size: usize) -> DestinationDisk {
    let path = bench.path(&format!("destination-{}", Entropy.uuid()));
    qemu_img(&["create", "-q", "-f", format.as_str(), path.to_str().unwrap(), &size.to_string()]);
    DestinationDisk { location: DiskLocation::file(path, format), size: ByteCount(size as u64) }
}

fn read_image(bench: &Bench, disk: &DestinationDisk) -> Vec<u8> {
    let raw = bench.path("read-back.raw");
    let DiskLocation::File(image) = &disk.location else { panic!("not a file") };
    let (path, format) = (image.path.to_str().unwrap(), image.format.as_str());
    qemu_img(&["convert", "-f", format, "-O", "raw", path, raw.to_str().unwrap()]);
    std::fs::read(raw).unwrap()
}

async fn check_round_trip(from: DiskFormat, to: DiskFormat) {
    let bench = Bench::new();
    let bytes = make_disk();
    let image = make_image(&bench, "source", from, &bytes);
    let backup = bench.make_backup(&image, from, bytes.len());
    let transferred = bench.back_up(&backup).await;
    assert_eq!(transferred.size_bytes, bytes.len() as u64);
    assert!(transferred.bytes_read < 7 * MIB as u64, "holes were read: {}", transferred.bytes_read);
    assert_eq!(transferred.chunk_count, 6);
    let destination = make_destination(&bench, to, bytes.len());
    let written = bench.restore(backup.snapshot_id, destination.clone()).await.unwrap();
    assert_eq!(written.bytes_read_back, bytes.len() as u64);
    assert!(written.bytes_written < 7 * MIB as u64, "{}", written.bytes_written);
    assert!(read_image(&bench, &destination) == bytes, "the bytes differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_disk_comes_back_byte_for_byte() {
    check_round_trip(DiskFormat::Raw, DiskFormat::Raw).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qcow2_disk_comes_back_byte_for_byte() {
    check_round_trip(DiskFormat::Qcow2, DiskFormat::Qcow2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_stores_only_what_changed() {
    let bench = Bench::new();
    let mut bytes = make_noise(1, 8 * MIB);
    let image = make_image(&bench, "source", DiskFormat::Raw, &bytes);
    let full = bench.make_backup(&image, DiskFormat::Raw, bytes.len());
    let first = bench.back_up(&full).await;
    assert!(first.bytes_stored > 8 * MIB as u64);
    bytes[5 * MIB + 17] ^= 1;
    std::fs::write(&image, &bytes).unwrap();
    let mut incremental = bench.make_backup(&image, DiskFormat::Raw, bytes.len());
    incremental.parent = Some(full.snapshot_id);
    let second = bench.back_up(&incremental).await;
    assert_eq!(second.chunks_stored_count, 1);
    assert!(second.bytes_stored < 2 * MIB as u64, "{}", second.bytes_stored);
    let destination = make_destination(&bench, DiskFormat::Raw, bytes.len());
    bench.restore(incremental.snapshot_id, destination.clone()).await.unwrap();
    assert!(read_image(&bench, &destination) == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_written_where_the_destination_holds_old_bytes() {
    let bench = Bench::new();
    let bytes = make_disk();
    let image = make_image(&bench, "source", DiskFormat::Raw, &bytes);
    let backup = bench.make_backup(&image, DiskFormat::Raw, bytes.len());
    bench.back_up(&backup).await;
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        // Longer than the disk: what lies behind its end must not show old bytes either.
        let old = make_noise(9, bytes.len() + MIB);
        let path = make_image(&bench, "used", format, &old);
        let location = DiskLocation::file(path, format);
        let destination = DestinationDisk { location, size: ByteCount(old.len() as u64) };
        bench.restore(backup.snapshot_id, destination.clone()).await.unwrap();
        let mut expected = bytes.clone();
        expected.resize(old.len(), 0);
        assert!(read_image(&bench, &destination) == expected, "{format:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_too_small_is_refused_before_a_byte_is_written() {
    let bench = Bench::new();
    let bytes = make_noise(1, 2 * MIB);
    let image = make_image(&bench, "source", DiskFormat::Raw, &bytes);
    let backup = bench.make_backup(&image, DiskFormat::Raw, bytes.len());
    bench.back_up(&backup).await;
    let destination = make_destination(&bench, DiskFormat::Raw, MIB);
    let halt = bench.restore(backup.snapshot_id, destination).await.unwrap_err();
    assert!(
        matches!(halt, Halt::Failed { failure, effect_free: true } if failure.code == "DESTINATION_TOO_SMALL")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_on_the_target_fails_the_restore_and_names_the_pack() {
    let bench = Bench::new();
    let bytes = make_noise(1, 2 * MIB);
    let image = make_image(&bench, "source", DiskFormat::Raw, &bytes);
    let backup = bench.make_backup(&image, DiskFormat::Raw, bytes.len());
    bench.back_up(&backup).await;
    let pack = bench.objects().into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut content = std::fs::read(&pack).unwrap();
    content[MIB] ^= 1;
    let mut rights = pack.metadata().unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o600);
    std::fs::set_permissions(&pack, rights).unwrap();
    std::fs::write(&pack, content).unwrap();
    let destination = make_destination(&bench, DiskFormat::Raw, bytes.len());
    let Halt::Failed { failure, .. } = bench.restore(backup.snapshot_id, destination).await.unwrap_err()
    else {
        panic!("not failed")
    };
    assert_eq!(failure.class, ErrorClass::Permanent);
    assert!(failure.code.starts_with("PACK_"), "{failure}");
    let pack_id = pack.file_stem().unwrap().to_str().unwrap();
    assert!(failure.message.contains(pack_id), "{failure} does not name {pack_id}");
}

/// Runs a backup on a task, until `enough` of it.
async fn start_until(
    bench: Arc<Bench>,
    backup: Backup,
    lease: Option<Arc<Lease>>,
    enough: impl Fn(super::ProgressValues) -> bool,
) -> (Stopper, Control, tokio::task::JoinHandle<Result<DiskTransferred, Halt>>) {
    let (stopper, control) = Control::new(lease);
    let own = control.clone();
    let task = tokio::spawn(async move { backup::run(&bench.means, &backup, &own).await });
    let deadline = Instant::now() + Duration::from_secs(60);
    while !enough(control.progress().values()) {
        assert!(!task.is_finished(), "it ended early: {:?}", task.await);
        assert!(Instant::now() < deadline, "{:?}", control.progress());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (stopper, control, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_backup_resumes_and_reads_only_what_was_not_durable() {
    let bench = Arc::new(Bench::with_rate(Some(100)));
    let bytes = make_noise(1, 160 * MIB);
    let image = make_image(&bench, "source", DiskFormat::Raw, &bytes);
    let backup = bench.make_backup(&image, DiskFormat::Raw, bytes.len());
    // One pack of 64 MiB is durable.
    let (stopper, _, task) =
        start_until(Arc::clone(&bench), backup.clone(), None, |progress| progress.bytes_stored > 0).await;
    stopper.stop(StopReason::Draining);
    assert_eq!(task.await.unwrap(), Err(Halt::Stopped(StopReason::Draining)));
    let resumed = bench.back_up(&backup).await;
    assert!(resumed.bytes_read <= 100 * MIB as u64, "{} bytes were read again", resumed.bytes_read);
    assert_eq!(resumed.chunk_count, 160);
    let destination = make_destination(&bench, DiskFormat::Raw, bytes.len());
    bench.restore(backup.snapshot_id, destination.clone()).await.unwrap();
    assert!(read_image(&bench, &destination) == bytes);
    let again = bench.back_up(&backup).await;
    assert_eq!((again.bytes_read, &again.manifest_digest), (0, &resumed.manifest_digest), "complete already");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_backup_ends_within_a_second() {
    let bench = Arc::new(Bench::with_rate(Some(1)));
    let image = make_image(&bench, "source", DiskFormat::Raw, &make_noise(1, 32 * MIB));
    let backup = bench.make_backup(&image, DiskFormat::Raw, 32 * MIB);
    let (stopper, _, task) =
        start_until(Arc::clone(&bench), backup, None, |progress| progress.bytes_done > 0).await;
    let stopped_at = Instant::now();
    stopper.stop(StopReason::Aborted);
    assert_eq!(task.await.unwrap(), Err(Halt::Stopped(StopReason::Aborted)));
    assert!(stopped_at.elapsed() < Duration::from_secs(1), "{:?}", stopped_at.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_after_the_lease_ran_out_until_it_is_extended() {
    let bench = Arc::new(Bench::with_rate(Some(8)));
    let bytes = make_noise(1, 24 * MIB);
    let image = make_image(&bench, "source", DiskFormat::Raw, &bytes);
    let backup = bench.make_backup(&image, DiskFormat::Raw, bytes.len());
    let clock = ManualClock::starting_at(Timestamp(1));
    let lease = Lease::new(clock.clone(), 1);
    lease.extend(clock.monotonic(), Duration::from_secs(60), Duration::from_secs(10));
    let (_stopper, control, task) =
        start_until(Arc::clone(&bench), backup, Some(Arc::clone(&lease)), |progress| progress.bytes_done > 0)
            .await;
    let before = bench.objects();
    clock.advance(Duration::from_secs(50));
    let deadline = Instant::now() + Duration::from_secs(20);
    while !control.is_parked() {
        assert!(Instant::now() < deadline, "it does not park");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let parked_at = control.progress().values();
    assert!(parked_at.bytes_done < bytes.len() as u64);
    assert_eq!(bench.objects(), before);
    assert!(!task.is_finished());
    lease.extend(clock.monotonic(), Duration::from_secs(60), Duration::from_secs(10));
    assert_eq!(task.await.unwrap().unwrap().chunk_count, 24);
}

#[tokio::test]
async fn a_put_waits_for_the_lease_and_never_happens_after_a_stop() {
    let bench = Bench::new();
    let clock = ManualClock::starting_at(Timestamp(1));
    let lease = Lease::new(clock.clone(), 1);
    let (stopper, control) = Control::new(Some(Arc::clone(&lease)));
    let target = bench.means.targets.open(bench.target_id).await.unwrap();
    let target = super::fence::Fenced::around(target, control);
    let (first, second) = ("a/first".parse().unwrap(), "a/second".parse().unwrap());
    let mut put = target.put(&first, bytes::Bytes::from_static(b"x"));
    assert!(futures::poll!(&mut put).is_pending());
    assert_eq!(bench.objects().len(), 0);
    lease.extend(clock.monotonic(), Duration::from_secs(60), Duration::ZERO);
    put.await.unwrap();
    assert_eq!(bench.objects().len(), 1);
    stopper.stop(StopReason::Superseded);
    target.put(&second, bytes::Bytes::from_static(b"x")).await.unwrap_err();
    target.delete(&first).await.unwrap_err();
    assert_eq!(bench.objects().len(), 1);
}
