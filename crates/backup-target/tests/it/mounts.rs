//! Small real file systems. They need the right to mount; without it a test says so and checks nothing.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// A mounted file system; unmounted at the end.
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
}

impl Mounted {
    /// Mounts a tmpfs of `size` bytes at `path`; `None` without the right to.
    pub(crate) fn tmpfs(path: &Path, size: u64) -> Option<Self> {
        let options = std::ffi::CString::new(format!("size={size}")).unwrap();
        Self::attempt(path, "tmpfs", &options)
    }

    /// Mounts a FUSE file system whose server never answers. Dropping the file ends the wait of those who asked.
    pub(crate) fn hanging(path: &Path) -> Option<(Self, File)> {
        let server = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        let mounted = Self::attempt(path, "fuse", &std::ffi::CString::new(options).unwrap())?;
        Some((mounted, server))
    }

    fn attempt(path: &Path, kind: &str, options: &std::ffi::CStr) -> Option<Self> {
        match mount(kind, path, kind, MountFlags::NODEV | MountFlags::NOSUID, options) {
            Ok(()) => Some(Self { path: path.to_owned() }),
            Err(error) => {
                eprintln!("NOT CHECKED: this test needs the right to mount a {kind}: {error}");
                None
            }
        }
    }

    pub(crate) fn make_read_only(&self) {
        mount_remount(&self.path, MountFlags::RDONLY, c"").unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.path, UnmountFlags::DETACH);
    }
}
