//! Where a disk lies, told by its own host: never taken from a message, never probed.

use std::fmt;
use std::path::PathBuf;

use crate::DiskFormat;

/// Where a disk lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskLocation {
    /// An image file.
    File(ImageFile),
    /// An image in a Ceph cluster, or a snapshot of one.
    Rbd(RbdImage),
    /// A block device of this host.
    Device(PathBuf),
    /// An NBD export that somebody on this host serves: the hypervisor, of a running instance.
    Export(NbdExport),
}

/// An image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    pub path: PathBuf,
    pub format: DiskFormat,
    /// The directory in which a qcow2 image may have its backing file; absent: it must stand alone.
    pub backing_dir: Option<PathBuf>,
    /// Somebody else may begin to write to it while it is read: it is read without a lock, and whether it was written to is
    /// found out by whoever reads. Never true of a disk that is written.
    pub is_shared: bool,
}

/// A raw image in a Ceph cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RbdImage {
    /// The cluster's `ceph.conf`; the user's keyring lies where it says.
    pub conf: PathBuf,
    /// Without `client.`.
    pub user: String,
    pub pool: String,
    pub image: String,
    /// Absent: the image as it is.
    pub snapshot: Option<String>,
}

/// An export on a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NbdExport {
    pub socket: PathBuf,
    pub name: String,
}

impl DiskLocation {
    /// A file that stands alone.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self::File(ImageFile { path: path.into(), format, backing_dir: None, is_shared: false })
    }

    /// The format that qemu is told; absent when somebody else has opened the disk already.
    #[must_use]
    pub const fn format(&self) -> Option<DiskFormat> {
        match self {
            Self::File(file) => Some(file.format),
            Self::Rbd(_) | Self::Device(_) => Some(DiskFormat::Raw),
            Self::Export(_) => None,
        }
    }
}

impl fmt::Display for DiskLocation {
    /// As operators know it: a path, `rbd:pool/image@snapshot`, or a socket with the export's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{}", file.path.display()),
            Self::Device(path) => write!(f, "{}", path.display()),
            Self::Rbd(RbdImage { pool, image, snapshot, .. }) => match snapshot {
                Some(snapshot) => write!(f, "rbd:{pool}/{image}@{snapshot}"),
                None => write!(f, "rbd:{pool}/{image}"),
            },
            Self::Export(export) => write!(f, "nbd:{}:{}", export.socket.display(), export.name),
        }
    }
}
