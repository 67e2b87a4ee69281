//! A scratch folder of a test's own, as an operator makes it. Removed when dropped.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use runtime::Entropy;

use crate::tool;

/// Where the hypervisor and the datamover both get: the hypervisor's own folder is closed to all others.
const PARENT: &str = "/var/lib";
const OWNER: &str = "libvirt-qemu:kvm";
const MODE: &str = "2770";

/// Where the hypervisor puts old blocks.
#[derive(Debug)]
pub struct ScratchFolder {
    path: PathBuf,
    is_mounted: bool,
}

impl ScratchFolder {
    /// Makes it; with a file system of so many MiB of its own, or with as much room as there is.
    pub fn make(size_mib: Option<u32>) -> Result<Self> {
        // Short: the whole path of a socket in it has 107 bytes at most.
        let [a, b, c, d, ..] = Entropy.key();
        let path = Path::new(PARENT).join(format!("holdfast-test-{a:02x}{b:02x}{c:02x}{d:02x}"));
        std::fs::create_dir(&path)?;
        let folder = Self { path, is_mounted: size_mib.is_some() };
        if let Some(size) = size_mib {
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &format!("size={size}m"), "tmpfs"]);
            tool::run(mount.arg(&folder.path), "")?;
        }
        tool::run(Command::new("chown").arg(OWNER).arg(&folder.path), "")?;
        tool::run(Command::new("chmod").arg(MODE).arg(&folder.path), "")?;
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
