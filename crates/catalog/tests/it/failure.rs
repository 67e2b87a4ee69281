//! The database fails: what is told, and that nothing half done stays.

use std::path::{Path, PathBuf};
use std::process::Command;

use catalog::{Catalog, Error, Tx};
use model::ErrorClass;
use sandbox::MariaDb;

use crate::fixture::*;

/// A file system of one MiB, unmounted at the end.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Self {
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(path).status().unwrap();
        assert!(status.success(), "mounting a tmpfs needs root");
        Self(path.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the database's thread may close its files a moment later.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn count_of(catalog: &Catalog, table: &str) -> u64 {
    catalog.read().await.unwrap().ledger().await.unwrap()[table]
}

#[tokio::test]
async fn a_second_controller_on_one_sqlite_file_is_refused_and_the_file_named() {
    let fixture = start_sqlite().await;
    let error = Catalog::open(&fixture.url, clock()).await.unwrap_err();
    assert_eq!(error.code(), "DATABASE_IN_USE");
    assert!(error.to_string().contains(fixture.url.strip_prefix("sqlite:").unwrap()), "{error}");

    let crate::fixture::Fixture { catalog, url, _dir: dir, .. } = fixture;
    catalog.close().await;
    drop(catalog);
    Catalog::open(&url, clock()).await.unwrap();
    drop(dir);
}

#[tokio::test]
async fn a_full_disk_is_told_as_one_and_what_was_committed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let _disk = SmallDisk::mount(dir.path());
    let url = format!("sqlite:{}", dir.path().join("catalog.sqlite").display());
    let catalog = Catalog::open(&url, clock()).await.unwrap();
    let mut committed = 0;
    let error = loop {
        let mut row = make_outbox(saga_id());
        row.body = vec![7; 20_000];
        let outcome = async {
            let mut tx = catalog.begin().await?;
            tx.insert_outbox(&row).await?;
            tx.commit().await
        };
        match outcome.await {
            Ok(()) => committed += 1,
            Err(error) => break error,
        }
        assert!(committed < 100, "2 MB fit into a disk of 1 MiB");
    };
    assert_eq!(error.code(), "DATABASE_FULL", "{error:?}");
    assert_eq!(error.class(), ErrorClass::Transient);
    assert_eq!(count_of(&catalog, "outbox").await, committed);
}

#[tokio::test]
async fn after_a_full_disk_a_transaction_commits_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let _disk = SmallDisk::mount(dir.path());
    let url = format!("sqlite:{}", dir.path().join("catalog.sqlite").display());
    let catalog = Catalog::open(&url, clock()).await.unwrap();
    let mut tx = catalog.begin().await.unwrap();
    tx.insert_outbox(&make_outbox(saga_id())).await.unwrap();
    let mut row = make_outbox(saga_id());
    // More than SQLite's cache of 2 MB holds: it must write before the commit.
    row.body = vec![7; 8 << 20];
    let error = tx.insert_outbox(&row).await.unwrap_err();
    assert_eq!(error.code(), "DATABASE_FULL", "{error:?}");
    let error = tx.insert_outbox(&make_outbox(saga_id())).await.unwrap_err();
    assert!(matches!(error, Error::Broken { statement: "INSERT_OUTBOX" }), "{error:?}");
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
    assert_eq!(count_of(&catalog, "outbox").await, 0);
    let mut tx = catalog.begin().await.unwrap();
    tx.insert_outbox(&make_outbox(saga_id())).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count_of(&catalog, "outbox").await, 1);
}

async fn write_some(tx: &mut Tx) {
    let workload = make_workload();
    tx.insert_workload(&workload).await.unwrap();
    tx.insert_saga(&make_saga(&workload)).await.unwrap();
    tx.insert_outbox(&make_outbox(saga_id())).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_or_dropped_leaves_nothing() {
    for fixture in start_both().await {
        let catalog = &fixture.catalog;
        let before = catalog.read().await.unwrap().ledger().await.unwrap();
        let mut tx = catalog.begin().await.unwrap();
        write_some(&mut tx).await;
        tx.rollback().await;
        let mut tx = catalog.begin().await.unwrap();
        write_some(&mut tx).await;
        drop(tx);
        assert_eq!(catalog.begin().await.unwrap().ledger().await.unwrap(), before, "{:?}", catalog.backend());
    }
}

#[tokio::test]
async fn an_event_rolled_back_to_its_savepoint_leaves_the_others_of_its_transaction() {
    for fixture in start_both().await {
        let mut tx = fixture.catalog.begin().await.unwrap();
        for event in 0..3 {
            tx.savepoint().await.unwrap();
            write_some(&mut tx).await;
            match event {
                1 => tx.rollback_to_savepoint().await.unwrap(),
                _ => tx.release_savepoint().await.unwrap(),
            }
        }
        tx.commit().await.unwrap();
        assert_eq!(count_of(&fixture.catalog, "saga").await, 2, "{:?}", fixture.catalog.backend());
    }
}

#[tokio::test]
async fn a_reading_transaction_sees_only_what_was_committed() {
    for fixture in start_both().await {
        let mut tx = fixture.catalog.begin().await.unwrap();
        write_some(&mut tx).await;
        assert_eq!(count_of(&fixture.catalog, "saga").await, 0, "{:?}", fixture.catalog.backend());
        tx.commit().await.unwrap();
        assert_eq!(count_of(&fixture.catalog, "saga").await, 1, "{:?}", fixture.catalog.backend());
    }
}

#[tokio::test]
async fn a_server_that_dies_is_told_as_unavailable_and_used_again_when_it_is_back() {
    let mut server = MariaDb::start().await.unwrap();
    let url = server.create_database().await.unwrap();
    let catalog = Catalog::open(&url, clock()).await.unwrap();
    catalog.migrate().await.unwrap();
    let mut tx = catalog.begin().await.unwrap();
    write_some(&mut tx).await;
    let mut open = catalog.begin().await.unwrap();
    server.kill().await.unwrap();

    let error = tx.commit().await.unwrap_err();
    assert_eq!((error.code(), error.class()), ("DATABASE_COMMIT_UNKNOWN", ErrorClass::Indeterminate));
    let error = open.insert_outbox(&make_outbox(saga_id())).await.unwrap_err();
    assert_eq!((error.code(), error.class()), ("DATABASE_UNAVAILABLE", ErrorClass::Transient), "{error:?}");

    server.resume().await.unwrap();
    assert_eq!(count_of(&catalog, "saga").await, 0);
}

#[tokio::test]
async fn a_wrong_password_is_refused_at_once_and_never_shown() {
    let fixture = start_mariadb().await;
    let wrong = {
        let (user, rest) = fixture.url.split_once('@').unwrap();
        format!("{}:hunter2@{rest}", user.rsplit_once(':').unwrap().0)
    };
    let error = Catalog::open(&wrong, clock()).await.unwrap_err();
    assert_eq!((error.code(), error.class()), ("DATABASE_REFUSED", ErrorClass::Permanent));
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    assert!(error.to_string().contains("holdfast@127.0.0.1"), "{error}");
}

#[tokio::test]
async fn urls_that_name_no_database_are_refused_without_their_password() {
    for url in [
        "postgres://u:hunter2@h/d",
        "sqlite:",
        "sqlite::memory:",
        "hunter2",
        "mysql://u:hunter2@h",
        "mysql://u:hunter2@h:port/d",
        "mysql://u:hunter2@h/d?ssl-mode=hunter2",
        "",
    ] {
        let error = Catalog::open(url, clock()).await.unwrap_err();
        assert_eq!(error.code(), "DATABASE_URL_INVALID", "{url}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let error = Catalog::open("sqlite:/nonexistent/catalog.sqlite", clock()).await.unwrap_err();
    assert_eq!(error.code(), "DATABASE_FILE_UNUSABLE");
    assert!(error.to_string().contains("/nonexistent/catalog.sqlite"), "{error}");
}
