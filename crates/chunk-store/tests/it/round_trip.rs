use std::sync::Arc;

use bytes::Bytes;
use chunk_store::{Error, Level, Opened, Restorer, verify};
use model::ByteCount;
use runtime::Entropy;

use crate::world::{CHUNK, World, feed, make_noise, new_snapshot};

/// Noise, text that compresses, zeroes; 40 slots and a bit.
fn make_disk() -> Vec<u8> {
    let mut disk = make_noise(20 * CHUNK, 1);
    disk.extend(std::iter::repeat_n(b"all work and no play ", 2000).flatten().take(10 * CHUNK));
    disk.extend(vec![0; 10 * CHUNK]);
    disk.extend(make_noise(1000, 2));
    disk
}

#[tokio::test]
async fn a_full_snapshot_comes_back_byte_for_byte() {
    let world = World::new();
    let disk = make_disk();
    let (snapshot, summary) = world.back_up(&disk, None).await;
    assert_eq!(world.restore(snapshot).await.unwrap(), disk);
    assert_eq!(summary.disk_size, ByteCount(disk.len() as u64));
    assert_eq!((summary.chunk_count, summary.chunks_stored_count), (31, 31));
    assert_eq!(summary.pack_count, world.packs().len() as u64);
    assert!(summary.pack_count >= 2, "{summary:?}");
    let on_target: u64 = world.packs().iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(summary.bytes_stored.0, on_target);
    assert!(on_target < 24 * CHUNK as u64, "text compresses, zeroes cost nothing: {on_target}");
}

#[tokio::test]
async fn an_incremental_snapshot_stores_only_what_changed_and_both_come_back() {
    let world = World::new();
    let mut oldest = make_noise(200 * CHUNK + 17, 1);
    oldest[50 * CHUNK..60 * CHUNK].fill(0);
    let mut disks = vec![oldest.clone()];
    let (mut parent, full) = world.back_up(&oldest, None).await;
    let mut snapshots = vec![parent];
    for round in 0..4 {
        let mut disk = disks.last().unwrap().clone();
        disk[round * 11 * CHUNK] ^= 1;
        disk[(100 + round) * CHUNK..(101 + round) * CHUNK].fill(0);
        let (snapshot, summary) = world.back_up(&disk, Some(parent)).await;
        assert_eq!(summary.chunks_stored_count, 1, "{summary:?}");
        // The chunk, the segment of 200 entries that names it, header and footer.
        assert!(summary.bytes_stored.0 < CHUNK as u64 + 200 * 48 + 1000, "{summary:?}");
        assert!(summary.bytes_stored.0 * 20 < full.bytes_stored.0);
        (parent, disks) = (snapshot, {
            disks.push(disk);
            disks
        });
        snapshots.push(snapshot);
    }
    for (snapshot, disk) in snapshots.iter().zip(&disks) {
        assert!(world.restore(*snapshot).await.unwrap() == *disk);
    }
}

#[tokio::test]
async fn nothing_changed_stores_nothing_but_a_manifest() {
    let world = World::new();
    let disk = make_disk();
    let (parent, _) = world.back_up(&disk, None).await;
    let packs = world.packs();
    let (snapshot, summary) = world.back_up(&disk, Some(parent)).await;
    assert_eq!((summary.bytes_stored, summary.chunks_stored_count), (ByteCount(0), 0));
    assert_eq!(world.packs(), packs);
    assert!(world.restore(snapshot).await.unwrap() == disk);
}

#[tokio::test]
async fn a_disk_without_a_chunk_needs_no_pack() {
    for length in [0, 1, CHUNK, 10 * CHUNK + 1] {
        let world = World::new();
        let (snapshot, summary) = world.back_up(&vec![0; length], None).await;
        assert_eq!((summary.chunk_count, summary.pack_count), (0, 0));
        assert_eq!(world.restore(snapshot).await.unwrap(), vec![0; length]);
        assert!(world.packs().is_empty());
    }
}

#[tokio::test]
async fn a_disk_that_grew_or_shrank_keeps_what_it_shares_with_its_parent() {
    let world = World::new();
    let disk = make_noise(40 * CHUNK + 100, 3);
    let (parent, _) = world.back_up(&disk, None).await;
    let mut grown = disk.clone();
    grown.extend(make_noise(3 * CHUNK, 4));
    let (grown_snapshot, summary) = world.back_up(&grown, Some(parent)).await;
    assert_eq!(summary.chunks_stored_count, 4, "the partial slot is whole now, and three are new");
    let shrunk = disk[..20 * CHUNK + 5].to_vec();
    let (shrunk_snapshot, summary) = world.back_up(&shrunk, Some(grown_snapshot)).await;
    assert_eq!(summary.chunks_stored_count, 1, "the last slot is cut");
    for (snapshot, disk) in [(parent, disk), (grown_snapshot, grown), (shrunk_snapshot, shrunk)] {
        assert!(world.restore(snapshot).await.unwrap() == disk);
    }
}

#[tokio::test]
async fn slots_may_come_in_any_order_and_be_read_one_by_one() {
    let world = World::new();
    let disk = make_disk();
    let snapshot = new_snapshot();
    let Opened::New(mut session) = world.open(snapshot, None, disk.len()).await.unwrap() else { panic!() };
    session.put_hole(30..40).await.unwrap();
    for slot in (0..30).rev().chain([40]) {
        let start = slot * CHUNK;
        let plain = Bytes::copy_from_slice(&disk[start..disk.len().min(start + CHUNK)]);
        session.put(slot as u64, plain).await.unwrap();
    }
    session.finish().await.unwrap();
    let restorer =
        Restorer::open(Arc::clone(&world.target), world.lineage, snapshot, world.key.clone()).await.unwrap();
    let holes = restorer.holes();
    assert!(holes.len() == 1 && holes[0] == (30..40), "{holes:?}");
    for (slot, plain) in (0..).zip(disk.chunks(CHUNK)) {
        assert_eq!(restorer.read_slot(slot).await.unwrap(), plain);
    }
    assert!(matches!(restorer.read_slot(41).await, Err(Error::SlotOutside { slot: 41, slot_count: 41 })));
}

#[tokio::test]
async fn a_slot_that_nobody_spoke_of_is_no_hole() {
    let world = World::new();
    let disk = make_disk();
    let Opened::New(mut session) = world.open(new_snapshot(), None, disk.len()).await.unwrap() else {
        panic!()
    };
    session.put(3, Bytes::copy_from_slice(&disk[3 * CHUNK..4 * CHUNK])).await.unwrap();
    let error = session.finish().await.unwrap_err();
    assert!(matches!(error, Error::SlotsMissing { missing_count: 40, first: 0 }), "{error}");
    assert_eq!(error.failure().code, "CHUNK_STORE_BUG");
}

#[tokio::test]
async fn senseless_slots_are_refused() {
    let world = World::new();
    let Opened::New(mut session) = world.open(new_snapshot(), None, 2 * CHUNK + 1).await.unwrap() else {
        panic!()
    };
    let put = session.put(0, Bytes::from(vec![1; CHUNK - 1])).await;
    assert!(matches!(put, Err(Error::SlotLength { slot: 0, expected: 4096, got: 4095 })));
    let put = session.put(2, Bytes::from(vec![1; CHUNK])).await;
    assert!(matches!(put, Err(Error::SlotLength { slot: 2, expected: 1, .. })));
    let put = session.put(3, Bytes::from(vec![1; CHUNK])).await;
    assert!(matches!(put, Err(Error::SlotOutside { slot: 3, slot_count: 3 })));
    assert!(session.put_hole(2..4).await.is_err());
    let mut spec = world.spec(new_snapshot(), None, 1);
    spec.chunk_size = ByteCount(1000);
    let opened = chunk_store::BackupSession::open(spec, world.key.clone()).await;
    assert_eq!(opened.unwrap_err().failure().code, "DISK_GEOMETRY");
}

#[tokio::test]
async fn progress_ends_at_the_size_of_the_disk() {
    let world = World::new();
    let disk = make_disk();
    let Opened::New(mut session) = world.open(new_snapshot(), None, disk.len()).await.unwrap() else {
        panic!()
    };
    session.put_hole(30..40).await.unwrap();
    assert_eq!(session.progress().bytes_done, ByteCount(10 * CHUNK as u64));
    feed(&mut session, &disk).await.unwrap();
    let progress = session.progress();
    assert_eq!(progress.bytes_total, ByteCount(disk.len() as u64));
    assert_eq!(progress.bytes_given, ByteCount((disk.len() - 10 * CHUNK) as u64));
    assert!(progress.bytes_done <= progress.bytes_total);
    session.finish().await.unwrap();
}

#[tokio::test]
async fn a_disk_of_several_segments_of_the_real_chunk_size_comes_back() {
    let mut world = World::new();
    world.pack_length = 64 << 20;
    let snapshot = new_snapshot();
    let mut spec = world.spec(snapshot, None, 0);
    spec.chunk_size = ByteCount::mib(1);
    spec.disk_size = ByteCount((3 << 30) + 512);
    let opened = chunk_store::BackupSession::open(spec.clone(), world.key.clone()).await.unwrap();
    let Opened::New(mut session) = opened else { panic!() };
    let noise = Bytes::from(make_noise(1 << 20, 5));
    for slot in [0, 1023, 2048] {
        session.put(slot, noise.clone()).await.unwrap();
    }
    session.put(3072, noise.slice(..512)).await.unwrap();
    session.put_hole(0..3073).await.unwrap();
    let summary = session.finish().await.unwrap();
    assert_eq!((summary.chunk_count, summary.pack_count), (4, 1));
    let child = new_snapshot();
    let opened = chunk_store::BackupSession::open(
        chunk_store::SessionSpec {
            snapshot_id: child,
            parent: Some(snapshot),
            journal: world.journal(child),
            ..spec
        },
        world.key.clone(),
    );
    let Opened::New(mut session) = opened.await.unwrap() else { panic!() };
    for slot in [0, 1023, 2048] {
        session.put(slot, noise.clone()).await.unwrap();
    }
    session.put(3072, noise.slice(1..513)).await.unwrap();
    session.put_hole(0..3073).await.unwrap();
    let summary = session.finish().await.unwrap();
    assert!(
        summary.chunks_stored_count == 1 && summary.bytes_stored.0 < 2000,
        "one segment of one slot: {summary:?}"
    );
    let restorer =
        Restorer::open(Arc::clone(&world.target), world.lineage, child, world.key.clone()).await.unwrap();
    assert_eq!(restorer.read_slot(2048).await.unwrap(), noise);
    assert_eq!(restorer.read_slot(3072).await.unwrap(), noise.slice(1..513));
    assert_eq!(restorer.chunk_count(), 4);
}

#[tokio::test]
async fn a_whole_snapshot_passes_each_level_of_verify() {
    let world = World::new();
    let disk = make_disk();
    let (snapshot, summary) = world.back_up(&disk, None).await;
    for level in [Level::Presence, Level::Digests, Level::Full(&world.key)] {
        let verified = verify(&world.target, world.lineage, snapshot, level).await.unwrap();
        assert_eq!(verified.pack_count, summary.pack_count);
        assert_eq!(verified.chunk_count, summary.chunk_count);
        assert_eq!(verified.manifest_digest, summary.manifest_digest);
        match level {
            Level::Presence => assert_eq!(verified.bytes_checked, ByteCount(0)),
            Level::Digests => assert_eq!(verified.bytes_checked, summary.bytes_stored),
            Level::Full(_) => assert!(verified.bytes_checked.0 > 20 * CHUNK as u64),
        }
    }
}

#[test]
fn the_record_of_a_new_target_has_the_version_of_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let id = backup_target::PosixTarget::init(folder.path(), &Entropy).unwrap();
    let text = std::fs::read(folder.path().join("repo.json")).unwrap();
    let record: backup_target::RepoRecord = serde_json::from_slice(&text).unwrap();
    assert_eq!((record.format, record.target_id), (target_format::FORMAT_VERSION, id));
}

#[tokio::test]
async fn kept_slots_hold_what_the_parent_holds_without_being_given() {
    let world = World::new();
    let mut disk = make_disk();
    let (first, _) = world.back_up(&disk, None).await;
    disk[3 * CHUNK..4 * CHUNK].copy_from_slice(&make_noise(CHUNK, 9));
    let second = new_snapshot();
    let Opened::New(mut session) = world.open(second, Some(first), disk.len()).await.unwrap() else {
        panic!()
    };
    session.keep(0..3).await.unwrap();
    session.keep(4..session.slot_count()).await.unwrap();
    assert_eq!(session.done_slots(), [0..3, 4..session.slot_count()]);
    session.put(3, Bytes::copy_from_slice(&disk[3 * CHUNK..4 * CHUNK])).await.unwrap();
    let summary = session.finish().await.unwrap();
    assert_eq!(summary.chunks_stored_count, 1);
    assert!(world.restore(second).await.unwrap() == disk);
}

#[tokio::test]
async fn a_slot_without_a_counterpart_in_the_parent_is_not_kept() {
    let world = World::new();
    let mut disk = make_disk();
    let (first, _) = world.back_up(&disk, None).await;
    let partial = (disk.len() / CHUNK) as u64;
    disk.extend(make_noise(2 * CHUNK, 9));
    let second = new_snapshot();
    let Opened::New(mut session) = world.open(second, Some(first), disk.len()).await.unwrap() else {
        panic!()
    };
    let end = session.slot_count();
    session.keep(0..end).await.unwrap();
    let done = session.done_slots();
    assert!(done.len() == 1 && done[0] == (0..partial), "the disk grew, its end is another: {done:?}");
    let Opened::New(mut full) = world.open(new_snapshot(), None, disk.len()).await.unwrap() else { panic!() };
    full.keep(0..end).await.unwrap();
    assert!(full.done_slots().is_empty(), "without a parent there is nothing to keep");
    feed(&mut session, &disk).await.unwrap();
    session.finish().await.unwrap();
    assert!(world.restore(second).await.unwrap() == disk);
}
