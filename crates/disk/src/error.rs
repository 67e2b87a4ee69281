//! Why a disk could not be opened, read or written, and what an operator is told about it.

use std::io;
use std::path::{Path, PathBuf};

use model::{ByteCount, DiskFormat, ErrorClass, Failure};

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
    #[error("failed to open disk {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("disk {} is {found}, not a regular file", path.display())]
    NotRegularFile { path: PathBuf, found: &'static str },
    #[error("disk {} is refused as qcow2", path.display())]
    FormatRefused {
        path: PathBuf,
        #[source]
        source: HeaderRefusal,
    },
    #[error("disk {} is in use by another process: {reason}", path.display())]
    InUse { path: PathBuf, reason: String },
    #[error("qemu-nbd failed to open {format} disk {}: {stderr}", path.display())]
    OpenFailed {
        path: PathBuf,
        format: &'static str,
        stderr: String,
        #[source]
        source: Box<nbd::Error>,
    },
    #[error("disk {} has {actual} bytes where the cloud says {expected}", path.display())]
    ChangedSize { path: PathBuf, expected: u64, actual: u64 },
    #[error("failed to {doing} disk {}", path.display())]
    Io {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: Box<nbd::Error>,
    },
    #[error("qemu-nbd of disk {} ended: {status}: {stderr}", path.display())]
    ServerDied { path: PathBuf, status: String, stderr: String },
    #[error("qemu-nbd of disk {} did not end in time after it was asked to", path.display())]
    ServerStuck { path: PathBuf },
}

impl Error {
    /// The failure that an operator sees.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let (class, code) = self.classify();
        let message = match self.advice() {
            Some(advice) => format!("{}; {advice}", chain(self)),
            None => chain(self),
        };
        Failure::new(class, code, message)
    }

    fn classify(&self) -> (ErrorClass, &'static str) {
        use ErrorClass::{Bug, Contention, Permanent, Transient};
        match self {
            Self::QemuNbdMissing { .. } => (Permanent, "QEMU_NBD_MISSING"),
            Self::Start { .. } => (Transient, "QEMU_NBD_START_FAILED"),
            Self::RuntimeDir { .. } => (Permanent, "DISK_RUNTIME_DIR"),
            Self::File { .. } | Self::OpenFailed { .. } => (Permanent, "DISK_OPEN_FAILED"),
            Self::NotRegularFile { .. } => (Permanent, "DISK_NOT_A_FILE"),
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
            Self::RuntimeDir { .. } => "make state_dir writable for the datamover",
            Self::NotRegularFile { .. } => "nothing was read; find out who put it there",
            Self::FormatRefused { .. } => "nothing was read; the image must stand alone, see qemu-img info",
            Self::InUse { .. } => "stop what uses it, or wait",
            Self::ChangedSize { .. } => "compare it with qemu-img info, and refresh the cloud's record",
            _ => return None,
        })
    }
}

/// The error and its causes, joined by colons.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The disk that errors name.
#[derive(Debug, Clone)]
pub(crate) struct DiskName {
    pub(crate) path: PathBuf,
    pub(crate) format: DiskFormat,
}

impl DiskName {
    pub(crate) fn new(path: &Path, format: DiskFormat) -> Self {
        Self { path: path.to_owned(), format }
    }

    pub(crate) fn file_error(&self, source: io::Error) -> Error {
        Error::File { path: self.path.clone(), source }
    }

    pub(crate) fn check_size(&self, expected: ByteCount, actual: u64) -> Result<(), Error> {
        if expected.0 == actual {
            return Ok(());
        }
        Err(Error::ChangedSize { path: self.path.clone(), expected: expected.0, actual })
    }
}
