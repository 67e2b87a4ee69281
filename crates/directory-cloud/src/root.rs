//! The folder itself: nothing is opened but beneath it, and no link is followed.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use model::Failure;
use runtime::Entropy;
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error;

/// A record is a few hundred bytes; what is longer is none.
const RECORD_SIZE_BYTES_MAX: u64 = 1 << 20;
/// Of folders that are not whole yet, or no more.
const TEMPORARY_PREFIX: &str = ".tmp-";
const LOCK_FILE: &str = ".lock";

/// The root of the cloud.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    dir: OwnedFd,
}

/// The right to change what is visible; held for moments.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: OwnedFd,
}

/// A folder that nobody sees yet. Dropped, it goes.
#[derive(Debug)]
pub(crate) struct Temporary<'a> {
    root: &'a Root,
    /// `volumes`, for example.
    shelf: &'static str,
    name: String,
    /// Its lock tells others that somebody is at work on it.
    dir: OwnedFd,
}

/// What lies on a shelf.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) is_link: bool,
}

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let dir =
            rustix::fs::open(&path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path, dir })
    }

    /// The absolute path of what was opened beneath; for those who take paths only, as qemu does.
    pub(crate) fn absolute(&self, relative: &Path) -> PathBuf {
        self.path.join(relative)
    }

    /// Opens a file for reading.
    ///
    /// Errors: `CLOUD_UNSAFE_NAME`. `None`: there is no such file.
    pub(crate) fn open_file(&self, relative: &Path) -> Result<Option<File>, Failure> {
        let Some(fd) = self.open_beneath(relative, OFlags::RDONLY | OFlags::NONBLOCK)? else {
            return Ok(None);
        };
        let file = File::from(fd);
        let metadata = file
            .metadata()
            .map_err(|source| error::io(format_args!("read {}", relative.display()), &source))?;
        if metadata.is_file() { Ok(Some(file)) } else { Err(error::unsafe_name(&self.absolute(relative))) }
    }

    /// Reads a record; `None` when it is not there.
    pub(crate) fn read_text(&self, relative: &Path) -> Result<Option<String>, Failure> {
        let Some(file) = self.open_file(relative)? else { return Ok(None) };
        let mut text = String::new();
        let read = file.take(RECORD_SIZE_BYTES_MAX).read_to_string(&mut text);
        match read {
            Ok(_) => Ok(Some(text)),
            Err(source) if source.kind() == io::ErrorKind::InvalidData => {
                Err(error::record_invalid(&self.absolute(relative), 1, "it is not UTF-8"))
            }
            Err(source) => Err(error::io(format_args!("read {}", relative.display()), &source)),
        }
    }

    /// Lists a shelf by name, without what is temporary; a missing shelf is empty.
    pub(crate) fn list(&self, shelf: &str) -> Result<Vec<Entry>, Failure> {
        let mut entries = self.list_all(shelf)?;
        entries.retain(|entry| !entry.name.starts_with('.'));
        Ok(entries)
    }

    /// Takes the one lock of the cloud, across processes.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        let locked = || {
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = rustix::fs::openat(&self.dir, LOCK_FILE, flags, Mode::from_raw_mode(0o660))?;
            loop {
                match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                    Err(Errno::INTR) => {}
                    other => return other.map(|()| Lock { _file: file }),
                }
            }
        };
        locked().map_err(|errno| error::io("lock the cloud", &errno.into()))
    }

    /// Begins a folder on a shelf, and sweeps what killed processes left there.
    pub(crate) fn begin(&self, shelf: &'static str) -> Result<Temporary<'_>, Failure> {
        let doing = || format!("begin a folder in {shelf}");
        let _lock = self.lock()?;
        match rustix::fs::mkdirat(&self.dir, shelf, Mode::from_raw_mode(0o750)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(error::io(doing(), &errno.into())),
        }
        self.sweep(shelf)?;
        let name = format!("{TEMPORARY_PREFIX}{}", Entropy.uuid());
        let relative = Path::new(shelf).join(&name);
        let shelf_dir = self.open_shelf(shelf)?;
        rustix::fs::mkdirat(&shelf_dir, &name, Mode::from_raw_mode(0o750))
            .map_err(|errno| error::io(doing(), &errno.into()))?;
        let dir = self.open_beneath(&relative, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let dir = dir.ok_or_else(|| error::io(doing(), &io::ErrorKind::NotFound.into()))?;
        rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| error::io(doing(), &errno.into()))?;
        Ok(Temporary { root: self, shelf, name, dir })
    }

    /// Removes a folder of a shelf: at once for all who look, then for good.
    pub(crate) fn remove(&self, shelf: &'static str, name: &str, _lock: &Lock) -> Result<(), Failure> {
        let doing = || format!("remove {shelf}/{name}");
        let shelf_dir = self.open_shelf(shelf)?;
        let trash = format!("{TEMPORARY_PREFIX}{}", Entropy.uuid());
        match rustix::fs::renameat_with(&shelf_dir, name, &shelf_dir, &trash, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(error::io(doing(), &errno.into())),
        }
        rustix::fs::fsync(&shelf_dir).map_err(|errno| error::io(doing(), &errno.into()))?;
        // What a crash leaves here is swept by the next create.
        let path = self.absolute(&Path::new(shelf).join(&trash));
        std::fs::remove_dir_all(path).map_err(|source| error::io(doing(), &source))
    }

    /// Writes a small file into a folder; `false` when it was there.
    pub(crate) fn mark(&self, relative: &Path, text: &str, _lock: &Lock) -> Result<bool, Failure> {
        let doing = || format!("write {}", relative.display());
        let Some((folder, name)) = relative.parent().zip(relative.file_name()) else { return Ok(false) };
        let folder = self.open_beneath(folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let folder = folder.ok_or_else(|| error::io(doing(), &io::ErrorKind::NotFound.into()))?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(0o640)) {
            Ok(fd) => fd,
            Err(Errno::EXIST) => return Ok(false),
            Err(errno) => return Err(error::io(doing(), &errno.into())),
        };
        File::from(fd).write_all(text.as_bytes()).map_err(|source| error::io(doing(), &source))?;
        Ok(true)
    }

    /// Removes a small file; `false` when it was not there.
    pub(crate) fn unmark(&self, relative: &Path, _lock: &Lock) -> Result<bool, Failure> {
        let Some((folder, name)) = relative.parent().zip(relative.file_name()) else { return Ok(false) };
        let Some(folder) = self.open_beneath(folder, OFlags::RDONLY | OFlags::DIRECTORY)? else {
            return Ok(false);
        };
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(error::io(format_args!("remove {}", relative.display()), &errno.into())),
        }
    }

    /// Adds a line to a file of the root, whole or not at all.
    pub(crate) fn append_line(&self, name: &str, line: &str) -> Result<(), Failure> {
        let append = || -> io::Result<()> {
            let flags = OFlags::CREATE | OFlags::APPEND | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let fd = rustix::fs::openat(&self.dir, name, flags, Mode::from_raw_mode(0o640))?;
            File::from(fd).write_all(format!("{line}\n").as_bytes())
        };
        append().map_err(|source| error::io(format_args!("write {name}"), &source))
    }

    fn open_shelf(&self, shelf: &str) -> Result<OwnedFd, Failure> {
        let dir = self.open_beneath(Path::new(shelf), OFlags::RDONLY | OFlags::DIRECTORY)?;
        dir.ok_or_else(|| error::io(format_args!("open {shelf}"), &io::ErrorKind::NotFound.into()))
    }

    fn open_beneath(&self, relative: &Path, flags: OFlags) -> Result<Option<OwnedFd>, Failure> {
        let is_plain = |component| matches!(component, Component::Normal(_));
        if relative.as_os_str().is_empty() || !relative.components().all(is_plain) {
            return Err(error::unsafe_name(&self.absolute(relative)));
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&self.dir, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                Ok(fd) => return Ok(Some(fd)),
                // AGAIN: something was renamed while the kernel looked.
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::XDEV | Errno::NOTDIR) => {
                    return Err(error::unsafe_name(&self.absolute(relative)));
                }
                Err(errno) => {
                    return Err(error::io(format_args!("open {}", relative.display()), &errno.into()));
                }
            }
        }
    }

    fn list_all(&self, shelf: &str) -> Result<Vec<Entry>, Failure> {
        let Some(dir) = self.open_beneath(Path::new(shelf), OFlags::RDONLY | OFlags::DIRECTORY)? else {
            return Ok(Vec::new());
        };
        let list = || -> rustix::io::Result<Vec<Entry>> {
            let mut entries = Vec::new();
            for entry in Dir::read_from(&dir)? {
                let entry = entry?;
                let name = entry.file_name();
                let Ok(text) = name.to_str() else { continue };
                if text == "." || text == ".." {
                    continue;
                }
                let is_link = match entry.file_type() {
                    FileType::Symlink => true,
                    FileType::Unknown => {
                        let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                        FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
                    }
                    _ => false,
                };
                entries.push(Entry { name: text.to_owned(), is_link });
            }
            entries.sort();
            Ok(entries)
        };
        list().map_err(|errno| error::io(format_args!("list {shelf}"), &errno.into()))
    }

    /// Removes temporary folders that nobody is at work on. The caller holds the cloud's lock, so none is just being made.
    fn sweep(&self, shelf: &'static str) -> Result<(), Failure> {
        for entry in self.list_all(shelf)? {
            if entry.is_link || !entry.name.starts_with(TEMPORARY_PREFIX) {
                continue;
            }
            let relative = Path::new(shelf).join(&entry.name);
            let Some(dir) = self.open_beneath(&relative, OFlags::RDONLY | OFlags::DIRECTORY)? else {
                continue;
            };
            if rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
                match std::fs::remove_dir_all(self.absolute(&relative)) {
                    Ok(()) => tracing::info!(folder = %relative.display(), "swept an unfinished folder"),
                    Err(error) => {
                        tracing::warn!(folder = %relative.display(), %error, "an unfinished folder cannot be swept");
                    }
                }
            }
        }
        Ok(())
    }
}

impl Temporary<'_> {
    /// Where it is now; for `qemu-img`.
    pub(crate) fn path(&self) -> PathBuf {
        self.root.absolute(&Path::new(self.shelf).join(&self.name))
    }

    /// Makes a new file in it.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.dir, name, flags, Mode::from_raw_mode(0o640))?))
    }

    /// Writes a record into it.
    pub(crate) fn write_text(&self, name: &str, text: &str) -> Result<(), Failure> {
        let write = || {
            let mut file = self.create(name)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| error::io(format_args!("write {name}"), &source))
    }

    /// Makes it visible under its name.
    pub(crate) fn publish(self, name: &str, _lock: &Lock) -> Result<(), Failure> {
        let publish = || -> rustix::io::Result<()> {
            rustix::fs::fsync(&self.dir)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let shelf = rustix::fs::openat(&self.root.dir, self.shelf, flags, Mode::empty())?;
            rustix::fs::renameat_with(&shelf, &self.name, &shelf, name, RenameFlags::NOREPLACE)?;
            rustix::fs::fsync(&shelf)
        };
        publish()
            .map_err(|errno| error::io(format_args!("make {}/{name} visible", self.shelf), &errno.into()))
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // Gone already when it was published. What cannot be removed is swept later.
        let _ = std::fs::remove_dir_all(self.path());
    }
}
