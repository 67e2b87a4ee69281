//! A disk's files, opened by us before qemu is asked: regular files, reached through no link, judged by our own header
//! reader; or one block device, which has no header.
//!
//! The descriptor of the image becomes the child's standard input, that of its backing file the child's descriptor 4, and
//! qemu opens `/proc/self/fd/0` and `/proc/self/fd/4`. So the files that were judged are the files that are used, even if
//! somebody swaps a path in between; and no path, however odd, gets into qemu's option syntax.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use model::{DiskFormat, ImageFile};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, ResolveFlags, flock, open, openat, openat2};
use rustix::io::Errno;

use crate::qcow2_header::BackingFile;
use crate::server::Access;
use crate::{Error, HeaderRefusal, Qcow2Header};

/// NONBLOCK: a named pipe that lies where a disk should be must not hang us.
pub(crate) const FLAGS: OFlags =
    OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// An image with its backing file, if it has one.
#[derive(Debug)]
pub(crate) struct OpenImage {
    pub(crate) file: File,
    pub(crate) backing: Option<(File, DiskFormat)>,
}

/// Opens and judges a disk's files. Blocks on the file system.
///
/// Errors: `File`, `NotRegularFile`, `FormatRefused`, `InUse`.
pub(crate) fn open_image(image: &ImageFile, access: Access) -> Result<OpenImage, Error> {
    let mode = match access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::RDWR,
    };
    let file = match open(&image.path, mode | FLAGS, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(Errno::LOOP) => return Err(not_regular(&image.path, "a symbolic link")),
        Err(errno) => return Err(describe_open_error(&image.path, errno.into())),
    };
    check_regular(&image.path, &file)?;
    lock(&image.path, &file, access)?;
    if image.format != DiskFormat::Qcow2 {
        return Ok(OpenImage { file, backing: None });
    }
    let refused = |source| Error::FormatRefused { disk: name(&image.path), source };
    let header = read_header(&image.path, &file)?;
    let backing = match (header.backing_file, &image.backing_dir) {
        (None, _) => None,
        (Some(_), None) => return Err(refused(HeaderRefusal::BackingFile)),
        (Some(backing), Some(dir)) => Some(open_backing(&image.path, &backing, dir)?),
    };
    Ok(OpenImage { file, backing })
}

/// Opens a block device. Its path may be a link: storage has names of its own for its devices.
///
/// Errors: `File`, `NotBlockDevice`, `InUse`.
pub(crate) fn open_device(path: &Path, access: Access) -> Result<File, Error> {
    let mode = match access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::RDWR,
    };
    let flags = mode | FLAGS.difference(OFlags::NOFOLLOW);
    let opened = open(path, flags, Mode::empty());
    let file = File::from(opened.map_err(|errno| file_error(path, errno.into()))?);
    let kind = file.metadata().map_err(|error| file_error(path, error))?.file_type();
    if !kind.is_block_device() {
        return Err(Error::NotBlockDevice { disk: name(path) });
    }
    lock(path, &file, access)?;
    Ok(file)
}

/// Opens a backing file below `dir`, through no link. It must stand alone.
fn open_backing(image: &Path, backing: &BackingFile, dir: &Path) -> Result<(File, DiskFormat), Error> {
    let outside = || Error::FormatRefused {
        disk: name(image),
        source: HeaderRefusal::BackingFileOutside { path: backing.path.clone() },
    };
    let path = Path::new(&backing.path);
    let below = path.strip_prefix(dir).map_err(|_| outside())?;
    let opened = openat(CWD, dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let dir = opened.map_err(|errno| file_error(dir, errno.into()))?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(dir, below, OFlags::RDONLY | FLAGS, Mode::empty(), resolve) {
        Ok(descriptor) => File::from(descriptor),
        Err(Errno::LOOP | Errno::XDEV) => return Err(outside()),
        Err(errno) => return Err(file_error(path, errno.into())),
    };
    check_regular(path, &file)?;
    if backing.format == DiskFormat::Qcow2 && read_header(path, &file)?.backing_file.is_some() {
        return Err(Error::FormatRefused { disk: name(path), source: HeaderRefusal::BackingFile });
    }
    Ok((file, backing.format))
}

fn check_regular(path: &Path, file: &File) -> Result<(), Error> {
    let kind = file.metadata().map_err(|error| file_error(path, error))?.file_type();
    if kind.is_dir() {
        return Err(not_regular(path, "a directory"));
    }
    if !kind.is_file() {
        return Err(not_regular(path, "a device, socket or pipe"));
    }
    Ok(())
}

/// Takes a lock that lasts as long as the child: they share the file's open description.
///
/// qemu's own locks keep us apart from a running guest. They do not keep two `qemu-nbd` apart that write to the same raw
/// file: its exports share the right to write.
fn lock(path: &Path, file: &File, access: Access) -> Result<(), Error> {
    let operation = match access {
        Access::Read => FlockOperation::NonBlockingLockShared,
        Access::Write => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(file, operation) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => {
            let reason = "another datamover's child holds its lock".to_owned();
            Err(Error::InUse { disk: name(path), reason })
        }
        Err(errno) => {
            // As qemu does on file systems without locks. Leases keep datamovers apart all the same.
            tracing::warn!(path = %path.display(), %errno, "the file system takes no locks");
            Ok(())
        }
    }
}

/// Judges the beginning of a file.
fn read_header(path: &Path, file: &File) -> Result<Qcow2Header, Error> {
    let mut start = Vec::new();
    let length = Qcow2Header::LENGTH_MAX as u64;
    file.take(length).read_to_end(&mut start).map_err(|error| file_error(path, error))?;
    Qcow2Header::parse(&start).map_err(|source| Error::FormatRefused { disk: name(path), source })
}

/// A directory or a socket refuses to be opened for writing before it can be looked at.
fn describe_open_error(path: &Path, source: io::Error) -> Error {
    match std::fs::symlink_metadata(path).map(|metadata| metadata.file_type()) {
        Ok(kind) if kind.is_dir() => not_regular(path, "a directory"),
        Ok(kind) if !kind.is_file() => not_regular(path, "a device, socket or pipe"),
        _ => file_error(path, source),
    }
}

fn not_regular(path: &Path, found: &'static str) -> Error {
    Error::NotRegularFile { disk: name(path), found }
}

fn file_error(path: &Path, source: io::Error) -> Error {
    Error::File { disk: name(path), source }
}

/// As errors name it.
fn name(path: &Path) -> String {
    path.display().to_string()
}
