use std::time::{Duration, Instant};

use backup_target::{BackupTarget, Owner, PosixTarget, examine};
use bytes::Bytes;
use model::{ErrorClass, ObjectName};
use runtime::Entropy;

use crate::conforms::make_target;
use crate::mounts::Mounted;

fn files(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_full_target_says_so_and_keeps_no_half_of_what_did_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::tmpfs(folder.path(), 8 << 20) else { return };
    PosixTarget::init(&mounted.path, &Entropy).unwrap();
    let target = PosixTarget::open(&mounted.path).unwrap();
    let before = target.space().await.unwrap();
    assert_eq!(before.total.0, 8 << 20);
    let small: ObjectName = "l/small".parse().unwrap();
    target.put(&small, vec![1; 2 << 20].into()).await.unwrap();
    for name in ["l/big", "other/big"] {
        let name = name.parse().unwrap();
        for outcome in [
            target.put(&name, vec![2; 16 << 20].into()).await,
            target.replace(&name, vec![2; 16 << 20].into()).await,
        ] {
            let failure = outcome.unwrap_err().failure();
            assert_eq!((failure.code.as_str(), failure.class), ("TARGET_FULL", ErrorClass::Permanent));
            for part in [mounted.path.to_str().unwrap(), name.as_str(), "free"] {
                assert!(failure.message.contains(part), "{failure}");
            }
        }
        assert_eq!(target.size(&name).await.unwrap(), None);
    }
    assert_eq!((files(&mounted.path.join("l")), files(&mounted.path.join("other"))), (1, 0));
    assert_eq!(before.free.0 - target.space().await.unwrap().free.0, 2 << 20);
    assert_eq!(target.get(&small).await.unwrap(), vec![1; 2 << 20]);
    target.put(&"l/fits".parse().unwrap(), vec![3; 4 << 20].into()).await.unwrap();
}

#[tokio::test]
async fn a_read_only_target_says_so_and_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::tmpfs(folder.path(), 8 << 20) else { return };
    PosixTarget::init(&mounted.path, &Entropy).unwrap();
    let target = PosixTarget::open(&mounted.path).unwrap();
    let name = "l/a".parse().unwrap();
    target.put(&name, Bytes::from_static(b"x")).await.unwrap();
    mounted.make_read_only();
    for outcome in [
        target.put(&"l/b".parse().unwrap(), Bytes::from_static(b"x")).await,
        target.put(&"m/b".parse().unwrap(), Bytes::from_static(b"x")).await,
        target.replace(&name, Bytes::from_static(b"y")).await,
        target.delete(&name).await,
    ] {
        assert_eq!(outcome.unwrap_err().code(), "TARGET_READ_ONLY");
    }
    assert_eq!(target.get(&name).await.unwrap(), "x");
}

#[tokio::test]
async fn an_unmounted_target_is_gone_though_a_copy_of_its_record_lies_beneath_and_a_new_mount_brings_it_back()
{
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mnt");
    std::fs::create_dir(&path).unwrap();
    let Some(mounted) = Mounted::tmpfs(&path, 8 << 20) else { return };
    PosixTarget::init(&path, &Entropy).unwrap();
    let record = std::fs::read(path.join("repo.json")).unwrap();
    let target = PosixTarget::open(&path).unwrap();
    let name = "l/a".parse().unwrap();
    target.put(&name, Bytes::from_static(b"x")).await.unwrap();
    drop(mounted);
    std::fs::write(path.join("repo.json"), &record).unwrap();
    let error = target.put(&name, Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(error.code(), "TARGET_GONE");
    assert_eq!(target.get(&name).await.unwrap_err().code(), "TARGET_GONE", "not: the object is missing");
    assert_eq!(files(&path), 1, "nothing was written into the folder beneath the mount");
    let _mounted = Mounted::tmpfs(&path, 8 << 20).unwrap();
    std::fs::write(path.join("repo.json"), &record).unwrap();
    target.put(&name, Bytes::from_static(b"x")).await.unwrap();
}

#[tokio::test]
async fn a_target_that_does_not_answer_ends_by_its_deadline_and_hangs_no_other() {
    let (folder, target) = make_target();
    let target = target.with_deadline(Duration::from_millis(300));
    let (_other_folder, other) = make_target();
    let name: ObjectName = "l/a".parse().unwrap();
    target.put(&name, Bytes::from_static(b"x")).await.unwrap();
    let Some((mounted, server)) = Mounted::hanging(folder.path()) else { return };
    let started = Instant::now();
    let (put, get, list, well) = tokio::join!(
        target.put(&name, Bytes::from_static(b"x")),
        target.get(&name),
        target.list(None),
        other.put(&name, Bytes::from_static(b"y")),
    );
    for error in [put.unwrap_err(), get.unwrap_err(), list.unwrap_err()] {
        let failure = error.failure();
        assert_eq!((failure.code.as_str(), failure.class), ("TARGET_NOT_ANSWERING", ErrorClass::Transient));
        assert!(failure.message.contains(folder.path().to_str().unwrap()), "{failure}");
    }
    well.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "nobody waited for the kernel");
    // The server dies: who waited in the kernel gets an error, and the mount is taken away.
    drop(server);
    let dead = target.get(&name).await.unwrap_err();
    assert!(matches!(dead.code(), "TARGET_GONE" | "TARGET_NOT_ANSWERING"), "{dead}");
    drop(mounted);
    let target = target.with_deadline(Duration::from_secs(30));
    assert_eq!(target.get(&name).await.unwrap(), "x");
}

#[tokio::test]
async fn an_examination_tells_a_read_only_target_and_a_full_one_apart() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::tmpfs(folder.path(), 8 << 20) else { return };
    PosixTarget::init(&mounted.path, &Entropy).unwrap();
    let look = async || examine(&mounted.path, Owner::of_process()).await.check.code;
    assert_eq!(look().await, "");
    std::fs::write(mounted.path.join("filler"), vec![1; 7_900_000]).unwrap();
    assert_eq!(look().await, "TARGET_NEARLY_FULL");
    mounted.make_read_only();
    assert_eq!(look().await, "TARGET_READ_ONLY");
}

#[tokio::test]
async fn an_examination_of_a_target_that_hangs_ends_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mounted, server)) = Mounted::hanging(folder.path()) else { return };
    let started_at = Instant::now();
    let examined = examine(&mounted.path, Owner::of_process()).await;
    assert_eq!(examined.check.code, "TARGET_NOT_ANSWERING", "{examined:?}");
    assert!(started_at.elapsed() < Duration::from_secs(30), "{:?}", started_at.elapsed());
    drop(server);
}
