//! Our own reader of qcow2 headers, run before qemu sees the file.
//!
//! A qcow2 header can name other files: a backing file, an external data file. qemu opens what it names, with the
//! rights of whoever runs it; so a tenant who uploads an image could have the host's files backed up as a disk (the
//! class of CVE-2024-32498). Holdfast takes an image only when it understands every bit that changes the meaning of its
//! bytes; what it names as its backing file the caller judges, and tells qemu itself.
//!
//! Pure: bytes in, judgement out. Source: qemu, docs/interop/qcow2.txt.

use bytes::{Buf, TryGetError};
use model::DiskFormat;

pub(crate) const MAGIC: u32 = 0x5146_49fb; // "QFI\xfb"
const VERSION_2_LENGTH: u32 = 72;
const VERSION_3_LENGTH_MIN: u32 = 104;

const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
pub(crate) const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
/// Dirty refcounts, a compression type, extended level 2 entries: none of them leads out of the file.
const INCOMPATIBLE_HARMLESS: u64 = 1 << 0 | 1 << 3 | 1 << 4;

pub(crate) const EXTENSION_END: u32 = 0;
const EXTENSION_DATA_FILE_NAME: u32 = 0x4441_5441;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;

/// Longest name of a backing file. Source: qcow2.txt.
const BACKING_NAME_LENGTH_MAX: u32 = 1023;

/// Why an image is not opened as qcow2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderRefusal {
    #[error("the file ends within the qcow2 header")]
    Truncated,
    #[error("the file does not start with the qcow2 magic number")]
    NotQcow2,
    #[error("qcow2 version {version} is not known")]
    Version { version: u32 },
    #[error("the header's cluster size of 2^{bits} bytes is not allowed")]
    ClusterSize { bits: u32 },
    #[error("the header length of {length} bytes is not allowed")]
    HeaderLength { length: u32 },
    #[error("the image has a backing file")]
    BackingFile,
    #[error("the image's backing file {path} is not where backing files may lie")]
    BackingFileOutside { path: String },
    #[error("the image does not say in a readable way what its backing file is")]
    BackingFileUnclear,
    #[error("the image keeps its data in an external file")]
    DataFile,
    #[error("the image is encrypted")]
    Encrypted,
    #[error("the image is marked corrupt")]
    Corrupt,
    #[error("the image uses unknown incompatible features {bits:#x}")]
    UnknownFeatures { bits: u64 },
    #[error("a header extension of {length} bytes runs out of the first cluster")]
    Extension { length: u32 },
}

impl From<TryGetError> for HeaderRefusal {
    fn from(_: TryGetError) -> Self {
        Self::Truncated
    }
}

/// What an image names as its backing file. A stranger's word: to be judged before anything is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingFile {
    pub path: String,
    pub format: DiskFormat,
}

/// The header of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qcow2Header {
    pub version: u32,
    pub cluster_bits: u32,
    pub backing_file: Option<BackingFile>,
    /// Size of the disk inside, in bytes.
    pub virtual_size: u64,
}

impl Qcow2Header {
    /// How much of the file's beginning [`Self::parse`] wants to see: header and extensions lie in the first cluster,
    /// and no cluster is longer. Units: bytes.
    pub const LENGTH_MAX: usize = 1 << 21;

    /// Judges the beginning of a file: its first [`Self::LENGTH_MAX`] bytes, or all of it.
    ///
    /// Errors: the reason why qemu must not open it.
    pub fn parse(file_start: &[u8]) -> Result<Self, HeaderRefusal> {
        let mut fields = file_start;
        if fields.try_get_u32().map_err(|_| HeaderRefusal::NotQcow2)? != MAGIC {
            return Err(HeaderRefusal::NotQcow2);
        }
        let version = fields.try_get_u32()?;
        if !(2..=3).contains(&version) {
            return Err(HeaderRefusal::Version { version });
        }
        let (backing_file_offset, backing_file_length) = (fields.try_get_u64()?, fields.try_get_u32()?);
        let cluster_bits = fields.try_get_u32()?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(HeaderRefusal::ClusterSize { bits: cluster_bits });
        }
        let virtual_size = fields.try_get_u64()?;
        let encryption = fields.try_get_u32()?;
        if encryption != 0 {
            return Err(HeaderRefusal::Encrypted);
        }
        skip(&mut fields, 36)?; // level 1 table, refcount table, internal snapshots: qemu's business
        let header_length = match version {
            2 => VERSION_2_LENGTH,
            _ => parse_version_3(fields, cluster_bits)?,
        };
        let cluster = file_start.get(..1 << cluster_bits).unwrap_or(file_start);
        let backing_format = check_extensions(cluster, header_length)?;
        let backing_file = match (backing_file_offset, backing_file_length) {
            (0, 0) => None,
            place => Some(parse_backing(cluster, place, backing_format)?),
        };
        Ok(Self { version, cluster_bits, backing_file, virtual_size })
    }
}

/// Judges what version 3 added; gives the length of the whole header.
fn parse_version_3(mut fields: &[u8], cluster_bits: u32) -> Result<u32, HeaderRefusal> {
    let incompatible = fields.try_get_u64()?;
    if incompatible & INCOMPATIBLE_DATA_FILE != 0 {
        return Err(HeaderRefusal::DataFile);
    }
    if incompatible & INCOMPATIBLE_CORRUPT != 0 {
        return Err(HeaderRefusal::Corrupt);
    }
    let bits = incompatible & !INCOMPATIBLE_HARMLESS;
    if bits != 0 {
        return Err(HeaderRefusal::UnknownFeatures { bits });
    }
    skip(&mut fields, 8 + 8 + 4)?; // compatible and autoclear features, refcount order
    let length = fields.try_get_u32()?;
    let allowed = length >= VERSION_3_LENGTH_MIN && length <= 1 << cluster_bits && length.is_multiple_of(8);
    if allowed { Ok(length) } else { Err(HeaderRefusal::HeaderLength { length }) }
}

/// Walks the header extensions, and refuses those that name a data file or a key; gives the name of the backing file's
/// format. Ends: each step goes forward by 8 bytes or more, within one cluster.
fn check_extensions(cluster: &[u8], header_length: u32) -> Result<Option<&[u8]>, HeaderRefusal> {
    let mut rest = cluster.get(header_length as usize..).ok_or(HeaderRefusal::Truncated)?;
    let mut backing_format = None;
    while rest.len() >= 8 {
        let (kind, length) = (rest.try_get_u32()?, rest.try_get_u32()?);
        match kind {
            EXTENSION_END => break,
            EXTENSION_DATA_FILE_NAME => return Err(HeaderRefusal::DataFile),
            EXTENSION_ENCRYPTION => return Err(HeaderRefusal::Encrypted),
            EXTENSION_BACKING_FORMAT => backing_format = rest.get(..length as usize),
            _ => {}
        }
        let padded = (length as usize).checked_next_multiple_of(8);
        rest = padded.and_then(|padded| rest.get(padded..)).ok_or(HeaderRefusal::Extension { length })?;
    }
    Ok(backing_format)
}

/// Reads the name at `place`, an offset and a length within the first cluster. Its format must be said: we do not probe.
fn parse_backing(
    cluster: &[u8],
    (offset, length): (u64, u32),
    format: Option<&[u8]>,
) -> Result<BackingFile, HeaderRefusal> {
    let start = usize::try_from(offset).map_err(|_| HeaderRefusal::BackingFileUnclear)?;
    let end = start.checked_add(length as usize).filter(|_| (1..=BACKING_NAME_LENGTH_MAX).contains(&length));
    let name = end.and_then(|end| cluster.get(start..end)).ok_or(HeaderRefusal::BackingFileUnclear)?;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let path = text(name).filter(|name| name.starts_with('/') && !name.contains('\0'));
    let format = format.and_then(text).and_then(|format| format.parse().ok());
    let (path, format) = path.zip(format).ok_or(HeaderRefusal::BackingFileUnclear)?;
    Ok(BackingFile { path: path.to_owned(), format })
}

fn skip(fields: &mut &[u8], count: usize) -> Result<(), HeaderRefusal> {
    *fields = fields.get(count..).ok_or(HeaderRefusal::Truncated)?;
    Ok(())
}

#[cfg(test)]
mod tests;
