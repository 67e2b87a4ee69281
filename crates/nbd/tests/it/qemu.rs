//! The real server.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use nbd::wire::TransmissionFlags;
use nbd::{Client, Error, Options, Zeroing};
use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::fake_server::within;

const SIZE: u64 = (8 << 20) + 512;

/// A `qemu-nbd` of a raw disk of `SIZE` bytes, and a client of it.
struct Qemu {
    dir: TempDir,
    process: Child,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn start(arguments: &[&str]) -> (Qemu, Client) {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::File::create(&disk).unwrap().set_len(SIZE).unwrap();
    let arguments = [&["--format=raw", "--discard=unmap"], arguments].concat();
    serve(dir, &disk, &arguments, Options::default()).await
}

/// Starts `qemu-nbd` of a disk in `dir`, and connects.
async fn serve(dir: tempfile::TempDir, disk: &Path, arguments: &[&str], options: Options) -> (Qemu, Client) {
    let socket = dir.path().join("socket");
    let process = Command::new("qemu-nbd")
        .args(arguments)
        .args(["--export-name=disk", "--socket"])
        .args([socket.as_path(), disk])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let qemu = Qemu { dir, process };
    let stream = connect(&socket).await;
    let options = Options { export_name: "disk".to_owned(), ..options };
    let client = within(Client::connect(stream, options)).await.unwrap();
    (qemu, client)
}

async fn connect(socket: &Path) -> UnixStream {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_written_is_read_and_lies_in_the_file() {
    let (qemu, client) = start(&[]).await;
    assert_eq!(client.export().size, SIZE);
    let data = Bytes::from((0..3 << 20_u32).map(|index| (index % 251) as u8).collect::<Vec<_>>());
    within(client.write(SIZE - data.len() as u64, data.clone())).await.unwrap();
    within(client.flush()).await.unwrap();
    let start = SIZE - data.len() as u64;
    assert!(within(client.read(start, data.len() as u64)).await.unwrap() == data);
    within(client.close()).await.unwrap();
    let file = std::fs::read(qemu.dir.path().join("disk")).unwrap();
    assert!(file[usize::try_from(start).unwrap()..] == data[..]);
}

#[tokio::test]
async fn zeroes_are_a_hole_or_allocated_as_asked() {
    let (_qemu, client) = start(&[]).await;
    within(client.write(0, Bytes::from(vec![7; 4 << 20]))).await.unwrap();
    within(client.write_zeroes(0, 1 << 20, Zeroing::MayPunch)).await.unwrap();
    within(client.write_zeroes(1 << 20, 1 << 20, Zeroing::KeepAllocated)).await.unwrap();
    within(client.trim(2 << 20, 1 << 20)).await.unwrap();
    let zero = within(client.read(0, 2 << 20)).await.unwrap();
    assert!(zero.iter().all(|&byte| byte == 0));
    let rest = within(client.read(3 << 20, 1 << 20)).await.unwrap();
    assert!(rest.iter().all(|&byte| byte == 7));
    let extents = within(client.block_status(0, 1 << 20)).await.unwrap();
    assert!(extents[0].is_hole && extents[0].is_zero, "{extents:?}");
    let extents = within(client.block_status(3 << 20, 1 << 20)).await.unwrap();
    assert!(!extents[0].is_hole && !extents[0].is_zero, "{extents:?}");
}

/// Starts `qemu-nbd` of a qcow2 disk of 4 MiB whose second MiB was written after the bitmap `since` had begun.
async fn start_with_bitmap(ask_for: &str) -> (Qemu, Client) {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    let run = |program: &str, arguments: &[&str]| {
        assert!(Command::new(program).args(arguments).arg(&disk).status().unwrap().success());
    };
    let size = "4M";
    let created =
        Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&disk).arg(size).status();
    assert!(created.unwrap().success());
    run("qemu-io", &["-f", "qcow2", "-c", "write -q 0 1M"]);
    let added = Command::new("qemu-img").args(["bitmap", "--add"]).arg(&disk).arg("since").status();
    assert!(added.unwrap().success());
    run("qemu-io", &["-f", "qcow2", "-c", "write -q 1M 1M"]);
    let options = Options { dirty_bitmap: Some(ask_for.to_owned()), ..Options::default() };
    serve(dir, &disk, &["--format=qcow2", "--read-only", "--bitmap=since"], options).await
}

#[tokio::test]
async fn a_dirty_bitmap_says_what_was_written_beside_what_is_allocated() {
    const MIB: u64 = 1 << 20;
    let (_qemu, client) = start_with_bitmap("since").await;
    let dirty = within(client.dirty_status(0, 4 * MIB)).await.unwrap();
    let expected = [(0, MIB, false), (MIB, MIB, true), (2 * MIB, 2 * MIB, false)];
    let found: Vec<_> = dirty.iter().map(|it| (it.offset, it.length, it.is_dirty)).collect();
    assert_eq!(found, expected);
    let allocated = within(client.block_status(0, 4 * MIB)).await.unwrap();
    let found: Vec<_> = allocated.iter().map(|it| (it.offset, it.length, it.is_zero)).collect();
    assert_eq!(found, [(0, 2 * MIB, false), (2 * MIB, 2 * MIB, true)]);
    within(client.close()).await.unwrap();
}

#[tokio::test]
async fn a_bitmap_that_is_not_there_is_not_taken_for_an_empty_one() {
    let (_qemu, client) = start_with_bitmap("another").await;
    assert!(client.export().dirty_context.is_none());
    let refused = within(client.dirty_status(0, 512)).await;
    assert!(matches!(refused, Err(Error::NotSupported { .. })), "{refused:?}");
    assert!(within(client.block_status(0, 512)).await.is_ok());
}

#[tokio::test]
async fn a_read_only_export_takes_no_writes() {
    let (_qemu, client) = start(&["--read-only"]).await;
    assert!(client.export().flags.contains(TransmissionFlags::READ_ONLY));
    let refused = client.write(0, Bytes::from_static(&[1; 512])).await;
    assert!(matches!(refused, Err(Error::NotSupported { command: "write" })), "{refused:?}");
    assert!(within(client.read(0, SIZE)).await.unwrap().iter().all(|&byte| byte == 0));
}

#[tokio::test]
async fn a_server_that_is_killed_fails_what_is_in_flight() {
    let (mut qemu, client) = start(&[]).await;
    let reader = client.clone();
    let reading = tokio::spawn(async move {
        loop {
            if let Err(error) = reader.read(0, SIZE).await {
                return error;
            }
        }
    });
    within(client.read(0, 512)).await.unwrap();
    qemu.process.kill().unwrap();
    let error = within(reading).await.unwrap();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    let error = within(client.flush()).await.unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
}
