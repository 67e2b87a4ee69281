//! Images over a backing file, as a hypervisor makes them of an image that many instances share.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::{ByteCount, DiskFormat, DiskLocation, Extent, ImageFile};

use crate::bench::{Bench, make_bytes, qemu_img, text};

const MIB: usize = 1 << 20;
/// The overlay is longer than what it lies over.
const SIZE: ByteCount = ByteCount(8 << 20);

/// An overlay of `SIZE` over `backing`; only the latter's name is taken, it need not be there.
fn make_overlay(bench: &Bench, backing: &Path, format: &str) -> DiskLocation {
    let path = bench.path("overlay");
    let _ = std::fs::remove_file(&path);
    let (backing, size) = (text(backing), SIZE.0.to_string());
    qemu_img(&["create", "-q", "-f", "qcow2", "-u", "-b", backing, "-F", format, text(&path), &size]);
    let backing_dir = Some(bench.path("base"));
    DiskLocation::File(ImageFile { path, format: DiskFormat::Qcow2, backing_dir, is_shared: false })
}

/// A raw image of 4 MiB in the directory of backing files, with its bytes.
fn make_base(bench: &Bench) -> (PathBuf, Vec<u8>) {
    std::fs::create_dir_all(bench.path("base")).unwrap();
    let bytes = make_bytes(4 * MIB, 8);
    (bench.make_raw("base/aa", &bytes), bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overlay_reads_as_its_backing_file_where_nothing_was_written() {
    let bench = Bench::new();
    let (base, bytes) = make_base(&bench);
    let location = make_overlay(&bench, &base, "raw");
    let reader = bench.opener.read(&location, SIZE).await.unwrap();
    assert!(reader.read(0, 4 * MIB as u64).await.unwrap() == bytes);
    assert!(reader.read(4 * MIB as u64, 4 * MIB as u64).await.unwrap().iter().all(|&byte| byte == 0));
    let populated = [Extent { offset: 0, length: 4 * MIB as u64 }];
    assert_eq!(reader.allocated_extents().await.unwrap(), populated);
    reader.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_written_overlay_hides_its_backing_file_and_leaves_it_as_it_was() {
    let bench = Bench::new();
    let (base, bytes) = make_base(&bench);
    let location = make_overlay(&bench, &base, "raw");
    let writer = bench.opener.write(&location, SIZE).await.unwrap();
    let zero = [Extent { offset: 4 * MIB as u64, length: 4 * MIB as u64 }];
    assert_eq!(writer.zero_extents().await.unwrap(), zero, "a hole over the backing file is none");
    writer.write(0, Bytes::from(vec![7; MIB])).await.unwrap();
    writer.write_zeroes(MIB as u64, MIB as u64).await.unwrap();
    writer.close().await.unwrap();
    assert!(std::fs::read(&base).unwrap() == bytes);

    let reader = bench.opener.read(&location, SIZE).await.unwrap();
    let read = reader.read(0, 4 * MIB as u64).await.unwrap();
    assert!(read[..MIB].iter().all(|&byte| byte == 7));
    assert!(read[MIB..2 * MIB].iter().all(|&byte| byte == 0));
    assert!(read[2 * MIB..] == bytes[2 * MIB..]);
    reader.close().await.unwrap();
    let DiskLocation::File(image) = &location else { unreachable!() };
    qemu_img(&["check", "-q", "-f", "qcow2", text(&image.path)]);
}

#[tokio::test]
async fn a_backing_file_elsewhere_is_refused() {
    let bench = Bench::new();
    let (base, _) = make_base(&bench);
    symlink("/etc/passwd", bench.path("base/link")).unwrap();
    symlink("/etc", bench.path("base/etc")).unwrap();
    let base = base.parent().unwrap();
    for path in
        [PathBuf::from("/etc/passwd"), base.join("../disk"), base.join("link"), base.join("etc/passwd")]
    {
        let location = make_overlay(&bench, &path, "raw");
        let failure = bench.refusal(&location, SIZE).await;
        assert_eq!(failure.code, "DISK_FORMAT_REFUSED", "{failure}");
        assert!(failure.message.contains(text(&path)), "{failure}");
    }
}

#[tokio::test]
async fn a_backing_file_that_has_one_itself_is_refused() {
    let bench = Bench::new();
    let (base, _) = make_base(&bench);
    let middle = bench.path("base/middle");
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", text(&base), "-F", "raw", text(&middle)]);
    let location = make_overlay(&bench, &middle, "qcow2");
    assert_eq!(bench.refusal(&location, SIZE).await.code, "DISK_FORMAT_REFUSED");
}

#[tokio::test]
async fn a_missing_backing_file_is_named() {
    let bench = Bench::new();
    make_base(&bench);
    let path = bench.path("base/gone");
    let failure = bench.refusal(&make_overlay(&bench, &path, "raw"), SIZE).await;
    assert_eq!(failure.code, "DISK_OPEN_FAILED");
    assert!(failure.message.contains(text(&path)) && failure.message.contains("No such file"), "{failure}");
}
