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
            mount(&folder.path, size)?;
        }
        give_to_hypervisor(&folder.path)?;
        Ok(folder)
    }

    /// Lays a file system of so many MiB over it, until the answer is dropped.
    pub fn shrink(&self, size_mib: u32) -> Result<SmallScratch> {
        mount(&self.path, size_mib)?;
        let small = SmallScratch(self.path.clone());
        give_to_hypervisor(&self.path)?;
        Ok(small)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A scratch folder with little room. As before when dropped.
#[derive(Debug)]
pub struct SmallScratch(PathBuf);

impl Drop for SmallScratch {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

fn mount(path: &Path, size_mib: u32) -> Result<()> {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", &format!("size={size_mib}m"), "tmpfs"]);
    tool::run(mount.arg(path), "").map(drop)
}

fn unmount(path: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(path).status();
}

fn give_to_hypervisor(path: &Path) -> Result<()> {
    tool::run(Command::new("chown").arg(OWNER).arg(path), "")?;
    tool::run(Command::new("chmod").arg(MODE).arg(path), "").map(drop)
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        if self.is_mounted {
            unmount(&self.path);
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
