//! Why a disk could not be opened, read or written, and what an operator is told about it.

use std::io;
use std::path::PathBuf;

use model::{ErrorClass, Failure};

use crate::HeaderRefusal;

/// Why a disk could not be opened, read or written. Each variant names the disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("{} was not found or is not executable", binary.display())]
    QemuNbdMissing { binary: PathBuf },
    #[error("failed to start {}", binary.display())]
    Start {
        binary: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to make a socket below {}", path.display())]
    RuntimeDir {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to open disk {disk}")]
    File {
        disk: String,
        #[source]
        source: io::Error,
    },
    #[error("disk {disk} is {found}, not a regular file")]
    NotRegularFile { disk: String, found: &'static str },
    #[error("disk {disk} is no block device")]
    NotBlockDevice { disk: String },
    #[error("disk {disk} is refused as qcow2")]
    FormatRefused {
        disk: String,
        #[source]
        source: HeaderRefusal,
    },
    #[error("disk {disk} is in use by another process: {reason}")]
    InUse { disk: String, reason: String },
    #[error("qemu-nbd of this host has no driver for disk {disk}: {stderr}")]
    DriverMissing { disk: String, stderr: String },
    #[error("disk {disk} has no dirty bitmap {bitmap}")]
    BitmapMissing { disk: String, bitmap: String },
    #[error("failed to connect to disk {disk}")]
    Connect {
        disk: String,
        #[source]
        source: io::Error,
    },
    #[error("disk {disk} is not served any more")]
    ExportGone {
        disk: String,
        #[source]
        source: Box<nbd::Error>,
    },
    #[error("qemu-nbd failed to open {format} disk {disk}: {stderr}")]
    OpenFailed {
        disk: String,
        format: &'static str,
        stderr: String,
        #[source]
        source: Box<nbd::Error>,
    },
    #[error("disk {disk} has {actual} bytes where the cloud says {expected}")]
    ChangedSize { disk: String, expected: u64, actual: u64 },
    #[error("failed to {doing} disk {disk}")]
    Io {
        disk: String,
        doing: &'static str,
        #[source]
        source: Box<nbd::Error>,
    },
    #[error("qemu-nbd of disk {disk} ended: {status}: {stderr}")]
    ServerDied { disk: String, status: String, stderr: String },
    #[error("qemu-nbd of disk {disk} did not end in time after it was asked to")]
    ServerStuck { disk: String },
}

impl Error {
    /// The failure that an operator sees.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let (class, code) = self.classify();
        Failure::of(class, code, self, self.advice())
    }

    fn classify(&self) -> (ErrorClass, &'static str) {
        use ErrorClass::{Bug, Contention, Permanent, Transient};
        match self {
            Self::QemuNbdMissing { .. } => (Permanent, "QEMU_NBD_MISSING"),
            Self::Start { .. } => (Transient, "QEMU_NBD_START_FAILED"),
            Self::RuntimeDir { .. } => (Permanent, "DISK_RUNTIME_DIR"),
            Self::File { .. } | Self::OpenFailed { .. } => (Permanent, "DISK_OPEN_FAILED"),
            Self::DriverMissing { .. } => (Permanent, "QEMU_NBD_DRIVER_MISSING"),
            Self::BitmapMissing { .. } => (Permanent, "DISK_BITMAP_MISSING"),
            Self::Connect { .. } | Self::ExportGone { .. } => (Permanent, "POINT_IN_TIME_LOST"),
            Self::NotRegularFile { .. } => (Permanent, "DISK_NOT_A_FILE"),
            Self::NotBlockDevice { .. } => (Permanent, "DISK_NOT_A_DEVICE"),
            Self::FormatRefused { .. } => (Permanent, "DISK_FORMAT_REFUSED"),
            Self::InUse { .. } => (Contention, "DISK_IN_USE"),
            Self::ChangedSize { .. } => (Permanent, "DISK_CHANGED_SIZE"),
            Self::ServerDied { .. } | Self::ServerStuck { .. } => (Transient, "QEMU_NBD_DIED"),
            Self::Io { source, .. } => match source.as_ref() {
                nbd::Error::Lost { .. } | nbd::Error::Overdue { .. } => (Transient, "QEMU_NBD_DIED"),
                nbd::Error::Server { errno: nbd::ServerErrno::NoSpace, .. } => (Permanent, "DISK_NO_SPACE"),
                nbd::Error::Malformed { .. } => (Permanent, "DISK_IO"),
                nbd::Error::OutOfRange { .. }
                | nbd::Error::Unaligned { .. }
                | nbd::Error::TooLong { .. }
                | nbd::Error::NotSupported { .. } => (Bug, "DISK_IO"),
                _ => (Transient, "DISK_IO"),
            },
        }
    }

    /// What to do, where it is not plain from what happened.
    const fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::QemuNbdMissing { .. } => {
                "install the Debian package qemu-utils, or set qemu_nbd to where the program is"
            }
            Self::DriverMissing { .. } => {
                "install the Debian package qemu-block-extra in the version of qemu-utils"
            }
            Self::BitmapMissing { .. } => "read the whole disk",
            Self::Connect { .. } | Self::ExportGone { .. } => {
                "its point in time is lost: stopping, rebuilding, migrating or imaging the instance ends it"
            }
            Self::RuntimeDir { .. } => "make state_dir writable for the datamover",
            Self::NotRegularFile { .. } => "nothing was read; find out who put it there",
            Self::NotBlockDevice { .. } => "nothing was read; storage of this kind is not supported",
            Self::FormatRefused { .. } => "nothing was read; the image must stand alone, see qemu-img info",
            Self::InUse { .. } => "stop what uses it, or wait",
            Self::ChangedSize { .. } => "compare it with qemu-img info, and refresh the cloud's record",
            _ => return None,
        })
    }
}
