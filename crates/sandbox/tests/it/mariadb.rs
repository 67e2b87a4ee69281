//! A private MariaDB.

use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process_group};
use sandbox::MariaDb;

fn assert_gone(group: i32) {
    let group = Pid::from_raw(group).unwrap();
    assert_eq!(test_kill_process_group(group), Err(Errno::SRCH), "process group {group:?} lives on");
}

#[tokio::test]
async fn a_server_gives_databases_keeps_them_over_a_kill_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = MariaDb::start_in(dir.path()).await.unwrap();
    let (one, two) = (server.create_database().await.unwrap(), server.create_database().await.unwrap());
    assert_ne!(one, two);
    assert!(one.starts_with("mysql://holdfast:") && one.contains("@127.0.0.1:"), "{one}");
    let name = one.rsplit('/').next().unwrap();
    server.run(&format!("CREATE TABLE {name}.t (n INT); INSERT INTO {name}.t VALUES (42)")).await.unwrap();

    let group = server.process_group().unwrap();
    server.kill().await.unwrap();
    assert_gone(group);
    server.resume().await.unwrap();
    assert_eq!(server.run(&format!("SELECT n FROM {name}.t")).await.unwrap().trim(), "42");

    let group = server.process_group().unwrap();
    drop(server);
    assert_gone(group);
}

#[tokio::test]
async fn the_files_of_a_temporary_server_go_with_it() {
    let server = MariaDb::start().await.unwrap();
    let data = server.run("SELECT @@datadir").await.unwrap();
    let data = Path::new(data.trim());
    assert!(data.try_exists().unwrap());
    drop(server);
    assert!(!data.try_exists().unwrap(), "{} is still there", data.display());
}

#[tokio::test]
async fn a_statement_that_fails_says_why() {
    let server = MariaDb::shared().await.unwrap();
    let error = server.run("SELECT nonsense").await.unwrap_err().to_string();
    assert!(error.contains("nonsense"), "{error}");
}
