//! Listing, and tidying what a listing does not show.

use model::{ByteCount, ObjectName};
use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::io::Errno;

use super::root::{Visit, retry};
use super::write::TEMP_PREFIX;
use crate::{Error, ObjectMeta};

const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// One entry of a folder.
struct Entry {
    name: String,
    kind: FileType,
    size: ByteCount,
}

impl Visit<'_> {
    pub(super) fn list(&self, folder: Option<&ObjectName>) -> Result<Vec<ObjectMeta>, Error> {
        let mut found = Vec::new();
        let mut folders = vec![folder.map_or(String::new(), ToString::to_string)];
        while let Some(folder) = folders.pop() {
            for entry in self.entries(&folder)? {
                let path = join(&folder, &entry.name);
                // What cannot be an object's name was never put: temporary files, `lost+found`, `.snapshot`.
                let Ok(name) = path.parse::<ObjectName>() else { continue };
                match entry.kind {
                    FileType::Directory => folders.push(path),
                    FileType::RegularFile => found.push(ObjectMeta { name, size: entry.size }),
                    FileType::Symlink => return Err(self.unsafe_name(&path, "it is a symbolic link")),
                    _ => return Err(self.unsafe_name(&path, "it is no regular file")),
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    pub(super) fn remove_temps(&self, folder: &ObjectName) -> Result<(), Error> {
        let mut folders = vec![folder.to_string()];
        while let Some(folder) = folders.pop() {
            for entry in self.entries(&folder)? {
                let path = join(&folder, &entry.name);
                if entry.kind == FileType::Directory && path.parse::<ObjectName>().is_ok() {
                    folders.push(path);
                } else if entry.kind == FileType::RegularFile && entry.name.starts_with(TEMP_PREFIX) {
                    self.unlink(&folder, &entry.name, AtFlags::empty())?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn remove_empty_dirs(&self, folder: &ObjectName) -> Result<(), Error> {
        let mut folders = vec![folder.to_string()];
        let mut next = 0;
        while let Some(folder) = folders.get(next).cloned() {
            let inner = self.entries(&folder)?.into_iter().filter(|entry| entry.kind == FileType::Directory);
            folders.extend(
                inner
                    .map(|entry| join(&folder, &entry.name))
                    .filter(|path| path.parse::<ObjectName>().is_ok()),
            );
            next += 1;
        }
        // Inner folders come after outer ones, so backwards each is as empty as it can be.
        for path in folders.iter().rev() {
            self.remove_dir(path)?;
        }
        let mut path = folder.as_str();
        while let Some((outer, _)) = path.rsplit_once('/') {
            self.remove_dir(outer)?;
            path = outer;
        }
        Ok(())
    }

    fn remove_dir(&self, path: &str) -> Result<(), Error> {
        let (outer, last) = path.rsplit_once('/').unwrap_or(("", path));
        self.unlink(outer, last, AtFlags::REMOVEDIR)
    }

    fn unlink(&self, folder: &str, name: &str, flags: AtFlags) -> Result<(), Error> {
        let open = || self.open_beneath(if folder.is_empty() { "." } else { folder }, FOLDER_FLAGS);
        let removed = open().and_then(|folder| {
            self.check_asker()?;
            retry(|| rustix::fs::unlinkat(&folder, name, flags))
        });
        match removed {
            // Gone already, or in use after all.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(errno) => Err(self.error("remove", &join(folder, name), errno)),
        }
    }

    pub(super) fn is_empty(&self) -> Result<bool, Error> {
        let own = |name: &str| name == "lost+found" || name.starts_with('.');
        Ok(self.entries("")?.iter().all(|entry| own(&entry.name)))
    }

    /// What lies in a folder; nothing when it is not there. An entry whose name is no text was put by nobody of ours.
    fn entries(&self, folder: &str) -> Result<Vec<Entry>, Error> {
        let failed = |errno| self.error("list", if folder.is_empty() { "the folder" } else { folder }, errno);
        let fd = match self.open_beneath(if folder.is_empty() { "." } else { folder }, FOLDER_FLAGS) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            outcome => outcome.map_err(failed)?,
        };
        let mut entries = Vec::new();
        for entry in Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => entries.push(Entry {
                    name: name.to_owned(),
                    kind: FileType::from_raw_mode(stat.st_mode),
                    size: ByteCount(u64::try_from(stat.st_size).unwrap_or(0)),
                }),
                // Removed meanwhile.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(entries)
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
