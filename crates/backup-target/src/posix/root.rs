//! The root of a target: proving that it is there, and opening what lies beneath it and nothing else.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::{ByteCount, ObjectName, TargetId};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::worker::Asker;
use crate::repo::{self, RepoRecord};
use crate::{Error, Space};

/// Units: bytes. Larger objects do not exist in the format; a planted one must not fill the memory.
const READ_LENGTH_MAX: u64 = 256 << 20;
/// Paths through a folder that is being renamed or removed are tried again.
pub(super) const RACES_MAX: usize = 100;

/// What is remembered of a target between operations. No file is held open, so that it can be unmounted.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    id: TargetId,
    /// Whether another file system begins at the root. If so it must stay so: a copy of `repo.json` in the folder beneath
    /// the mount point is no target. The device's number itself may change, as a remounted NFS gets a new one.
    mounted: bool,
}

/// The root during one operation.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    path: &'a Path,
    pub(super) fd: OwnedFd,
    asker: Asker,
}

impl Root {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn id(&self) -> TargetId {
        self.id
    }

    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let visit = Visit::open(path).map_err(|error| match error {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Error::NotInitialized { path: path.to_owned() }
            }
            error => error,
        })?;
        let record = visit.repo_record()?.ok_or_else(|| Error::NotInitialized { path: path.to_owned() })?;
        Ok(Self { path: path.to_owned(), id: record.target_id, mounted: visit.is_mounted()? })
    }

    pub(super) fn init(path: &Path, id: TargetId) -> Result<TargetId, Error> {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                let (path, name) = (path.to_owned(), "the folder".to_owned());
                return Err(Error::Io { verb: "make", path, name, source: error });
            }
            _ => {}
        }
        let visit = Visit::open(path)?;
        if let Some(record) = visit.repo_record()? {
            return Ok(record.target_id);
        }
        if !visit.is_empty()? {
            return Err(Error::ForeignFolder { path: path.to_owned() });
        }
        let name: ObjectName = repo::NAME.parse().expect("it is a valid name");
        match visit.put(&name, &RepoRecord::new(id).encode()) {
            Ok(()) => Ok(id),
            // Somebody else was first.
            Err(Error::ObjectExists { .. }) => Ok(Self::open(path)?.id),
            Err(error) => Err(error),
        }
    }

    /// Opens the root and proves that it is still this target.
    ///
    /// Errors: `Gone`.
    pub(super) fn visit(&self, asker: Asker) -> Result<Visit<'_>, Error> {
        let gone = |reason: String| Error::Gone { path: self.path.clone(), reason };
        let visit = Visit::open(&self.path).map_err(|error| match error {
            Error::Io { source, .. } => gone(source.to_string()),
            error => error,
        })?;
        match visit.repo_record()? {
            None => Err(gone("its repo.json is not there".to_owned())),
            Some(record) if record.target_id != self.id => {
                Err(gone(format!("its repo.json names {} and not {}", record.target_id, self.id)))
            }
            Some(_) if self.mounted && !visit.is_mounted()? => {
                Err(gone("no file system is mounted there any more".to_owned()))
            }
            Some(_) => Ok(Visit { asker, ..visit }),
        }
    }
}

impl<'a> Visit<'a> {
    fn open(path: &'a Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry(|| rustix::fs::open(path, flags, Mode::empty()))
            .map_err(|errno| make_error(path, "open", "the folder", errno))?;
        Ok(Self { path, fd, asker: Asker::patient() })
    }

    /// Asked right before each change.
    ///
    /// Errors: whoever asked for it was told long ago that it failed.
    pub(super) fn check_asker(&self) -> Result<(), Errno> {
        if self.asker.waits() { Ok(()) } else { Err(Errno::CANCELED) }
    }

    fn is_mounted(&self) -> Result<bool, Error> {
        let failed = |errno| self.error("look at", "the folder", errno);
        let here = rustix::fs::fstat(&self.fd).map_err(failed)?;
        let above = rustix::fs::statat(&self.fd, "..", AtFlags::empty()).map_err(failed)?;
        Ok(here.st_dev != above.st_dev)
    }

    fn repo_record(&self) -> Result<Option<RepoRecord>, Error> {
        let Some(file) = self.open_object(repo::NAME)? else { return Ok(None) };
        let mut bytes = vec![0; repo::LENGTH_MAX];
        let length = file.read_at(&mut bytes, 0).map_err(|source| self.io("read", repo::NAME, source))?;
        let invalid = |reason| Error::RepoInvalid { path: self.path.to_owned(), reason };
        RepoRecord::decode(&bytes[..length]).map(Some).map_err(invalid)
    }

    /// Opens `name` beneath the root: no link on the way, no way out.
    pub(super) fn open_beneath(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_beneath(&self.fd, name, flags)
    }

    /// Opens an object for reading; `None` when there is none.
    pub(super) fn open_object(&self, name: &str) -> Result<Option<File>, Error> {
        // NONBLOCK: a planted FIFO must not hold this thread.
        match self.open_beneath(name, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => {
                self.check_regular(&fd, name)?;
                Ok(Some(fd.into()))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.error("open", name, errno)),
        }
    }

    fn check_regular(&self, fd: &OwnedFd, name: &str) -> Result<ByteCount, Error> {
        let stat = rustix::fs::fstat(fd).map_err(|errno| self.error("look at", name, errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(ByteCount(u64::try_from(stat.st_size).unwrap_or(0))),
            FileType::Directory => Err(self.unsafe_name(name, "a folder lies where an object should be")),
            _ => Err(self.unsafe_name(name, "it is no regular file")),
        }
    }

    pub(super) fn get(&self, name: &ObjectName) -> Result<Bytes, Error> {
        let size = self.size(name)?.ok_or_else(|| Error::ObjectMissing { name: name.clone() })?;
        self.get_range(name, 0, size.0)
    }

    pub(super) fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Bytes, Error> {
        if length > READ_LENGTH_MAX {
            return Err(Error::ObjectTooLarge { name: name.clone(), size: ByteCount(length) });
        }
        let file =
            self.open_object(name.as_str())?.ok_or_else(|| Error::ObjectMissing { name: name.clone() })?;
        let size = file.metadata().map_err(|source| self.io("look at", name.as_str(), source))?.len();
        let end = offset.saturating_add(length);
        let too_short = || Error::ObjectTooShort { name: name.clone(), end };
        if size < end {
            return Err(too_short());
        }
        let mut bytes = vec![0; usize::try_from(length).expect("bounded above")];
        file.read_exact_at(&mut bytes, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => too_short(),
            _ => self.io("read", name.as_str(), source),
        })?;
        Ok(bytes.into())
    }

    pub(super) fn size(&self, name: &ObjectName) -> Result<Option<ByteCount>, Error> {
        match self.open_beneath(name.as_str(), OFlags::PATH) {
            Ok(fd) => self.check_regular(&fd, name.as_str()).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.error("look at", name.as_str(), errno)),
        }
    }

    pub(super) fn space(&self) -> Result<Space, Error> {
        let stat =
            rustix::fs::fstatvfs(&self.fd).map_err(|errno| self.error("look at", "the folder", errno))?;
        let bytes = |blocks: u64| ByteCount(blocks.saturating_mul(stat.f_frsize));
        Ok(Space { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }

    pub(super) fn unsafe_name(&self, name: &str, reason: &'static str) -> Error {
        Error::UnsafeName { path: self.path.to_owned(), name: name.to_owned(), reason }
    }

    pub(super) fn error(&self, verb: &'static str, name: &str, errno: Errno) -> Error {
        match (errno, name.parse()) {
            (Errno::NOSPC | Errno::DQUOT, Ok(name)) => {
                let free = self.space().map_or(ByteCount(0), |space| space.free);
                Error::Full { path: self.path.to_owned(), name, free }
            }
            _ => make_error(self.path, verb, name, errno),
        }
    }

    pub(super) fn io(&self, verb: &'static str, name: &str, source: io::Error) -> Error {
        match Errno::from_io_error(&source) {
            Some(errno) => self.error(verb, name, errno),
            None => Error::Io { verb, path: self.path.to_owned(), name: name.to_owned(), source },
        }
    }
}

/// Opens `name` beneath `fd`, without creating: no link on the way, no way out.
pub(super) fn open_beneath(fd: &OwnedFd, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    retry(|| rustix::fs::openat2(fd, name, flags, Mode::empty(), resolve))
}

/// Calls again after a signal, and while the kernel cannot say whether a moving path stays beneath (`AGAIN`).
pub(super) fn retry<R>(mut call: impl FnMut() -> Result<R, Errno>) -> Result<R, Errno> {
    for _ in 0..RACES_MAX {
        match call() {
            Err(Errno::INTR | Errno::AGAIN) => {}
            outcome => return outcome,
        }
    }
    call()
}

fn make_error(path: &Path, verb: &'static str, name: &str, errno: Errno) -> Error {
    let unsafe_name = |reason| Error::UnsafeName { path: path.to_owned(), name: name.to_owned(), reason };
    match errno {
        Errno::ROFS => Error::ReadOnly { path: path.to_owned() },
        Errno::ACCESS | Errno::PERM => Error::AccessDenied { path: path.to_owned(), name: name.to_owned() },
        Errno::LOOP => unsafe_name("a symbolic link lies on its way"),
        Errno::XDEV => unsafe_name("its way leads out of the target"),
        Errno::NOTDIR => unsafe_name("a file lies where a folder should be"),
        Errno::ISDIR => unsafe_name("a folder lies where an object should be"),
        Errno::STALE | Errno::NOTCONN | Errno::CONNABORTED => {
            Error::Gone { path: path.to_owned(), reason: io::Error::from(errno).to_string() }
        }
        errno => Error::Io { verb, path: path.to_owned(), name: name.to_owned(), source: errno.into() },
    }
}
