//! Files that are there whole, or not at all, also after a power cut: what a service keeps of its own on a local disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Ends the names of files that are being written.
const SUFFIX: &str = ".tmp";

/// Writes `content` to `dir/name`, in place of what was there. Durable when it returns.
///
/// A crash leaves the old content or the new, and perhaps a temporary file that `remove_leftovers` takes away.
pub fn write(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = write_temporary(dir, name, content)?;
    std::fs::rename(&temporary, dir.join(name))?;
    sync_dir(dir)
}

/// The first half of `write`: content and its fsync under a temporary name.
pub fn write_temporary(dir: &Path, name: &str, content: &[u8]) -> io::Result<PathBuf> {
    let temporary = dir.join(format!("{name}{SUFFIX}"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(temporary)
}

/// Removes `dir/name`, durably; a missing file is removed already.
pub fn remove(dir: &Path, name: &str) -> io::Result<()> {
    match std::fs::remove_file(dir.join(name)) {
        Ok(()) => sync_dir(dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes what interrupted writes left in `dir`.
pub fn remove_leftovers(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.as_os_str().as_encoded_bytes().ends_with(SUFFIX.as_bytes()) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
