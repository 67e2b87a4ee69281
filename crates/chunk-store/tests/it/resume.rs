use std::io::Write as _;
use std::sync::Arc;

use backup_target::{BackupTarget, Faulty, PosixTarget};
use chunk_store::{BackupSession, Error, Opened};
use runtime::FaultTable;

use crate::world::{CHUNK, World, feed, make_noise, new_snapshot};

fn unwrap_session(opened: Opened) -> (BackupSession, bool) {
    match opened {
        Opened::New(session) => (session, false),
        Opened::Resumed(session) => (session, true),
        Opened::AlreadyComplete(summary) => panic!("complete: {summary:?}"),
    }
}

#[tokio::test]
async fn a_session_dropped_at_any_pack_resumes_and_keeps_the_packs_already_put() {
    let disk = make_noise(100 * CHUNK, 1);
    for fed in (5..100).step_by(9) {
        let world = World::new();
        let snapshot = new_snapshot();
        let (mut session, _) = unwrap_session(world.open(snapshot, None, disk.len()).await.unwrap());
        for (slot, plain) in (0..fed).zip(disk.chunks(CHUNK)) {
            session.put(slot, plain.to_vec().into()).await.unwrap();
        }
        session.close().await;
        let packs = world.packs();
        let (mut session, resumed) = unwrap_session(world.open(snapshot, None, disk.len()).await.unwrap());
        assert_eq!(resumed, !packs.is_empty());
        let done: u64 = session.done_slots().iter().map(|slots| slots.end - slots.start).sum();
        assert_eq!(done, 16 * packs.len() as u64, "a pack of 64 KiB holds 16 slots");
        let pack_slots = 16;
        let cores = std::thread::available_parallelism().unwrap().get() as u64;
        assert!(done + pack_slots + 2 * cores >= fed, "{done} of {fed} are done");
        assert_eq!(session.progress().bytes_done.0, done * CHUNK as u64);
        feed(&mut session, &disk).await.unwrap();
        assert_eq!(session.progress().bytes_given.0, disk.len() as u64 - done * CHUNK as u64);
        session.finish().await.unwrap();
        assert!(packs.iter().all(|pack| world.packs().contains(pack)));
        assert!(world.restore(snapshot).await.unwrap() == disk);
        world.purge(snapshot).await;
        assert_eq!(world.everything().len(), 1, "only repo.json is left");
    }
}

#[tokio::test]
async fn a_finished_session_is_complete_when_it_is_opened_again() {
    let world = World::new();
    let disk = make_noise(30 * CHUNK, 1);
    let (snapshot, summary) = world.back_up(&disk, None).await;
    assert!(!world.journal(snapshot).try_exists().unwrap());
    match world.open(snapshot, None, disk.len()).await.unwrap() {
        Opened::AlreadyComplete(again) => assert_eq!(again, summary),
        other => panic!("{other:?}"),
    }
    let failure = world.open(snapshot, None, disk.len() + 1).await.unwrap_err().failure();
    assert_eq!(failure.code, "MANIFEST_FOREIGN");
}

/// Makes put number `nth` fail, and all later ones when `for_ever`.
fn make_failing(world: &World, nth: u32, how: &str) -> Arc<dyn BackupTarget> {
    let table = world.folder.path().join("faults.toml");
    let text =
        format!("[[fault]]\neffect = \"target_put\"\nfail = \"{how}\"\nafter = {}\ntimes = 1\n", nth - 1);
    std::fs::write(&table, text).unwrap();
    let inner = PosixTarget::open(&world.folder.path().join("target")).unwrap();
    Arc::new(Faulty::new(inner, Arc::new(FaultTable::from_file(&table))))
}

#[tokio::test]
async fn a_put_that_fails_or_whose_answer_is_lost_costs_one_attempt_and_leaves_no_orphan() {
    let disk = make_noise(100 * CHUNK, 2);
    for how in ["transient", "indeterminate"] {
        for nth in 1..=8 {
            let mut world = World::new();
            let before = world.everything();
            world.target = make_failing(&world, nth, how);
            let snapshot = new_snapshot();
            let mut attempts = 0;
            loop {
                attempts += 1;
                assert!(attempts <= 2, "put {nth} is {how}");
                let mut session = match world.open(snapshot, None, disk.len()).await.unwrap() {
                    Opened::New(session) | Opened::Resumed(session) => session,
                    Opened::AlreadyComplete(_) => break,
                };
                if let Err(error) = feed(&mut session, &disk).await {
                    assert_eq!(error.failure().code, "TARGET_DRILL");
                    let again = session.put(99, disk[99 * CHUNK..].to_vec().into()).await;
                    assert!(matches!(again, Err(Error::SessionBroken)));
                    session.close().await;
                    continue;
                }
                match session.finish().await {
                    Ok(_) => break,
                    Err(error) => assert_eq!(error.failure().code, "TARGET_DRILL"),
                }
            }
            assert!(world.restore(snapshot).await.unwrap() == disk, "put {nth} is {how}");
            let pack_count = world.packs().len() as u64;
            let Opened::AlreadyComplete(summary) = world.open(snapshot, None, disk.len()).await.unwrap()
            else {
                panic!("it is complete");
            };
            assert_eq!(summary.pack_count, pack_count, "put {nth} is {how}: no pack that nobody names");
            world.purge(snapshot).await;
            assert_eq!(world.everything(), before);
        }
    }
}

#[tokio::test]
async fn a_torn_journal_costs_what_it_lost_and_nothing_else() {
    let world = World::new();
    let disk = make_noise(100 * CHUNK, 3);
    let snapshot = new_snapshot();
    let (mut session, _) = unwrap_session(world.open(snapshot, None, disk.len()).await.unwrap());
    feed(&mut session, &disk).await.unwrap();
    session.close().await;
    let journal = std::fs::read(world.journal(snapshot)).unwrap();
    for kept in (0..journal.len()).step_by(journal.len() / 20) {
        std::fs::write(world.journal(snapshot), &journal[..kept]).unwrap();
        let (session, _) = unwrap_session(world.open(snapshot, None, disk.len()).await.unwrap());
        let done: u64 = session.done_slots().iter().map(|slots| slots.end - slots.start).sum();
        assert!(done.is_multiple_of(16) && done <= 96);
        session.close().await;
    }
    let (mut session, _) = unwrap_session(world.open(snapshot, None, disk.len()).await.unwrap());
    feed(&mut session, &disk).await.unwrap();
    session.finish().await.unwrap();
    assert!(world.restore(snapshot).await.unwrap() == disk);
}

#[tokio::test]
async fn a_pack_that_is_gone_from_the_target_is_done_again() {
    let world = World::new();
    let disk = make_noise(100 * CHUNK, 4);
    let snapshot = new_snapshot();
    let (mut session, _) = unwrap_session(world.open(snapshot, None, disk.len()).await.unwrap());
    feed(&mut session, &disk).await.unwrap();
    session.close().await;
    std::fs::remove_file(&world.packs()[0]).unwrap();
    let (mut session, resumed) = unwrap_session(world.open(snapshot, None, disk.len()).await.unwrap());
    assert!(resumed && !session.done_slots().is_empty());
    feed(&mut session, &disk).await.unwrap();
    session.finish().await.unwrap();
    assert!(world.restore(snapshot).await.unwrap() == disk);
}

#[tokio::test]
async fn what_was_read_and_found_unchanged_need_not_be_read_again() {
    let world = World::new();
    let disk = make_noise(4000 * CHUNK, 5);
    let (parent, _) = world.back_up(&disk, None).await;
    let snapshot = new_snapshot();
    let (mut session, _) = unwrap_session(world.open(snapshot, Some(parent), disk.len()).await.unwrap());
    for (slot, plain) in (0..3900).zip(disk.chunks(CHUNK)) {
        session.put(slot, plain.to_vec().into()).await.unwrap();
    }
    drop(session);
    let (mut session, resumed) =
        unwrap_session(world.open(snapshot, Some(parent), disk.len()).await.unwrap());
    assert!(resumed);
    let done = session.done_slots();
    assert!(done.len() == 1 && done[0] == (0..3072), "{done:?}");
    feed(&mut session, &disk).await.unwrap();
    let summary = session.finish().await.unwrap();
    assert_eq!((summary.chunks_stored_count, summary.bytes_stored.0), (0, 0));
    assert!(world.restore(snapshot).await.unwrap() == disk);
}

#[tokio::test]
async fn a_journal_of_another_transfer_is_refused() {
    let world = World::new();
    let (first, second) = (new_snapshot(), new_snapshot());
    let (session, _) = unwrap_session(world.open(first, None, CHUNK).await.unwrap());
    session.close().await;
    std::fs::copy(world.journal(first), world.journal(second)).unwrap();
    let error = world.open(second, None, CHUNK).await.unwrap_err();
    assert_eq!(error.failure().code, "JOURNAL_FOREIGN");
    assert_eq!(world.open(first, None, 2 * CHUNK).await.unwrap_err().failure().code, "JOURNAL_FOREIGN");
    let mut file = std::fs::File::create(world.journal(second)).unwrap();
    file.write_all(b"rubbish\n").unwrap();
    unwrap_session(world.open(second, None, CHUNK).await.unwrap());
}

#[tokio::test]
async fn a_killed_and_repeated_attempt_elsewhere_without_a_journal_leaves_only_orphans_that_a_purge_takes() {
    let world = World::new();
    let disk = make_noise(100 * CHUNK, 6);
    let snapshot = new_snapshot();
    let (mut session, _) = unwrap_session(world.open(snapshot, None, disk.len()).await.unwrap());
    feed(&mut session, &disk).await.unwrap();
    session.close().await;
    let orphans = world.packs().len();
    std::fs::remove_file(world.journal(snapshot)).unwrap();
    let (mut session, resumed) = unwrap_session(world.open(snapshot, None, disk.len()).await.unwrap());
    assert!(!resumed && orphans > 3);
    feed(&mut session, &disk).await.unwrap();
    session.finish().await.unwrap();
    assert!(world.restore(snapshot).await.unwrap() == disk);
    let purged = world.purge(snapshot).await;
    assert!(purged.lineage_removed && purged.pack_count > orphans as u64);
    assert_eq!(world.everything().len(), 1);
}

#[tokio::test]
async fn what_was_kept_by_a_record_that_proved_false_is_to_be_given_again_by_all_later_attempts() {
    let world = World::new();
    // So many slots that they are journaled at once.
    let mut disk = make_noise(1200 * CHUNK, 1);
    disk[1000 * CHUNK..1100 * CHUNK].fill(0);
    let (first, _) = world.back_up(&disk, None).await;
    disk[700 * CHUNK..701 * CHUNK].copy_from_slice(&make_noise(CHUNK, 9));
    let second = new_snapshot();
    let (mut session, _) = unwrap_session(world.open(second, Some(first), disk.len()).await.unwrap());
    session.put(0, disk[..CHUNK].to_vec().into()).await.unwrap();
    session.keep(1..1200).await.unwrap();
    session.close().await;

    let (mut session, resumed) = unwrap_session(world.open(second, Some(first), disk.len()).await.unwrap());
    assert!(resumed && session.keeps_unread() && session.is_done(700));
    session.distrust_changes("it lies").await.unwrap();
    let is_undone = |session: &BackupSession| !session.keeps_unread() && !session.is_done(700);
    assert!(is_undone(&session));
    assert!(session.progress().bytes_done.0 <= CHUNK as u64);
    session.close().await;

    let (mut session, _) = unwrap_session(world.open(second, Some(first), disk.len()).await.unwrap());
    assert_eq!(session.distrusts_changes(), Some("it lies"));
    assert!(is_undone(&session));
    feed(&mut session, &disk).await.unwrap();
    assert_eq!(session.finish().await.unwrap().chunks_stored_count, 1);
    assert!(world.restore(second).await.unwrap() == disk);
}

#[tokio::test]
async fn of_the_journal_of_an_earlier_version_all_counts_as_kept() {
    let world = World::new();
    let disk = make_noise(1200 * CHUNK, 1);
    let (first, _) = world.back_up(&disk, None).await;
    let second = new_snapshot();
    let (mut session, _) = unwrap_session(world.open(second, Some(first), disk.len()).await.unwrap());
    session.keep(0..1200).await.unwrap();
    session.close().await;
    let text = std::fs::read_to_string(world.journal(second)).unwrap();
    let earlier = text.lines().map(|line| {
        let json = line[9..].replace(",\"kept\":true", "");
        format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
    });
    let earlier: String = earlier.collect();
    assert_ne!(earlier, text);
    std::fs::write(world.journal(second), earlier).unwrap();
    let (session, _) = unwrap_session(world.open(second, Some(first), disk.len()).await.unwrap());
    assert!(session.keeps_unread() && session.is_done(1199));
    session.close().await;
}
