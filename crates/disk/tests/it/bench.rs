//! A directory of the test's own, with an opener and the tools of qemu.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use disk::Opener;
use model::{ByteCount, DiskLocation, Failure};
use tempfile::TempDir;

const LOCK_DEADLINE: Duration = Duration::from_secs(30);

/// Where one test works.
#[derive(Debug)]
pub(crate) struct Bench {
    dir: TempDir,
    pub(crate) opener: Opener,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let opener =
            Opener { qemu_nbd: PathBuf::from("qemu-nbd"), runtime_dir: dir.path().join("state").join("run") };
        Self { dir, opener }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A raw disk of exactly these bytes.
    pub(crate) fn make_raw(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// How a disk is refused; its reader and its writer must hear the same.
    pub(crate) async fn refusal(&self, location: &DiskLocation, size: ByteCount) -> Failure {
        let read = self.opener.read(location, size).await.unwrap_err().failure();
        // A child that another test forks holds the reader's lock too, for the moment until it is another program.
        let write = async {
            loop {
                let failure = self.opener.write(location, size).await.unwrap_err().failure();
                if failure.code != "DISK_IN_USE" {
                    break failure;
                }
                tokio::task::yield_now().await;
            }
        };
        let write =
            tokio::time::timeout(LOCK_DEADLINE, write).await.expect("the lock of a closed file is free");
        assert_eq!((&read.code, read.class), (&write.code, write.class));
        read
    }

    /// An empty qcow2 disk.
    pub(crate) fn make_qcow2(&self, name: &str, size: usize) -> PathBuf {
        let path = self.path(name);
        qemu_img(&["create", "-q", "-f", "qcow2", text(&path), &size.to_string()]);
        path
    }
}

/// Runs `qemu-img`, which must succeed.
pub(crate) fn qemu_img(arguments: &[&str]) -> Output {
    run("qemu-img", arguments)
}

/// Runs `qemu-io` with one `-c` per command; each must succeed.
pub(crate) fn qemu_io(path: &Path, format: &str, commands: &[&str]) -> Output {
    let mut arguments = vec!["-f", format];
    for command in commands {
        arguments.extend(["-c", command]);
    }
    arguments.push(text(path));
    let output = run("qemu-io", &arguments);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("failed"), "{output:?}");
    output
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    output
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Bytes that repeat nowhere soon: a place that is swapped or shifted is seen.
pub(crate) fn make_bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(length);
    bytes
}

/// Polls until `condition` holds.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "still waiting for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process runs. A zombie, which only waits for somebody to read its status, does not.
pub(crate) fn is_running(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z')
}
