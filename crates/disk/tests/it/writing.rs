//! What is written is there afterwards, as other programs see it.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use disk::DiskWriter;
use model::{ByteCount, DiskFormat, DiskLocation, ErrorClass, Extent};

use crate::bench::{Bench, make_bytes, qemu_img, text};

const MIB: usize = 1 << 20;

async fn open(bench: &Bench, name: &str, format: DiskFormat, size: usize) -> DiskWriter {
    bench.opener.write(&DiskLocation::file(bench.path(name), format), ByteCount(size as u64)).await.unwrap()
}

/// An empty disk of either format.
fn make_empty(bench: &Bench, name: &str, format: DiskFormat, size: usize) {
    match format {
        DiskFormat::Raw => {
            std::fs::File::create(bench.path(name)).unwrap().set_len(size as u64).unwrap();
        }
        DiskFormat::Qcow2 => {
            bench.make_qcow2(name, size);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_written_disk_is_bytewise_what_was_written() {
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let bench = Bench::new();
        let bytes = Bytes::from(make_bytes(6 * MIB + 512 * 3, 5));
        make_empty(&bench, "disk", format, bytes.len());
        let writer = open(&bench, "disk", format, bytes.len()).await;
        let split = 4 * MIB + 512;
        writer.write(split as u64, bytes.slice(split..)).await.unwrap();
        writer.write(0, bytes.slice(..split)).await.unwrap();
        assert!(writer.read(0, bytes.len() as u64).await.unwrap() == bytes);
        writer.close().await.unwrap();

        let expected = bench.make_raw("expected", &bytes);
        let (expected, path) = (text(&expected).to_owned(), bench.path("disk"));
        qemu_img(&["compare", "-f", "raw", "-F", format.as_str(), &expected, text(&path)]);
        if format == DiskFormat::Qcow2 {
            qemu_img(&["check", "-q", "-f", "qcow2", text(&path)]);
        }
    }
}

#[tokio::test]
async fn an_empty_disk_says_that_it_reads_as_zero() {
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let bench = Bench::new();
        let size = 8 * MIB + 512;
        make_empty(&bench, "disk", format, size);
        let writer = open(&bench, "disk", format, size).await;
        let all = Extent { offset: 0, length: size as u64 };
        assert_eq!(writer.zero_extents().await.unwrap(), [all], "{format:?}");
        writer.write(MIB as u64, Bytes::from(vec![9; MIB])).await.unwrap();
        let around = [
            Extent { offset: 0, length: MIB as u64 },
            Extent { offset: 2 * MIB as u64, length: (size - 2 * MIB) as u64 },
        ];
        assert_eq!(writer.zero_extents().await.unwrap(), around, "{format:?}");
        writer.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_used_disk_does_not_claim_to_be_zero_and_can_be_made_so() {
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let bench = Bench::new();
        let size = 80 * MIB; // more than one request's worth of zeroes
        make_empty(&bench, "disk", format, size);
        let writer = open(&bench, "disk", format, size).await;
        writer.write(0, Bytes::from(vec![0xaa; 40 * MIB])).await.unwrap();
        writer.write(40 * MIB as u64, Bytes::from(vec![0xbb; 40 * MIB])).await.unwrap();
        assert_eq!(writer.zero_extents().await.unwrap(), [], "{format:?}");
        writer.write_zeroes(MIB as u64, 70 * MIB as u64).await.unwrap();
        let zero = Extent { offset: MIB as u64, length: 70 * MIB as u64 };
        assert_eq!(writer.zero_extents().await.unwrap(), [zero], "{format:?}");
        let bytes = writer.read(0, 64 * MIB as u64).await.unwrap();
        assert!(bytes[..MIB].iter().all(|&byte| byte == 0xaa));
        assert!(bytes[MIB..].iter().all(|&byte| byte == 0));
        let end = writer.read(71 * MIB as u64, 9 * MIB as u64).await.unwrap();
        assert!(end.iter().all(|&byte| byte == 0xbb));
        writer.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_is_written_is_in_use_for_everybody_else() {
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let bench = Bench::new();
        make_empty(&bench, "disk", format, MIB);
        let (path, size) = (bench.path("disk"), ByteCount(MIB as u64));
        let writer = open(&bench, "disk", format, MIB).await;
        let second =
            bench.opener.write(&DiskLocation::file(&path, format), size).await.unwrap_err().failure();
        let reader = bench.opener.read(&DiskLocation::file(&path, format), size).await.unwrap_err().failure();
        for failure in [second, reader] {
            assert_eq!((failure.code.as_str(), failure.class), ("DISK_IN_USE", ErrorClass::Contention));
            assert!(failure.message.contains(text(&path)), "{failure}");
        }
        writer.close().await.unwrap();
        let again = bench.opener.write(&DiskLocation::file(&path, format), size).await.unwrap();
        again.close().await.unwrap();
    }
}

/// A guest's qemu takes the right to write for itself, as here.
#[tokio::test]
async fn a_disk_that_a_guest_uses_is_in_use() {
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let bench = Bench::new();
        make_empty(&bench, "disk", format, MIB);
        let (path, size) = (bench.path("disk"), ByteCount(MIB as u64));
        let mut guest = Command::new("qemu-io")
            .args(["--image-opts", &guest_options(format, &path)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It says its prompt when the disk is open.
        guest.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
        let failure =
            bench.opener.write(&DiskLocation::file(&path, format), size).await.unwrap_err().failure();
        assert_eq!(failure.code, "DISK_IN_USE", "{failure}");
        assert!(failure.message.contains("write\" lock"), "{failure}");
        drop(guest.stdin.take());
        guest.wait().unwrap();
        bench.opener.write(&DiskLocation::file(&path, format), size).await.unwrap().close().await.unwrap();
    }
}

fn guest_options(format: DiskFormat, path: &Path) -> String {
    let (format, path) = (format.as_str(), text(path));
    format!(
        "driver=blkdebug,unshare-child-perms.0=write,\
         image.driver={format},image.file.driver=file,image.file.filename={path}"
    )
}

#[tokio::test]
async fn a_closed_disk_is_released_at_once() {
    let bench = Bench::new();
    let path = bench.make_qcow2("disk", MIB);
    for round in 0..5_u8 {
        let writer = open(&bench, "disk", DiskFormat::Qcow2, MIB).await;
        let pid = writer.server_pid().unwrap();
        writer.write(0, Bytes::from(vec![round; 4096])).await.unwrap();
        writer.close().await.unwrap();
        assert!(!crate::bench::is_running(pid));
        let reader = bench
            .opener
            .read(&DiskLocation::file(&path, DiskFormat::Qcow2), ByteCount(MIB as u64))
            .await
            .unwrap();
        assert!(reader.read(0, 4096).await.unwrap().iter().all(|&byte| byte == round));
        reader.close().await.unwrap();
    }
}
