//! Where the hypervisor puts old blocks while a point in time is read. When it is full the guest is paused, so room is
//! looked for before a cut begins, and a cut ends before the room does.
//!
//! ```text
//!  scratch_dir/<snapshot>/nbd           the socket of the export
//!  scratch_dir/<snapshot>/<device>      old blocks of one disk
//! ```

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use model::{ByteCount, SnapshotId};

use crate::Error;

/// Unless more is set: 2 GiB, or a tenth of the disks. Source: measured need of guests that write during a backup.
const ROOM_MIN: ByteCount = ByteCount::gib(2);

/// Source: unix(7), `sun_path`. Units: bytes.
const SOCKET_LENGTH_MAX: usize = 107;

/// The scratch folder of this host.
#[derive(Debug, Clone)]
pub struct Scratch {
    /// Its owner and group are those of the hypervisor's processes.
    pub dir: PathBuf,
    /// What all cuts of this host together may use; absent: what the file system has.
    pub used_max: Option<ByteCount>,
    /// What must be free before a cut begins; absent: 2 GiB, or a tenth of the disks if that is more.
    pub room_min: Option<ByteCount>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) free: ByteCount,
    pub(crate) needed: ByteCount,
}

impl Room {
    /// Whether a cut may begin.
    pub(crate) fn may_begin(self) -> bool {
        self.free >= self.needed
    }

    /// Whether a cut must end: half of what it had needed to begin is left.
    pub(crate) fn must_end(self) -> bool {
        self.free.0 < self.needed.0 / 2
    }
}

impl Scratch {
    /// The room for disks of this size in all.
    pub(crate) fn room(&self, disks: ByteCount) -> Result<Room, Error> {
        let stat = rustix::fs::statvfs(&self.dir).map_err(|errno| self.failed(errno.into()))?;
        let mut free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if let Some(max) = self.used_max {
            free = free.min(max.0.saturating_sub(used(&self.dir).map_err(|error| self.failed(error))?));
        }
        let needed = self.room_min.unwrap_or_else(|| ROOM_MIN.max(ByteCount(disks.0 / 10)));
        Ok(Room { free: ByteCount(free), needed })
    }

    /// Makes the folder of a cut, for the hypervisor to write into.
    pub(crate) fn make(&self, snapshot: SnapshotId) -> Result<PathBuf, Error> {
        let path = self.folder(snapshot);
        let length = self.socket(snapshot).as_os_str().len();
        if length > SOCKET_LENGTH_MAX {
            let reason =
                format!("a socket in it has a path of {length} bytes, and {SOCKET_LENGTH_MAX} are possible");
            return Err(self.failed(io::Error::new(io::ErrorKind::InvalidFilename, reason)));
        }
        let make = || {
            // A leftover of a run that was killed holds nothing that anybody reads.
            remove(&path)?;
            DirBuilder::new().mode(0o770).create(&path)?;
            std::fs::set_permissions(&path, Permissions::from_mode(0o2770))?; // whatever the umask
            let parent = std::fs::metadata(&self.dir)?;
            match std::os::unix::fs::chown(&path, Some(parent.uid()), Some(parent.gid())) {
                // Not root: the group, which the folder above gives, must do.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                changed => changed,
            }
        };
        make().map_err(|error| self.failed(error))?;
        Ok(path)
    }

    /// Removes the folder of a cut; one that is gone is removed already.
    pub(crate) fn remove(&self, snapshot: SnapshotId) -> Result<(), Error> {
        remove(&self.folder(snapshot)).map_err(|error| self.failed(error))
    }

    /// Where the export of a cut listens.
    pub(crate) fn socket(&self, snapshot: SnapshotId) -> PathBuf {
        self.folder(snapshot).join("nbd")
    }

    /// The cut whose export listens there, if it is one of ours.
    pub(crate) fn snapshot_of_socket(&self, socket: &Path) -> Option<SnapshotId> {
        let folder = socket.strip_prefix(&self.dir).ok()?.parent()?;
        let snapshot = folder.to_str()?.parse().ok()?;
        (self.socket(snapshot) == socket).then_some(snapshot)
    }

    /// The cuts that have a folder here.
    pub(crate) fn snapshots(&self) -> Result<Vec<SnapshotId>, Error> {
        let entries = std::fs::read_dir(&self.dir).map_err(|error| self.failed(error))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    /// What the old blocks of a cut take; absent: there are none.
    pub(crate) fn used_by(&self, snapshot: SnapshotId) -> Option<ByteCount> {
        let files = std::fs::read_dir(self.folder(snapshot)).ok()?;
        let blocks = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.blocks() * 512));
        Some(ByteCount(blocks.sum()))
    }

    /// Of a cut.
    pub(crate) fn folder(&self, snapshot: SnapshotId) -> PathBuf {
        self.dir.join(snapshot.to_string())
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Scratch { path: self.dir.clone(), source }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The blocks of all files below. Units: bytes.
fn used(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for cut in std::fs::read_dir(dir)? {
        let Ok(files) = std::fs::read_dir(cut?.path()) else { continue }; // it ended a moment ago
        for file in files {
            sum += file.and_then(|file| file.metadata()).map_or(0, |metadata| metadata.blocks() * 512);
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(dir: &Path) -> Scratch {
        Scratch { dir: dir.to_owned(), used_max: None, room_min: None }
    }

    #[test]
    fn a_large_disk_needs_a_tenth_of_it_and_a_small_one_two_gibibytes() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = make(dir.path());
        assert_eq!(scratch.room(ByteCount::gib(1)).unwrap().needed, ByteCount::gib(2));
        assert_eq!(scratch.room(ByteCount::gib(100)).unwrap().needed, ByteCount::gib(10));
    }

    #[test]
    fn what_other_cuts_use_is_not_there_for_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let mut scratch = make(dir.path());
        scratch.used_max = Some(ByteCount::mib(4));
        scratch.room_min = Some(ByteCount::mib(3));
        assert!(scratch.room(ByteCount(0)).unwrap().may_begin());
        let snapshot = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f".parse().unwrap();
        let folder = scratch.make(snapshot).unwrap();
        std::fs::write(folder.join("vda"), vec![1; 2 << 20]).unwrap();
        let room = scratch.room(ByteCount(0)).unwrap();
        assert!(!room.may_begin() && !room.must_end(), "{room:?}");
        std::fs::write(folder.join("vdb"), vec![1; 1 << 20]).unwrap();
        assert!(scratch.room(ByteCount(0)).unwrap().must_end());
        scratch.remove(snapshot).unwrap();
        scratch.remove(snapshot).unwrap();
        assert!(scratch.room(ByteCount(0)).unwrap().may_begin());
    }

    #[test]
    fn a_scratch_folder_with_too_long_a_path_for_sockets_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(90));
        std::fs::create_dir(&deep).unwrap();
        let snapshot = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f".parse().unwrap();
        let error = make(&deep).make(snapshot).unwrap_err().failure();
        assert!(error.code == "SCRATCH_UNUSABLE" && error.message.contains("107"), "{error}");
    }

    #[test]
    fn a_scratch_folder_that_is_not_there_is_named() {
        let error = make(Path::new("/nonexistent/scratch")).room(ByteCount(0)).unwrap_err().failure();
        assert_eq!(error.code, "SCRATCH_UNUSABLE");
        assert!(error.message.contains("/nonexistent/scratch"), "{error}");
    }
}
