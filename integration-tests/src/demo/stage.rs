//! Disks filled with this machine's own files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use model::ByteCount;

use crate::disks;

/// Where files are taken from.
const SOURCES: [&str; 5] = ["/opt", "/usr/local", "/usr/bin", "/usr/share", "/usr/lib"];
/// An ext4 file system needs room for itself beside its files.
const OVERHEAD_PERCENT: u64 = 25;

/// Gives this machine's files, none of them twice, until there are no more.
#[derive(Debug)]
pub(super) struct Stage {
    dirs: Vec<PathBuf>,
    files: Vec<(PathBuf, u64)>,
}

impl Stage {
    /// Starts with the folders every machine has, and the Rust toolchain that built this.
    #[must_use]
    pub(super) fn new() -> Self {
        let mut dirs: Vec<PathBuf> = Vec::new();
        dirs.extend(std::env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")));
        dirs.extend(SOURCES.map(PathBuf::from));
        Self { dirs, files: Vec::new() }
    }

    /// Copies `size` of files below `dir`.
    ///
    /// Errors: the machine has too few files, or the disk is full.
    pub(super) fn fill(&mut self, dir: &Path, size: ByteCount) -> Result<u64> {
        let (mut copied, mut count) = (0, 0);
        while copied < size.0 {
            let Some((path, length)) = self.next() else {
                bail!("this machine has too few files for the demo: {} of {size} found", ByteCount(copied));
            };
            let folder = dir.join(format!("{:03}", count / 100));
            fs::create_dir_all(&folder)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if fs::copy(&path, folder.join(format!("{count}-{name}"))).is_ok() {
                copied += length;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Makes a raw ext4 disk that holds `size` of files.
    pub(super) fn make_disk(&mut self, disk: &Path, size: ByteCount) -> Result<u64> {
        let files = disk.with_extension("files");
        let count = self.fill(&files, size)?;
        let disk_mib = (size.0 >> 20) * (100 + OVERHEAD_PERCENT) / 100 + 16;
        disks::make_ext4(disk, disk_mib, &files)?;
        fs::remove_dir_all(&files)?;
        Ok(count)
    }
}

impl Iterator for Stage {
    type Item = (PathBuf, u64);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(file) = self.files.pop() {
                return Some(file);
            }
            let dir = self.dirs.pop()?;
            // A folder that may not be read is passed over: the demo needs files, not these files.
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => self.dirs.push(entry.path()),
                    // Larger ones would make the portions uneven.
                    Ok(meta) if meta.is_file() && (1..64 << 20).contains(&meta.len()) => {
                        self.files.push((entry.path(), meta.len()));
                    }
                    _ => {}
                }
            }
        }
    }
}
