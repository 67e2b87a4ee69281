use std::os::unix::fs::symlink;
use std::path::Path;

use backup_target::{BackupTarget, Error, PosixTarget};
use bytes::Bytes;
use model::ObjectName;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::conforms::make_target;

/// What each operation says of `name`.
async fn try_all(target: &PosixTarget, name: &ObjectName) -> Vec<Error> {
    let content = Bytes::from_static(b"overwritten");
    let outcomes = [
        target.put(name, content.clone()).await.err(),
        target.replace(name, content).await.err(),
        target.get(name).await.map(drop).err(),
        target.get_range(name, 0, 1).await.map(drop).err(),
        target.size(name).await.map(drop).err(),
    ];
    outcomes.into_iter().flatten().collect()
}

#[track_caller]
fn assert_unsafe(error: &Error) {
    let failure = error.failure();
    assert_eq!(failure.code, "TARGET_UNSAFE_NAME", "{failure}");
    assert!(!failure.class.may_pass());
}

/// A secret beside the target, and what must still be in it.
fn make_secret(outside: &Path) -> std::path::PathBuf {
    let secret = outside.join("secret");
    std::fs::write(&secret, "secret").unwrap();
    secret
}

#[tokio::test]
async fn a_planted_link_in_the_place_of_a_folder_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    let secret = make_secret(outside.path());
    let (folder, target) = make_target();
    std::fs::create_dir(folder.path().join("l")).unwrap();
    symlink(outside.path(), folder.path().join("l/absolute")).unwrap();
    symlink("../..", folder.path().join("l/upward")).unwrap();
    symlink(".", folder.path().join("l/inward")).unwrap();
    symlink("/proc/self/root", folder.path().join("l/magic")).unwrap();
    for text in ["l/absolute/secret", "l/absolute/new", "l/upward/new", "l/inward/new", "l/magic/etc/passwd"]
    {
        let name = text.parse().unwrap();
        let errors = try_all(&target, &name).await;
        assert_eq!(errors.len(), 5, "{text}");
        errors.iter().for_each(assert_unsafe);
        assert_unsafe(&target.delete(&name).await.unwrap_err());
        assert_unsafe(&target.list(Some(&name)).await.unwrap_err());
        assert_unsafe(&target.remove_temps(&name).await.unwrap_err());
        assert_unsafe(&target.remove_empty_dirs(&name).await.unwrap_err());
    }
    assert_unsafe(&target.list(None).await.unwrap_err());
    assert_eq!(std::fs::read_to_string(secret).unwrap(), "secret");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_planted_link_in_the_place_of_an_object_is_never_followed() {
    let outside = tempfile::tempdir().unwrap();
    let secret = make_secret(outside.path());
    let (folder, target) = make_target();
    let name: ObjectName = "l/object".parse().unwrap();
    std::fs::create_dir(folder.path().join("l")).unwrap();
    symlink(&secret, folder.path().join("l/object")).unwrap();
    for error in [
        target.put(&name, Bytes::from_static(b"x")).await.unwrap_err(),
        target.get(&name).await.unwrap_err(),
        target.get_range(&name, 0, 1).await.unwrap_err(),
        target.size(&name).await.unwrap_err(),
        target.list(Some(&"l".parse().unwrap())).await.unwrap_err(),
    ] {
        assert_unsafe(&error);
    }
    // Replacing and deleting take the link itself.
    target.replace(&name, Bytes::from_static(b"new")).await.unwrap();
    assert_eq!(target.get(&name).await.unwrap(), "new");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    std::fs::remove_file(folder.path().join("l/object")).unwrap();
    symlink(&secret, folder.path().join("l/object")).unwrap();
    target.delete(&name).await.unwrap();
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
}

#[tokio::test]
async fn what_is_no_file_is_refused_and_hangs_nobody() {
    let (folder, target) = make_target();
    mknodat(CWD, folder.path().join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    std::fs::create_dir(folder.path().join("dir")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    for text in ["pipe", "dir", "socket"] {
        let name = text.parse().unwrap();
        for outcome in [target.get(&name).await.map(drop), target.size(&name).await.map(drop)] {
            let error = outcome.unwrap_err();
            // A socket cannot even be opened.
            assert!(matches!(error.code(), "TARGET_UNSAFE_NAME" | "TARGET_IO"), "{text}: {error:?}");
        }
    }
    assert_unsafe(&target.list(None).await.unwrap_err());
    assert_unsafe(&target.delete(&"dir".parse().unwrap()).await.unwrap_err());
    target.put(&"file".parse().unwrap(), Bytes::from_static(b"x")).await.unwrap();
    assert_unsafe(&target.put(&"file/inner".parse().unwrap(), Bytes::from_static(b"x")).await.unwrap_err());
}

#[tokio::test]
async fn the_targets_own_record_is_no_object_to_write() {
    let (_folder, target) = make_target();
    let name = "repo.json".parse().unwrap();
    for error in [
        target.put(&name, Bytes::new()).await.unwrap_err(),
        target.replace(&name, Bytes::new()).await.unwrap_err(),
        target.delete(&name).await.unwrap_err(),
    ] {
        assert_unsafe(&error);
    }
    assert!(!target.get(&name).await.unwrap().is_empty());
}

#[tokio::test]
async fn foreign_names_are_not_listed() {
    let (folder, target) = make_target();
    for name in ["lost+found", ".snapshot", "ümlaut", "with space"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("inner"), "x").unwrap();
    }
    assert_eq!(target.list(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_planted_giant_does_not_fill_the_memory() {
    let (folder, target) = make_target();
    let file = std::fs::File::create(folder.path().join("giant")).unwrap();
    file.set_len(1 << 40).unwrap();
    let name = "giant".parse().unwrap();
    assert_eq!(target.get(&name).await.unwrap_err().code(), "OBJECT_TOO_LARGE");
    assert_eq!(target.get_range(&name, 1 << 39, 3).await.unwrap(), &[0, 0, 0][..]);
}
