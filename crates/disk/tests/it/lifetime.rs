//! A child lives exactly as long as it is wanted.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use model::{ByteCount, DiskFormat, DiskLocation, ErrorClass};
use tokio::time::timeout;

use crate::bench::{Bench, is_running, make_bytes, text, wait_for};

const SIZE: ByteCount = ByteCount(4 << 20);

/// Set for the process that `start_holder` starts: the disk that it shall hold open.
const HELD_DISK: &str = "HOLDFAST_TEST_HELD_DISK";
const HELD_BY: &str = "HOLDFAST_TEST_QEMU_NBD";

/// Not a test by itself: the other process of those that kill one.
#[tokio::test]
async fn a_process_that_holds_a_disk_open() {
    let (Ok(path), Ok(program)) = (std::env::var(HELD_DISK), std::env::var(HELD_BY)) else { return };
    let mut bench = Bench::new();
    bench.opener.qemu_nbd = program.into();
    let writer = bench.opener.write(&DiskLocation::file(path, DiskFormat::Raw), SIZE).await.unwrap();
    println!("\npid {}", writer.server_pid().unwrap());
    std::future::pending::<()>().await;
}

fn start_holder(path: &str, program: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifetime::a_process_that_holds_a_disk_open", "--nocapture"])
        .env(HELD_DISK, path)
        .env(HELD_BY, program)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn no_child_outlives_a_process_that_is_killed() {
    let bench = Bench::new();
    let path = bench.make_raw("disk", &vec![1; 4 << 20]);
    let mut holder = start_holder(text(&path), "qemu-nbd");
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let pid = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("pid ")?.parse::<u32>().ok());
    let pid = pid.expect("the other process says who serves its disk");
    assert!(is_running(pid));
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_for("the end of the child", || !is_running(pid));
}

/// The moment that a disconnect alone would miss: qemu-nbd goes on when its client leaves during the handshake.
#[test]
fn no_child_outlives_a_process_that_is_killed_before_the_handshake() {
    let bench = Bench::new();
    let path = bench.make_raw("disk", &vec![1; 4 << 20]);
    let pid_file = bench.path("pid");
    let script = format!("#!/bin/sh\necho $$ > {0}.new; mv {0}.new {0}\nexec sleep 300\n", text(&pid_file));
    let program = bench.make_raw("slow", script.as_bytes());
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut holder = start_holder(text(&path), text(&program));
    let read_pid = || std::fs::read_to_string(&pid_file).ok()?.trim().parse::<u32>().ok();
    wait_for("the child's start", || read_pid().is_some());
    let pid = read_pid().unwrap();
    assert!(is_running(pid));
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_for("the end of the child", || !is_running(pid));
}

#[tokio::test]
async fn a_dropped_disk_ends_its_child() {
    let bench = Bench::new();
    let path = bench.make_raw("disk", &vec![1; 4 << 20]);
    let reader = bench.opener.read(&DiskLocation::file(&path, DiskFormat::Raw), SIZE).await.unwrap();
    let pid = reader.server_pid().unwrap();
    assert!(is_running(pid));
    drop(reader);
    wait_for("the end of the child", || !is_running(pid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_is_killed_in_mid_read_fails_every_read_at_once() {
    let bench = Bench::new();
    let path = bench.path("disk");
    std::fs::write(&path, make_bytes(64 << 20, 7)).unwrap();
    let reader = Arc::new(
        bench.opener.read(&DiskLocation::file(&path, DiskFormat::Raw), ByteCount(64 << 20)).await.unwrap(),
    );
    let pid = reader.server_pid().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let reader = Arc::clone(&reader);
        tasks.spawn(async move {
            loop {
                if let Err(error) = reader.read(0, 64 << 20).await {
                    return error.failure();
                }
            }
        });
    }
    reader.read(0, 1 << 20).await.unwrap();
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
    while let Some(failure) = timeout(Duration::from_secs(10), tasks.join_next()).await.unwrap() {
        let failure = failure.unwrap();
        assert_eq!((failure.code.as_str(), failure.class), ("QEMU_NBD_DIED", ErrorClass::Transient));
        assert!(failure.message.contains(text(&path)), "{failure}");
    }
    let late = timeout(Duration::from_secs(10), reader.read(0, 512)).await.unwrap();
    assert_eq!(late.unwrap_err().failure().code, "QEMU_NBD_DIED");
    let reader = Arc::into_inner(reader).unwrap();
    assert_eq!(reader.close().await.unwrap_err().failure().code, "QEMU_NBD_DIED");
}

#[tokio::test]
async fn an_abandoned_opening_leaves_no_child() {
    let bench = Bench::new();
    let path = bench.make_raw("disk", &vec![1; 4 << 20]);
    for round in 0..30_u64 {
        let location = DiskLocation::file(&path, DiskFormat::Raw);
        let opening = bench.opener.write(&location, SIZE);
        let _ = timeout(Duration::from_millis(round * 2), opening).await;
    }
    // A child that was left would hold the write lock for ever.
    let mut opened = None;
    for _ in 0..200 {
        opened = bench.opener.write(&DiskLocation::file(&path, DiskFormat::Raw), SIZE).await.ok();
        if opened.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    opened.expect("the disk is free again").close().await.unwrap();
}

#[tokio::test]
async fn nothing_is_left_in_the_runtime_directory_and_only_we_may_look_into_it() {
    let mut bench = Bench::new();
    // Longer than a socket's name may be.
    bench.opener.runtime_dir = bench.path(&"deep/".repeat(40)).join("run");
    let path = bench.make_raw("disk", &vec![1; 4 << 20]);
    let reader = bench.opener.read(&DiskLocation::file(&path, DiskFormat::Raw), SIZE).await.unwrap();
    let dir = &bench.opener.runtime_dir;
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
    assert_eq!(std::fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);

    let environment = std::fs::read(format!("/proc/{}/environ", reader.server_pid().unwrap())).unwrap();
    let names =
        environment.split(|&byte| byte == 0).filter_map(|pair| pair.split(|&byte| byte == b'=').next());
    for name in names.filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name);
        assert!(["PATH", "LC_ALL", "LISTEN_FDS", "LISTEN_PID", "PWD"].contains(&name.as_ref()), "{name}");
    }
    reader.close().await.unwrap();
}
