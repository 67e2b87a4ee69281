//! Disks that somebody else serves, as a hypervisor serves those of a running instance.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use model::{ByteCount, DiskLocation, ErrorClass, Extent, NbdExport};

use crate::bench::{Bench, qemu_img, qemu_io, text, wait_for};

const MIB: u64 = 1 << 20;
const SIZE: ByteCount = ByteCount(4 << 20);

/// A server with a disk whose second MiB was written after the bitmap `since` had begun.
struct Hypervisor {
    process: Child,
    socket: PathBuf,
}

impl Hypervisor {
    fn start(bench: &Bench) -> Self {
        let disk = bench.make_qcow2("served", 4 << 20);
        qemu_io(&disk, "qcow2", &["write -P 1 0 1M"]);
        qemu_img(&["bitmap", "--add", text(&disk), "since"]);
        qemu_io(&disk, "qcow2", &["write -P 2 1M 1M"]);
        let socket = bench.path("socket");
        let process = Command::new("qemu-nbd")
            .args(["--persistent", "--read-only", "--format=qcow2", "--bitmap=since", "--export-name=vda"])
            .args(["--socket", text(&socket), text(&disk)])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("the socket", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        Self { process, socket }
    }

    fn location(&self, name: &str) -> DiskLocation {
        DiskLocation::Export(NbdExport { socket: self.socket.clone(), name: name.to_owned() })
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Hypervisor {
    fn drop(&mut self) {
        self.stop();
    }
}

#[tokio::test]
async fn an_export_is_read_and_its_bitmap_says_what_changed() {
    let bench = Bench::new();
    let hypervisor = Hypervisor::start(&bench);
    let location = hypervisor.location("vda");
    let reader = bench.opener.read_with_bitmap(&location, SIZE, "since").await.unwrap();
    assert_eq!(reader.server_pid(), None, "no child of ours serves it");
    let bytes = reader.read(0, SIZE.0).await.unwrap();
    assert!(bytes.chunks(1 << 20).zip([1, 2, 0, 0]).all(|(part, byte)| part.iter().all(|it| *it == byte)));
    assert_eq!(reader.allocated_extents().await.unwrap(), [Extent { offset: 0, length: 2 * MIB }]);
    assert_eq!(reader.changed_extents().await.unwrap(), [Extent { offset: MIB, length: MIB }]);
    reader.close().await.unwrap();
    let again = bench.opener.read(&location, SIZE).await.unwrap();
    assert!(again.changed_extents().await.is_err(), "without a bitmap nothing is said of changes");
}

#[tokio::test]
async fn a_missing_bitmap_is_said_and_not_taken_for_no_changes() {
    let bench = Bench::new();
    let hypervisor = Hypervisor::start(&bench);
    let opened = bench.opener.read_with_bitmap(&hypervisor.location("vda"), SIZE, "other").await;
    let failure = opened.unwrap_err().failure();
    assert_eq!(failure.code, "DISK_BITMAP_MISSING", "{failure}");
    assert!(failure.message.contains("other"), "{failure}");
}

#[tokio::test]
async fn an_export_that_ends_takes_its_point_in_time_with_it() {
    let bench = Bench::new();
    let mut hypervisor = Hypervisor::start(&bench);
    let location = hypervisor.location("vda");
    let reader = bench.opener.read(&location, SIZE).await.unwrap();
    hypervisor.stop();
    let during = reader.read(0, 512).await.unwrap_err().failure();
    let before = bench.opener.read(&location, SIZE).await.unwrap_err().failure();
    for failure in [during, before] {
        let found = (failure.code.as_str(), failure.class);
        assert_eq!(found, ("POINT_IN_TIME_LOST", ErrorClass::Permanent), "{failure}");
        assert!(failure.message.contains(":vda"), "{failure}");
    }
}

#[tokio::test]
async fn an_export_of_another_name_or_size_is_refused() {
    let bench = Bench::new();
    let hypervisor = Hypervisor::start(&bench);
    let other = bench.opener.read(&hypervisor.location("vdb"), SIZE).await.unwrap_err().failure();
    assert_eq!(other.code, "POINT_IN_TIME_LOST", "{other}");
    let longer =
        bench.opener.read(&hypervisor.location("vda"), ByteCount(5 << 20)).await.unwrap_err().failure();
    assert_eq!(longer.code, "DISK_CHANGED_SIZE", "{longer}");
}
