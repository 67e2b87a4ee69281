//! Disks that a guest or a tenant made to mislead us.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use model::{ByteCount, DiskFormat, DiskLocation, ErrorClass, Failure};

use crate::bench::{Bench, make_bytes, qemu_img, text};

const SIZE: ByteCount = ByteCount(1 << 20);

async fn refusal(bench: &Bench, path: &Path, format: DiskFormat) -> Failure {
    let refused = bench.refusal(&DiskLocation::file(path, format), SIZE).await;
    assert!(refused.message.contains(text(path)), "{refused}");
    refused
}

#[tokio::test]
async fn a_raw_disk_that_holds_a_qcow2_header_naming_a_host_file_reads_as_its_own_bytes() {
    let bench = Bench::new();
    let path = bench.path("disk");
    let backing = "/etc/passwd";
    qemu_img(&["create", "-q", "-f", "qcow2", "-u", "-b", backing, "-F", "raw", text(&path), "1M"]);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(SIZE.0).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.starts_with(b"QFI\xfb"));

    let reader = bench.opener.read(&DiskLocation::file(&path, DiskFormat::Raw), SIZE).await.unwrap();
    assert!(reader.read(0, SIZE.0).await.unwrap() == bytes);
    reader.close().await.unwrap();
}

#[tokio::test]
async fn a_qcow2_with_a_backing_file_is_refused() {
    let bench = Bench::new();
    let path = bench.path("disk");
    qemu_img(&["create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", text(&path), "1M"]);
    let failure = refusal(&bench, &path, DiskFormat::Qcow2).await;
    assert_eq!((failure.code.as_str(), failure.class), ("DISK_FORMAT_REFUSED", ErrorClass::Permanent));
    assert!(failure.message.contains("backing file"), "{failure}");
}

#[tokio::test]
async fn a_qcow2_with_an_external_data_file_is_refused() {
    let bench = Bench::new();
    let (path, data) = (bench.path("disk"), bench.path("data"));
    let options = format!("data_file={},data_file_raw=on", text(&data));
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &options, text(&path), "1M"]);
    let failure = refusal(&bench, &path, DiskFormat::Qcow2).await;
    assert_eq!(failure.code, "DISK_FORMAT_REFUSED");
    assert!(failure.message.contains("external file"), "{failure}");
}

#[tokio::test]
async fn an_encrypted_qcow2_is_refused() {
    let bench = Bench::new();
    let path = bench.path("disk");
    let options = "encrypt.format=aes,encrypt.key-secret=k";
    let secret = "secret,id=k,data=abc";
    qemu_img(&["create", "-q", "--object", secret, "-f", "qcow2", "-o", options, text(&path), "1M"]);
    let failure = refusal(&bench, &path, DiskFormat::Qcow2).await;
    assert_eq!(failure.code, "DISK_FORMAT_REFUSED");
    assert!(failure.message.contains("encrypted"), "{failure}");
}

#[tokio::test]
async fn a_raw_disk_is_not_opened_as_qcow2() {
    let bench = Bench::new();
    let path = bench.make_raw("disk", &make_bytes(1 << 20, 6));
    let failure = refusal(&bench, &path, DiskFormat::Qcow2).await;
    assert_eq!(failure.code, "DISK_FORMAT_REFUSED");
    assert!(failure.message.contains("magic"), "{failure}");
}

#[tokio::test]
async fn a_qcow2_disk_is_not_taken_for_a_raw_one_of_its_size() {
    let bench = Bench::new();
    let path = bench.make_qcow2("disk", 1 << 20);
    let failure = refusal(&bench, &path, DiskFormat::Raw).await;
    assert_eq!((failure.code.as_str(), failure.class), ("DISK_CHANGED_SIZE", ErrorClass::Permanent));
    assert!(failure.message.contains("1048576"), "{failure}");
}

#[tokio::test]
async fn a_qcow2_whose_tables_are_damaged_is_refused_with_qemus_own_words() {
    let bench = Bench::new();
    let path = bench.make_qcow2("disk", 1 << 20);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40..48].copy_from_slice(&0x1234_5678_u64.to_be_bytes()); // where the level 1 table lies
    std::fs::write(&path, bytes).unwrap();
    let failure = refusal(&bench, &path, DiskFormat::Qcow2).await;
    assert_eq!(failure.code, "DISK_OPEN_FAILED");
    assert!(failure.message.contains("qemu-nbd: ") && failure.message.contains("L1"), "{failure}");
}

#[tokio::test]
async fn only_regular_files_reached_through_no_link_are_opened() {
    let bench = Bench::new();
    let file = bench.make_raw("file", &vec![1; 1 << 20]);
    let link = bench.path("link");
    symlink(&file, &link).unwrap();
    let socket = bench.path("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    let pipe = bench.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let dir = bench.path("dir");
    std::fs::create_dir(&dir).unwrap();
    for (path, found) in [
        (link, "a symbolic link"),
        (dir, "a directory"),
        (socket, "a device, socket or pipe"),
        (pipe, "a device, socket or pipe"),
        (PathBuf::from("/dev/zero"), "a device, socket or pipe"),
    ] {
        let failure = refusal(&bench, &path, DiskFormat::Raw).await;
        assert_eq!(failure.code, "DISK_NOT_A_FILE", "{failure}");
        assert!(failure.message.contains(found), "{failure}");
    }
}

#[tokio::test]
async fn a_missing_disk_is_named() {
    let bench = Bench::new();
    let failure = refusal(&bench, &bench.path("nowhere"), DiskFormat::Raw).await;
    assert_eq!((failure.code.as_str(), failure.class), ("DISK_OPEN_FAILED", ErrorClass::Permanent));
    assert!(failure.message.contains("No such file"), "{failure}");
}

#[tokio::test]
async fn a_path_full_of_qemus_syntax_is_only_a_path() {
    let bench = Bench::new();
    let path = bench.make_raw("a,driver=null-co,size=1:json:{\"x\":1} \n", &vec![3; 1 << 20]);
    let reader = bench.opener.read(&DiskLocation::file(&path, DiskFormat::Raw), SIZE).await.unwrap();
    assert!(reader.read(0, 4096).await.unwrap().iter().all(|&byte| byte == 3));
}

#[tokio::test]
async fn a_missing_program_is_named_with_its_package() {
    let bench = Bench::new();
    let path = bench.make_raw("disk", &vec![1; 1 << 20]);
    let script = bench.make_raw("not-executable", b"#!/bin/sh\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();
    for program in [PathBuf::from("no-such-qemu-nbd"), bench.path("qemu-nbd"), script] {
        let mut opener = bench.opener.clone();
        opener.qemu_nbd = program.clone();
        let failure =
            opener.read(&DiskLocation::file(&path, DiskFormat::Raw), SIZE).await.unwrap_err().failure();
        assert_eq!((failure.code.as_str(), failure.class), ("QEMU_NBD_MISSING", ErrorClass::Permanent));
        assert!(failure.message.contains(text(&program)), "{failure}");
        assert!(failure.message.contains("qemu-utils"), "{failure}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_qemu_nbd_fails_at_once_with_what_it_said() {
    let bench = Bench::new();
    let path = bench.make_raw("disk", &vec![1; 1 << 20]);
    let program =
        bench.make_raw("impostor", b"#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x >&2\nexit 3\n");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut opener = bench.opener.clone();
    opener.qemu_nbd = program;
    let failure = opener.read(&DiskLocation::file(&path, DiskFormat::Raw), SIZE).await.unwrap_err().failure();
    assert_eq!(failure.code, "DISK_OPEN_FAILED");
    assert!(failure.message.len() < 8192, "the words are bounded");
}

/// Only root may have a loop device.
#[tokio::test]
async fn a_block_device_is_read_as_raw_and_nothing_else_is_taken_for_one() {
    let bench = Bench::new();
    // Its header is a guest's, and means nothing.
    let mut bytes = vec![7; 1 << 20];
    bytes[..4].copy_from_slice(b"QFI\xfb");
    let file = bench.make_raw("file", &bytes);
    let made = Command::new("/usr/sbin/losetup").args(["--find", "--show"]).arg(&file).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let device = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
    let reader = bench.opener.read(&DiskLocation::Device(device.clone()), SIZE).await.unwrap();
    let read = reader.read(0, SIZE.0).await.unwrap();
    reader.close().await.unwrap();
    assert!(Command::new("/usr/sbin/losetup").arg("--detach").arg(&device).status().unwrap().success());
    assert!(read == bytes);
    for path in [file, PathBuf::from("/dev/zero")] {
        let failure = bench.refusal(&DiskLocation::Device(path), SIZE).await;
        assert_eq!(failure.code, "DISK_NOT_A_DEVICE", "{failure}");
    }
}
