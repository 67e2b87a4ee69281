//! The names of the bitmaps in a qcow2 file, read by ourselves: no program opens a file for it that a guest may have written.
//!
//! A stranger's bytes: all lengths are bounded, and nothing else of the file is looked at. Source: qemu,
//! docs/interop/qcow2.txt.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

use crate::qcow2_header::{EXTENSION_END, INCOMPATIBLE_DATA_FILE, MAGIC};
use crate::source_file::FLAGS;

/// Where the header's fields lie. Units: bytes.
const INCOMPATIBLE_AT: usize = 72;
const HEADER_LENGTH_AT: usize = 100;
const EXTENSION_BITMAPS: u32 = 0x2385_2875;
/// Header and extensions lie in the first cluster; those of ours are some hundred bytes long.
const HEADER_MAX: usize = 64 << 10;
/// Thousands of bitmaps.
const DIRECTORY_MAX: u64 = 1 << 20;
/// An entry without its name.
const ENTRY_LENGTH: usize = 24;

/// The names of the bitmaps in a file, in its order; none of a file of another kind, or that is damaged.
///
/// Errors: the file cannot be read. One that keeps its data in another file is refused: nobody must open that.
pub fn qcow2_bitmaps(path: &Path) -> io::Result<Vec<String>> {
    let file = File::from(open(path, OFlags::RDONLY | FLAGS, Mode::empty())?);
    let header = read_at(&file, 0, HEADER_MAX)?;
    let Some((count, length, offset)) = directory_of(&header)? else { return Ok(Vec::new()) };
    let length = usize::try_from(length.min(DIRECTORY_MAX)).unwrap_or_default();
    Ok(names(&read_at(&file, offset, length)?, count))
}

/// As much as there is.
fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut read = 0;
    while read < length {
        match file.read_at(&mut bytes[read..], offset.saturating_add(read as u64))? {
            0 => break,
            more => read += more,
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// How many bitmaps there are, and length and place of their directory.
fn directory_of(header: &[u8]) -> io::Result<Option<(u32, u64, u64)>> {
    if u32_at(header, 0) != Some(MAGIC) || u32_at(header, 4) != Some(3) {
        return Ok(None);
    }
    if u64_at(header, INCOMPATIBLE_AT).is_none_or(|bits| bits & INCOMPATIBLE_DATA_FILE != 0) {
        let reason = "it keeps its data in an external file, or its header is cut off";
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let mut at = u32_at(header, HEADER_LENGTH_AT).map_or(0, |length| length as usize);
    while let (Some(kind), Some(length)) = (u32_at(header, at), u32_at(header, at + 4)) {
        match kind {
            EXTENSION_END => break,
            EXTENSION_BITMAPS => {
                let found = (u32_at(header, at + 8), u64_at(header, at + 16), u64_at(header, at + 24));
                let (Some(count), Some(length), Some(offset)) = found else { break };
                return Ok(Some((count, length, offset)));
            }
            _ => at = at.saturating_add(8 + (length as usize).next_multiple_of(8)),
        }
    }
    Ok(None)
}

fn names(directory: &[u8], count: u32) -> Vec<String> {
    let (mut names, mut at) = (Vec::new(), 0_usize);
    for _ in 0..count {
        let (Some(name_length), Some(extra)) = (u16_at(directory, at + 18), u32_at(directory, at + 20))
        else {
            break;
        };
        let begin = (at + ENTRY_LENGTH).saturating_add(extra as usize);
        let end = begin.saturating_add(usize::from(name_length));
        let Some(name) = directory.get(begin..end) else { break };
        names.extend(std::str::from_utf8(name).ok().map(str::to_owned));
        at = end.next_multiple_of(8);
    }
    names
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_be_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn qemu_img(arguments: &[&str]) {
        let output = Command::new("qemu-img").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn make(dir: &Path, names: &[&str]) -> std::path::PathBuf {
        let path = dir.join("disk");
        qemu_img(&["create", "-q", "-f", "qcow2", path.to_str().unwrap(), "64M"]);
        for name in names {
            qemu_img(&["bitmap", "-f", "qcow2", "--add", path.to_str().unwrap(), name]);
        }
        path
    }

    #[test]
    fn the_bitmaps_that_qemu_wrote_are_read_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(qcow2_bitmaps(&make(dir.path(), &[])).unwrap(), Vec::<String>::new());
        let names = ["holdfast-1", "b", "somebody else's bitmap"];
        assert_eq!(qcow2_bitmaps(&make(dir.path(), &names)).unwrap(), names);
        std::fs::write(dir.path().join("raw"), b"no image").unwrap();
        assert_eq!(qcow2_bitmaps(&dir.path().join("raw")).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_file_with_its_data_elsewhere_and_a_link_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = make(dir.path(), &["a"]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[INCOMPATIBLE_AT + 7] |= 4;
        let other = dir.path().join("other");
        std::fs::write(&other, bytes).unwrap();
        assert_eq!(qcow2_bitmaps(&other).unwrap_err().kind(), io::ErrorKind::InvalidData);
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        qcow2_bitmaps(&dir.path().join("link")).unwrap_err();
    }

    proptest! {
        #[test]
        fn no_bytes_lead_out_of_bounds(mut bytes in prop::collection::vec(any::<u8>(), 0..2000), count: u32) {
            names(&bytes, count);
            if bytes.len() >= 112 {
                bytes[..8].copy_from_slice(&[0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
            }
            let _ = directory_of(&bytes);
        }
    }
}
