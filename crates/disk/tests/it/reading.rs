//! What is read is what is there.

use std::sync::Arc;

use disk::DiskReader;
use model::{ByteCount, DiskFormat, DiskLocation, Extent, ImageFile};

use crate::bench::{Bench, make_bytes, qemu_img, qemu_io, text};

const MIB: usize = 1 << 20;

async fn open(bench: &Bench, name: &str, format: DiskFormat, size: usize) -> DiskReader {
    bench.opener.read(&DiskLocation::file(bench.path(name), format), ByteCount(size as u64)).await.unwrap()
}

/// Reads the whole disk in calls of `step` bytes.
async fn read_all(reader: &DiskReader, step: u64) -> Vec<u8> {
    let (size, mut bytes) = (reader.size().0, Vec::new());
    while (bytes.len() as u64) < size {
        let offset = bytes.len() as u64;
        bytes.extend_from_slice(&reader.read(offset, step.min(size - offset)).await.unwrap());
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_disk_reads_bytewise_the_same_in_steps_of_any_size() {
    let bench = Bench::new();
    let bytes = make_bytes(5 * MIB + 512 * 7, 1);
    bench.make_raw("disk", &bytes);
    let reader = open(&bench, "disk", DiskFormat::Raw, bytes.len()).await;
    assert_eq!(reader.size(), ByteCount(bytes.len() as u64));
    for step in [64 << 20, MIB as u64, 100 * 512, 256 * 1024 + 512] {
        assert!(read_all(&reader, step).await == bytes, "steps of {step}");
    }
    reader.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_qcow2_disk_reads_as_the_raw_disk_it_was_made_from() {
    let bench = Bench::new();
    let mut bytes = make_bytes(9 * MIB + 512, 2);
    bytes[2 * MIB..4 * MIB].fill(0);
    let raw = bench.make_raw("raw", &bytes);
    for (name, options) in
        [("plain", "compat=1.1"), ("old", "compat=0.10"), ("odd", "cluster_size=512,extended_l2=off")]
    {
        let (source, target) = (text(&raw), bench.path(name));
        qemu_img(&["convert", "-f", "raw", "-O", "qcow2", "-o", options, source, text(&target)]);
        let reader = open(&bench, name, DiskFormat::Qcow2, bytes.len()).await;
        assert!(read_all(&reader, 3 * MIB as u64).await == bytes, "{name}");
        reader.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_compressed_qcow2_disk_reads_as_well() {
    let bench = Bench::new();
    let raw = bench.make_raw("raw", &vec![0x5a; 4 * MIB]);
    let target = bench.path("small");
    let options = "compression_type=zlib";
    qemu_img(&["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, text(&raw), text(&target)]);
    let reader = open(&bench, "small", DiskFormat::Qcow2, 4 * MIB).await;
    assert!(read_all(&reader, MIB as u64).await.iter().all(|&byte| byte == 0x5a));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reads_of_many_tasks_do_not_mix() {
    let bench = Bench::new();
    let bytes = Arc::new(make_bytes(8 * MIB, 3));
    bench.make_raw("disk", &bytes);
    let reader = Arc::new(open(&bench, "disk", DiskFormat::Raw, bytes.len()).await);
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..64_usize {
        let (reader, bytes) = (Arc::clone(&reader), Arc::clone(&bytes));
        tasks.spawn(async move {
            let offset = (index * 7919 * 512) % (7 * MIB);
            let read = reader.read(offset as u64, MIB as u64).await.unwrap();
            assert!(read == bytes[offset..offset + MIB], "at {offset}");
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_read_disturbs_no_other() {
    let bench = Bench::new();
    let bytes = make_bytes(32 * MIB, 4);
    bench.make_raw("disk", &bytes);
    let reader = open(&bench, "disk", DiskFormat::Raw, bytes.len()).await;
    for round in 0..40_u64 {
        let dropped = reader.read(0, 32 * MIB as u64);
        let _ = tokio::time::timeout(std::time::Duration::from_micros(round * 50), dropped).await;
        let offset = (round as usize) * 512 * 1024;
        assert!(reader.read(offset as u64, 4096).await.unwrap() == bytes[offset..offset + 4096]);
    }
    reader.close().await.unwrap();
}

#[tokio::test]
async fn allocated_extents_are_exactly_the_written_ones() {
    let bench = Bench::new();
    let size = 64 * MIB + 512;
    let expected = [
        Extent { offset: 0, length: MIB as u64 },
        Extent { offset: 10 * MIB as u64, length: 2 * MIB as u64 },
        Extent { offset: 63 * MIB as u64, length: 64 * 1024 },
    ];
    let writes = ["write -P 1 0 1M", "write -P 2 10M 1M", "write -P 3 11M 1M", "write -P 4 63M 64k"];

    let raw = bench.path("raw");
    std::fs::File::create(&raw).unwrap().set_len(size as u64).unwrap();
    qemu_io(&raw, "raw", &writes);
    let qcow2 = bench.make_qcow2("qcow2", size);
    qemu_io(&qcow2, "qcow2", &writes);

    for (name, format) in [("raw", DiskFormat::Raw), ("qcow2", DiskFormat::Qcow2)] {
        let reader = open(&bench, name, format, size).await;
        assert_eq!(reader.allocated_extents().await.unwrap(), expected, "{name}");
        let hole = reader.read(20 * MIB as u64, 40 * MIB as u64).await.unwrap();
        assert!(hole.iter().all(|&byte| byte == 0), "{name}");
        let edge = reader.read(10 * MIB as u64 - 512, 1024).await.unwrap();
        assert!(edge[..512].iter().all(|&byte| byte == 0) && edge[512..].iter().all(|&byte| byte == 2));
        reader.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_empty_disk_of_a_terabyte_is_walked_at_once_and_has_no_extents() {
    let bench = Bench::new();
    let size = 1_usize << 40;
    bench.make_qcow2("large", size);
    let reader = open(&bench, "large", DiskFormat::Qcow2, size).await;
    assert_eq!(reader.allocated_extents().await.unwrap(), []);
    let end = reader.read(size as u64 - 512, 512).await.unwrap();
    assert!(end.iter().all(|&byte| byte == 0));
}

#[tokio::test]
async fn a_read_beyond_the_end_is_refused_by_us() {
    let bench = Bench::new();
    bench.make_raw("disk", &[1; 4096]);
    let reader = open(&bench, "disk", DiskFormat::Raw, 4096).await;
    for (offset, length) in [(4096, 512), (3584, 1024), (u64::MAX, 2)] {
        let failure = reader.read(offset, length).await.unwrap_err().failure();
        assert_eq!((failure.code.as_str(), failure.class), ("DISK_IO", model::ErrorClass::Bug));
    }
    assert!(reader.read(0, 4096).await.is_ok(), "the connection is sound");
}

#[tokio::test]
async fn two_readers_share_a_disk() {
    let bench = Bench::new();
    bench.make_raw("disk", &[7; 4096]);
    let first = open(&bench, "disk", DiskFormat::Raw, 4096).await;
    let second = open(&bench, "disk", DiskFormat::Raw, 4096).await;
    assert_eq!(first.read(0, 512).await.unwrap(), second.read(0, 512).await.unwrap());
}

/// Whether another process may begin to write to a disk that is open for reading.
async fn may_be_written_while_read(is_shared: bool) -> bool {
    let bench = Bench::new();
    let path = bench.make_qcow2("disk", MIB);
    let image = ImageFile { path: path.clone(), format: DiskFormat::Qcow2, backing_dir: None, is_shared };
    let reader = bench.opener.read(&DiskLocation::File(image), ByteCount(MIB as u64)).await.unwrap();
    reader.read(0, 512).await.unwrap();
    let write =
        std::process::Command::new("qemu-io").args(["-f", "qcow2", "-c", "write 0 512"]).arg(&path).output();
    let write = write.unwrap();
    reader.close().await.unwrap();
    write.status.success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_of_a_shared_disk_another_process_may_write_what_is_being_read() {
    assert!(may_be_written_while_read(true).await);
    assert!(!may_be_written_while_read(false).await);
}
