//! Writing so that a crash at any point leaves the old state or the new one: a temporary file in the same folder, synced,
//! renamed, and the folder synced.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use model::ObjectName;
use runtime::Entropy;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::root::{RACES_MAX, Visit, open_beneath, retry};
use crate::Error;

/// No object's name begins with a dot, so these are never objects.
pub(super) const TEMP_PREFIX: &str = ".tmp-";
const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// Group and owner; the service's umask decides what remains.
const FILE_MODE: Mode = Mode::from_bits_retain(0o660);
const FOLDER_MODE: Mode = Mode::from_bits_retain(0o770);
const COMPARE_STEP: usize = 1 << 20;

/// A temporary file; removed unless it was renamed.
struct Temp<'a> {
    folder: &'a OwnedFd,
    name: String,
    renamed: bool,
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            // On a dead target this fails too; what remains is invisible, and `remove_temps` takes it.
            let _ = rustix::fs::unlinkat(self.folder, &self.name, AtFlags::empty());
        }
    }
}

impl Visit<'_> {
    pub(super) fn put(&self, name: &ObjectName, content: &[u8]) -> Result<(), Error> {
        if self.holds(name, content)? {
            // Whoever renamed it may have been killed before the folder was synced.
            return self.sync_outer_folder(name);
        }
        let folder = self.folder_with_temp(name, content, |folder, temp, last| {
            self.check_asker()?;
            match rename_new(folder, &temp.name, last) {
                Ok(renamed) => {
                    temp.renamed = renamed;
                    Ok(true)
                }
                Err(Errno::EXIST) => Ok(false),
                Err(errno) => Err(errno),
            }
        })?;
        match folder {
            Some(folder) => self.sync_folder(&folder, name),
            // Somebody else was first: fine when it was the same.
            None if self.holds(name, content)? => self.sync_outer_folder(name),
            None => Err(self.error("write", name.as_str(), Errno::EXIST)),
        }
    }

    pub(super) fn replace(&self, name: &ObjectName, content: &[u8]) -> Result<(), Error> {
        let folder = self.folder_with_temp(name, content, |folder, temp, last| {
            self.check_asker()?;
            retry(|| rustix::fs::renameat(folder, &temp.name, folder, last))?;
            temp.renamed = true;
            Ok(true)
        })?;
        folder.map_or(Ok(()), |folder| self.sync_folder(&folder, name))
    }

    pub(super) fn delete(&self, name: &ObjectName) -> Result<(), Error> {
        let (folder, last) = name.split_last();
        let folder = match self.open_beneath(folder.unwrap_or("."), FOLDER_FLAGS) {
            Err(Errno::NOENT) => return Ok(()),
            outcome => outcome.map_err(|errno| self.error("remove", name.as_str(), errno))?,
        };
        let unlink = || retry(|| rustix::fs::unlinkat(&folder, last, AtFlags::empty()));
        match self.check_asker().and_then(|()| unlink()) {
            Ok(()) => self.sync_folder(&folder, name),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.error("remove", name.as_str(), errno)),
        }
    }

    /// Writes `content` to a temporary file and hands it to `place`, which says whether it took the name.
    fn folder_with_temp(
        &self,
        name: &ObjectName,
        content: &[u8],
        place: impl FnOnce(&OwnedFd, &mut Temp<'_>, &str) -> Result<bool, Errno>,
    ) -> Result<Option<OwnedFd>, Error> {
        let failed = |errno| self.error("write", name.as_str(), errno);
        let (folder_name, last) = name.split_last();
        let (folder, temp_name, mut file) = self.create_temp(folder_name).map_err(failed)?;
        let mut temp = Temp { folder: &folder, name: temp_name, renamed: false };
        let written = file.write_all(content).and_then(|()| file.sync_all());
        drop(file);
        written.map_err(|source| self.io("write", name.as_str(), source))?;
        let placed = place(&folder, &mut temp, last).map_err(failed)?;
        drop(temp);
        Ok(placed.then_some(folder))
    }

    fn create_temp(&self, folder_name: Option<&str>) -> Result<(OwnedFd, String, File), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..RACES_MAX {
            let folder = self.make_folder(folder_name)?;
            let name = format!("{TEMP_PREFIX}{}", Entropy.uuid());
            match retry(|| rustix::fs::openat(&folder, &name, flags, FILE_MODE)) {
                Ok(fd) => return Ok((folder, name, fd.into())),
                // The folder was found empty and removed between the two calls.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::NOENT)
    }

    /// Opens a folder, making what is missing of it.
    fn make_folder(&self, folder_name: Option<&str>) -> Result<OwnedFd, Errno> {
        let folder_name = folder_name.unwrap_or(".");
        for _ in 0..RACES_MAX {
            match self.open_beneath(folder_name, FOLDER_FLAGS) {
                Err(Errno::NOENT) => {}
                outcome => return outcome,
            }
            match self.make_missing(folder_name) {
                // An outer folder was found empty and removed meanwhile.
                Err(Errno::NOENT) => {}
                outcome => outcome?,
            }
        }
        Err(Errno::NOENT)
    }

    fn make_missing(&self, folder_name: &str) -> Result<(), Errno> {
        let mut folder = self.open_beneath(".", FOLDER_FLAGS)?;
        for segment in folder_name.split('/') {
            folder = match open_beneath(&folder, segment, FOLDER_FLAGS) {
                Err(Errno::NOENT) => {
                    match rustix::fs::mkdirat(&folder, segment, FOLDER_MODE) {
                        Ok(()) => rustix::fs::fsync(&folder)?,
                        Err(Errno::EXIST) => {}
                        Err(errno) => return Err(errno),
                    }
                    open_beneath(&folder, segment, FOLDER_FLAGS)?
                }
                outcome => outcome?,
            };
        }
        Ok(())
    }

    /// Whether `name` holds exactly `content`.
    ///
    /// Errors: `ObjectExists` when it holds something else.
    fn holds(&self, name: &ObjectName, content: &[u8]) -> Result<bool, Error> {
        let Some(mut file) = self.open_object(name.as_str())? else { return Ok(false) };
        let read_failed = |source| self.io("read", name.as_str(), source);
        let size = file.metadata().map_err(read_failed)?.len();
        let mut same = size == content.len() as u64;
        let mut buffer = vec![0; COMPARE_STEP.min(content.len())];
        for step in content.chunks(COMPARE_STEP) {
            if !same {
                break;
            }
            file.read_exact(&mut buffer[..step.len()]).map_err(read_failed)?;
            same = buffer[..step.len()] == *step;
        }
        if same { Ok(true) } else { Err(Error::ObjectExists { name: name.clone() }) }
    }

    fn sync_outer_folder(&self, name: &ObjectName) -> Result<(), Error> {
        let folder = self.open_beneath(name.split_last().0.unwrap_or("."), FOLDER_FLAGS);
        self.sync_folder(
            &folder.map_err(|errno| self.error("sync the folder of", name.as_str(), errno))?,
            name,
        )
    }

    fn sync_folder(&self, folder: &OwnedFd, name: &ObjectName) -> Result<(), Error> {
        rustix::fs::fsync(folder).map_err(|errno| self.error("sync the folder of", name.as_str(), errno))
    }
}

/// Gives `from` the name `to`, which must be free. Says whether `from` is gone.
fn rename_new(folder: &OwnedFd, from: &str, to: &str) -> Result<bool, Errno> {
    match retry(|| rustix::fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE)) {
        Ok(()) => Ok(true),
        // NFS and some others have no such rename; a link is as exclusive.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_new(folder, from, to),
        Err(errno) => Err(errno),
    }
}

/// As `rename_new`; `from` stays, and is removed as any temporary file.
fn link_new(folder: &OwnedFd, from: &str, to: &str) -> Result<bool, Errno> {
    retry(|| rustix::fs::linkat(folder, from, folder, to, AtFlags::empty()))?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posix::root::Root;
    use crate::posix::worker::Asker;

    #[test]
    fn for_one_who_was_told_of_a_failure_nothing_is_changed_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("target");
        std::fs::create_dir(&path).unwrap();
        Root::init(&path, model::TargetId::from_uuid(Entropy.uuid())).unwrap();
        let root = Root::open(&path).unwrap();
        let (old, new): (ObjectName, ObjectName) = ("l/old".parse().unwrap(), "l/new".parse().unwrap());
        root.visit(Asker::patient()).unwrap().put(&old, b"x").unwrap();
        let late = root.visit(Asker::gone()).unwrap();
        late.delete(&old).unwrap_err();
        late.replace(&old, b"y").unwrap_err();
        late.put(&new, b"y").unwrap_err();
        late.remove_temps(&"l".parse().unwrap()).unwrap();
        late.remove_empty_dirs(&"l".parse().unwrap()).unwrap_err();
        let visit = root.visit(Asker::patient()).unwrap();
        assert_eq!(visit.get(&old).unwrap(), "x");
        assert_eq!(visit.list(None).unwrap().len(), 2, "and repo.json");
    }

    #[test]
    fn where_no_exclusive_rename_is_known_a_link_does_the_same() {
        let outer = tempfile::tempdir().unwrap();
        let folder = rustix::fs::open(outer.path(), FOLDER_FLAGS, Mode::empty()).unwrap();
        for (temp, expected) in [("first", Ok(false)), ("second", Err(Errno::EXIST))] {
            std::fs::write(outer.path().join(temp), temp).unwrap();
            let guard = Temp { folder: &folder, name: temp.to_owned(), renamed: false };
            assert_eq!(link_new(&folder, temp, "object"), expected);
            drop(guard);
        }
        assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_to_string(outer.path().join("object")).unwrap(), "first");
    }
}
