//! The disk's file, opened by us before qemu is asked: a regular file, reached through no link, judged by our own
//! header reader.
//!
//! The descriptor becomes the child's standard input, and qemu opens `/proc/self/fd/0`. So the file that was judged is
//! the file that is used, even if somebody swaps the path in between; and no path, however odd, gets into qemu's option
//! syntax.

use std::fs::File;
use std::io::{self, Read as _};

use model::DiskFormat;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use crate::error::DiskName;
use crate::server::Access;
use crate::{Error, Qcow2Header};

/// Opens and judges a disk's file. Blocks on the file system.
///
/// Errors: `File`, `NotRegularFile`, `FormatRefused`.
pub(crate) fn open_disk_file(name: &DiskName, access: Access) -> Result<File, Error> {
    let mode = match access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::RDWR,
    };
    // NONBLOCK: a named pipe that lies where a disk should be must not hang us.
    let flags = mode | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match open(&name.path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(Errno::LOOP) => return Err(not_regular(name, "a symbolic link")),
        Err(errno) => return Err(describe_open_error(name, errno.into())),
    };
    let kind = file.metadata().map_err(|error| name.file_error(error))?.file_type();
    if kind.is_dir() {
        return Err(not_regular(name, "a directory"));
    }
    if !kind.is_file() {
        return Err(not_regular(name, "a device, socket or pipe"));
    }
    lock(name, &file, access)?;
    if name.format == DiskFormat::Qcow2 {
        check_qcow2(name, &file).map_err(|error| name.file_error(error))??;
    }
    Ok(file)
}

/// Takes a lock that lasts as long as the child: they share the file's open description.
///
/// qemu's own locks keep us apart from a running guest. They do not keep two `qemu-nbd` apart that write to the same raw
/// file: its exports share the right to write.
fn lock(name: &DiskName, file: &File, access: Access) -> Result<(), Error> {
    let operation = match access {
        Access::Read => FlockOperation::NonBlockingLockShared,
        Access::Write => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(file, operation) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => {
            let reason = "another datamover's child holds its lock".to_owned();
            Err(Error::InUse { path: name.path.clone(), reason })
        }
        Err(errno) => {
            // As qemu does on file systems without locks. Leases keep datamovers apart all the same.
            tracing::warn!(path = %name.path.display(), %errno, "the file system takes no locks");
            Ok(())
        }
    }
}

/// Judges the beginning of the file. Outer error: it could not be read.
fn check_qcow2(name: &DiskName, file: &File) -> io::Result<Result<(), Error>> {
    let mut start = Vec::new();
    file.take(Qcow2Header::LENGTH_MAX as u64).read_to_end(&mut start)?;
    Ok(match Qcow2Header::parse(&start) {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::FormatRefused { path: name.path.clone(), source }),
    })
}

/// A directory or a socket refuses to be opened for writing before it can be looked at.
fn describe_open_error(name: &DiskName, source: io::Error) -> Error {
    match std::fs::symlink_metadata(&name.path).map(|metadata| metadata.file_type()) {
        Ok(kind) if kind.is_dir() => not_regular(name, "a directory"),
        Ok(kind) if !kind.is_file() => not_regular(name, "a device, socket or pipe"),
        _ => name.file_error(source),
    }
}

fn not_regular(name: &DiskName, found: &'static str) -> Error {
    Error::NotRegularFile { path: name.path.clone(), found }
}
