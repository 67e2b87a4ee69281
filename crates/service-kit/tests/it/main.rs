//! A service as its supervisor sees it: a child process with exit codes, log lines and a health page.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn make_service() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_service-kit-drill"));
    command.stderr(Stdio::piped()).env_remove("RUST_LOG").env_remove("HOLDFAST_DRILL");
    command
}

#[track_caller]
fn check_panic_ends_the_process(actor: &str) {
    let output = make_service().env("HOLDFAST_DRILL", format!("panic:{actor}")).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(70), "{log}");
    let line = log.lines().find(|line| line.contains("\"ERROR\"")).expect("an error line");
    assert!(line.contains(actor) && line.contains("an actor died"), "{line}");
}

#[test]
fn an_actor_that_panics_ends_the_process_with_70_and_is_named() {
    check_panic_ends_the_process("clerk");
}

#[test]
fn a_supervised_task_that_panics_ends_the_process_with_70_and_is_named() {
    check_panic_ends_the_process("porter");
}

#[test]
fn a_supervised_thread_that_panics_ends_the_process_with_70_and_is_named() {
    check_panic_ends_the_process("bell");
}

#[test]
fn a_refusal_ends_the_process_with_69() {
    let output = make_service().env("REFUSED", "1").output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{log}");
    assert!(log.contains("ACCESS_REFUSED"), "{log}");
}

#[test]
fn a_service_tells_its_health_and_drains_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let address_file = dir.path().join("address");
    let child = make_service().env("ADDRESS_FILE", &address_file).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let address = loop {
        match std::fs::read_to_string(&address_file) {
            Ok(address) if !address.is_empty() => break address,
            _ => assert!(Instant::now() < deadline, "no address"),
        }
        std::thread::yield_now();
    };
    let health = read_health(&address);
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    for part in [
        "\"service\":\"service-kit-drill\"",
        "\"version\":",
        "\"clerk\":true",
        "\"porter\":true",
        "\"bell\":true",
    ] {
        assert!(health.contains(part), "{part} is not in {health}");
    }
    let output = stop(child);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

fn read_health(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn stop(child: Child) -> Output {
    let status = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(status.success());
    child.wait_with_output().unwrap()
}
