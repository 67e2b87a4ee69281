//! Disk images: copied with their holes, made empty, measured by what they say of themselves.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom as Position};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use model::{ByteCount, DiskFormat, Extent, Failure};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::error;

/// Copies a file, sharing its blocks where the file system can, and keeping its holes where it cannot.
pub(crate) fn copy(from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return to.sync_all();
    }
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break, // only a hole is left
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?.min(size);
        copy_range(from, to, start, end)?;
        position = end;
    }
    to.sync_all()
}

/// Where two raw images differ; what one has more than the other differs.
pub(crate) fn differences(old: &File, new: &File) -> io::Result<Vec<Extent>> {
    const BLOCK: usize = 64 << 10;
    let size = new.metadata()?.len();
    let (mut before, mut after) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut extents: Vec<Extent> = Vec::new();
    let mut offset = 0;
    while offset < size {
        let length = read_at(new, &mut after, offset)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let is_same = read_at(old, &mut before, offset)? >= length && before[..length] == after[..length];
        let end = offset + u64::try_from(length).unwrap_or(u64::MAX);
        if !is_same {
            match extents.last_mut().filter(|last| last.end() == offset) {
                Some(last) => last.length = end - last.offset,
                None => extents.push(Extent { offset, length: end - offset }),
            }
        }
        offset = end;
    }
    Ok(extents)
}

/// Fills `buffer` from `offset` on, as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let position = offset + u64::try_from(done).unwrap_or(u64::MAX);
        match rustix::io::pread(file, &mut buffer[done..], position)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}

/// Makes an image that reads as zeros.
///
/// Errors: `QEMU_IMG_MISSING`, `QEMU_IMG_FAILED`.
pub(crate) fn create_empty(path: &Path, format: DiskFormat, size: ByteCount) -> Result<(), Failure> {
    let doing = format!("make an empty {} image of {size}", format.as_str());
    match format {
        DiskFormat::Raw => File::create_new(path)
            .and_then(|file| file.set_len(size.0).and_then(|()| file.sync_all()))
            .map_err(|source| error::io(doing, &source)),
        DiskFormat::Qcow2 => create_qcow2(path, size),
    }
}

/// Gives the size of a disk as its guest sees it.
///
/// Errors: `None` when the image does not have the header of its format.
pub(crate) fn virtual_size(mut image: &File, format: DiskFormat) -> io::Result<Option<ByteCount>> {
    match format {
        DiskFormat::Raw => Ok(Some(ByteCount(image.metadata()?.len()))),
        DiskFormat::Qcow2 => {
            // Bytes 0..4: magic; 24..32: size. Source: QEMU, docs/interop/qcow2.rst.
            let mut header = [0u8; 32];
            image.seek(Position::Start(0))?;
            match image.read_exact(&mut header) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                other => other?,
            }
            let size = header.last_chunk::<8>().map(|bytes| ByteCount(u64::from_be_bytes(*bytes)));
            Ok(size.filter(|_| header.starts_with(b"QFI\xfb")))
        }
    }
}

fn create_qcow2(path: &Path, size: ByteCount) -> Result<(), Failure> {
    let created = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(path)
        .arg(size.0.to_string())
        .stdin(Stdio::null())
        .output();
    match created {
        Ok(output) if output.status.success() => {
            let synced = File::open(path).and_then(|file| file.sync_all());
            synced.map_err(|source| error::io("write a qcow2 image", &source))
        }
        Ok(output) => Err(Failure::transient(
            "QEMU_IMG_FAILED",
            format!("qemu-img could not make a volume: {}", String::from_utf8_lossy(&output.stderr).trim()),
        )),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            Err(Failure::permanent("QEMU_IMG_MISSING", "qemu-img is not installed: apt install qemu-utils"))
        }
        Err(source) => Err(error::io("start qemu-img", &source)),
    }
}

fn copy_range(from: impl AsFd, to: impl AsFd, start: u64, end: u64) -> io::Result<()> {
    let (mut from_offset, mut to_offset) = (start, start);
    while from_offset < end {
        let left = usize::try_from(end - from_offset).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(&from, Some(&mut from_offset), &to, Some(&mut to_offset), left) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_by_hand(from.as_fd(), to.as_fd(), from_offset, end);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// For file systems that cannot copy by themselves.
fn copy_by_hand(from: impl AsFd, to: impl AsFd, mut offset: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0u8; 1 << 20];
    while offset < end {
        let length = usize::try_from(end - offset).unwrap_or(usize::MAX).min(buffer.len());
        let read = rustix::io::pread(&from, &mut buffer[..length], offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut written = 0;
        while written < read {
            let position = offset + u64::try_from(written).unwrap_or(u64::MAX);
            written += rustix::io::pwrite(&to, &buffer[written..read], position)?;
        }
        offset += u64::try_from(read).unwrap_or(u64::MAX);
    }
    Ok(())
}
