//! The advisory lock beside a SQLite file: one controller at a time, for ever released with its process.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};

/// Holds `PATH.lock` until dropped.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock beside the database file `database`.
    ///
    /// Errors: `InUse` when another process, or another catalog of this one, holds it.
    pub(crate) fn take(database: &Path) -> Result<Self> {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        // Never removed: whoever unlinks a lock file makes two locks of one name.
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|source| Error::File { path: path.clone(), source })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse { path: database.to_owned() }),
            Err(error) => Err(Error::File { path, source: error.into() }),
        }
    }
}
