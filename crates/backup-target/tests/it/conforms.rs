use std::path::PathBuf;
use std::sync::Arc;

use backup_target::{BackupTarget, Faulty, PosixTarget, conformance};
use bytes::Bytes;
use runtime::{Entropy, FaultTable};

pub(crate) fn make_target() -> (tempfile::TempDir, PosixTarget) {
    let folder = tempfile::tempdir().unwrap();
    PosixTarget::init(folder.path(), &Entropy).unwrap();
    let target = PosixTarget::open(folder.path()).unwrap();
    (folder, target)
}

#[tokio::test]
async fn a_directory_keeps_all_promises_of_a_target() {
    let (_folder, target) = make_target();
    conformance::check(&target).await;
}

#[tokio::test]
async fn a_faulty_target_without_faults_keeps_all_promises_too() {
    let (_folder, target) = make_target();
    conformance::check(&Faulty::new(target, Arc::new(FaultTable::none()))).await;
    let (_folder, target) = make_target();
    let shared: Arc<dyn BackupTarget> = Arc::new(target);
    conformance::check(&Faulty::new(shared, Arc::new(FaultTable::none()))).await;
}

#[test]
fn a_target_is_initialised_once_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let id = PosixTarget::init(&path, &Entropy).unwrap();
    assert_eq!(PosixTarget::init(&path, &Entropy).unwrap(), id);
    assert_eq!(PosixTarget::open(&path).unwrap().id(), id);
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
}

#[test]
fn a_folder_with_something_in_it_is_not_made_a_target() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
    let error = PosixTarget::init(folder.path(), &Entropy).unwrap_err();
    assert_eq!(error.code(), "TARGET_FOREIGN_FOLDER");
    assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    let error = PosixTarget::init(&folder.path().join("no/such"), &Entropy).unwrap_err();
    assert_eq!(error.code(), "TARGET_IO");
}

#[test]
fn a_folder_without_repo_json_is_not_opened_and_asks_whether_it_is_mounted() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing")] {
        let failure = PosixTarget::open(&path).unwrap_err().failure();
        assert_eq!(failure.code, "TARGET_NOT_INITIALIZED");
        assert!(failure.message.contains("is it mounted?"), "{failure}");
        assert!(failure.message.contains(path.to_str().unwrap()), "{failure}");
    }
}

#[test]
fn a_repo_json_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for text in [
        "",
        "{}",
        "[1]",
        r#"{"format":7,"target_id":"018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f","digest":"","compression":"","cipher":""}"#,
    ] {
        std::fs::write(folder.path().join("repo.json"), text).unwrap();
        assert_eq!(PosixTarget::open(folder.path()).unwrap_err().code(), "TARGET_REPO_INVALID", "{text}");
        assert_eq!(
            PosixTarget::init(folder.path(), &Entropy).unwrap_err().code(),
            "TARGET_REPO_INVALID",
            "{text}"
        );
    }
}

#[tokio::test]
async fn nothing_is_written_where_the_record_is_gone_or_names_another_target() {
    let (folder, target) = make_target();
    let record = folder.path().join("repo.json");
    let name = "w/a".parse().unwrap();
    let content = std::fs::read(&record).unwrap();
    let (other, _) = make_target();
    std::fs::copy(other.path().join("repo.json"), &record).unwrap();
    let gone = target.put(&name, Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(gone.code(), "TARGET_GONE");
    std::fs::remove_file(&record).unwrap();
    let outcomes = [
        target.put(&name, Bytes::from_static(b"x")).await.err(),
        target.replace(&name, Bytes::from_static(b"x")).await.err(),
        target.get(&name).await.err(),
        target.size(&name).await.err(),
        target.list(None).await.err(),
        target.delete(&name).await.err(),
        target.space().await.err(),
    ];
    for error in outcomes {
        let failure = error.expect("the target is gone").failure();
        assert_eq!(failure.code, "TARGET_GONE");
        assert!(failure.class.may_pass() && failure.message.contains("is it mounted?"), "{failure}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::write(&record, content).unwrap();
    target.put(&name, Bytes::from_static(b"x")).await.unwrap();
}

#[tokio::test]
async fn temporary_files_are_no_objects_and_can_be_removed() {
    let (folder, target) = make_target();
    let name = "l/a/pack/x".parse().unwrap();
    target.put(&name, Bytes::from_static(b"x")).await.unwrap();
    let temp: PathBuf = folder.path().join("l/a/pack/.tmp-0190b7a0-0000-7000-8000-000000000000");
    std::fs::write(&temp, "half").unwrap();
    assert_eq!(target.list(None).await.unwrap().len(), 2);
    target.remove_temps(&"l/a".parse().unwrap()).await.unwrap();
    assert!(!temp.try_exists().unwrap());
    assert_eq!(target.get(&name).await.unwrap(), "x");
}

#[tokio::test]
async fn removing_empty_folders_keeps_those_in_use_and_reaches_up_to_the_root() {
    let (folder, target) = make_target();
    let (name, other) = ("l/a/pack/00/x".parse().unwrap(), "l/b/y".parse().unwrap());
    for name in [&name, &other] {
        target.put(name, Bytes::from_static(b"x")).await.unwrap();
    }
    let lineage = "l/a".parse().unwrap();
    target.remove_empty_dirs(&lineage).await.unwrap();
    assert_eq!(target.get(&name).await.unwrap(), "x");
    target.delete(&name).await.unwrap();
    target.remove_empty_dirs(&lineage).await.unwrap();
    assert!(!folder.path().join("l/a").try_exists().unwrap());
    assert_eq!(target.get(&other).await.unwrap(), "x");
    target.delete(&other).await.unwrap();
    target.remove_empty_dirs(&"l/b".parse().unwrap()).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only repo.json");
}

#[tokio::test]
async fn puts_win_against_the_removal_of_their_folders() {
    let (_folder, target) = make_target();
    let target = Arc::new(target);
    let folder = "l/a/b/c".parse().unwrap();
    let remover = tokio::spawn({
        let target = Arc::clone(&target);
        async move {
            for _ in 0..100 {
                target.remove_empty_dirs(&folder).await.unwrap();
            }
        }
    });
    for number in 0..100 {
        let name = format!("l/a/b/c/{number}").parse().unwrap();
        target.put(&name, Bytes::from_static(b"x")).await.unwrap();
        target.delete(&name).await.unwrap();
    }
    remover.await.unwrap();
}
