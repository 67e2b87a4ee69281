//! A pack: an immutable object of many chunks and segments.
//!
//! ```text
//! 0        64                                  length - footer_length              length - 80     length
//! │ header │ stored chunks and segments, no gap │ index: one entry of 24 each       │ trailer      │
//! ```
//!
//! Every byte has a keeper: a stored chunk its CRC-32, all stored bytes the body digest, header, index and trailer the
//! footer digest, and the whole object the digest in the pack table of each manifest that names it.

use model::{LineageId, PackId, TargetId};

use crate::reader::{Reader, put_preamble, put_u32};
use crate::{Digest, Error, Sealed};

const HEADER_MAGIC: [u8; 8] = *b"HFPACK\r\n";
const TRAILER_MAGIC: [u8; 8] = *b"HFPACKND";
const ENTRY_LENGTH: usize = 24;
const TRAILER_LENGTH: usize = 80;
const FOOTER_DIGEST_AT: usize = 32;
const FLAG_ZSTD: u32 = 2;
const NOUN: &str = "pack";

/// What a stored blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobKind {
    /// The bytes of a slot.
    Chunk,
    /// A part of a manifest.
    Segment,
}

impl BlobKind {
    const fn code(self) -> u32 {
        match self {
            Self::Chunk => 1,
            Self::Segment => 2,
        }
    }
}

/// The first 64 bytes: whose pack this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackHeader {
    pub target_id: TargetId,
    pub lineage_id: LineageId,
    pub pack_id: PackId,
}

impl PackHeader {
    /// Units: bytes.
    pub const LENGTH: usize = 64;

    /// Gives the 64 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LENGTH);
        put_preamble(&mut bytes, HEADER_MAGIC);
        bytes.extend_from_slice(self.target_id.uuid().as_bytes());
        bytes.extend_from_slice(self.lineage_id.uuid().as_bytes());
        bytes.extend_from_slice(self.pack_id.uuid().as_bytes());
        bytes
    }

    /// Errors: not exactly a header of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(NOUN, bytes);
        reader.preamble(HEADER_MAGIC)?;
        reader.check_rest(&[(3, 16)], 0)?;
        Ok(Self {
            target_id: TargetId::from_uuid(reader.uuid()?),
            lineage_id: LineageId::from_uuid(reader.uuid()?),
            pack_id: PackId::from_uuid(reader.uuid()?),
        })
    }
}

/// Where a blob lies in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    pub kind: BlobKind,
    pub zstd: bool,
    pub offset: u32,
    pub stored_length: u32,
    pub plain_length: u32,
    /// CRC-32 of the stored bytes.
    pub crc32: u32,
}

impl IndexEntry {
    fn encode(&self, bytes: &mut Vec<u8>) {
        let flags = if self.zstd { FLAG_ZSTD } else { 0 };
        for field in [self.kind.code(), flags, self.offset, self.stored_length, self.plain_length, self.crc32]
        {
            put_u32(bytes, field);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let kind = match reader.u32()? {
            1 => BlobKind::Chunk,
            2 => BlobKind::Segment,
            _ => return Err(reader.damaged("its index has an entry of unknown kind")),
        };
        let zstd = match reader.u32()? {
            0 => false,
            FLAG_ZSTD => true,
            _ => return Err(reader.damaged("its index has unknown flags")),
        };
        let [offset, stored_length] = [reader.u32()?, reader.u32()?];
        Ok(Self { kind, zstd, offset, stored_length, plain_length: reader.u32()?, crc32: reader.u32()? })
    }
}

/// Index and trailer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackFooter {
    /// Invariant: ascending by offset, from the end of the header to the footer without a gap.
    pub entries: Vec<IndexEntry>,
    /// BLAKE3 of all stored bytes.
    pub body_digest: Digest,
}

impl PackFooter {
    /// Reads the end of a pack of `pack_length` bytes. `header` are its first 64, `footer` its last; both are proven by the
    /// footer digest, so that not one of their bytes can differ.
    ///
    /// Errors: any of them was altered, or the entries do not fill the pack.
    pub fn decode(header: &[u8], footer: &[u8], pack_length: u64) -> Result<Self, Error> {
        let damaged = |reason| Error::damaged(NOUN, reason);
        let index_length =
            footer.len().checked_sub(TRAILER_LENGTH).ok_or(damaged("its footer is too short"))?;
        let (index, trailer) = footer.split_at(index_length);
        let mut reader = Reader::new(NOUN, trailer);
        let (body_digest, footer_digest) = (reader.digest()?, reader.digest()?);
        let (entry_count, footer_length, magic) = (reader.u32()?, reader.u32()?, reader.array()?);
        if magic != TRAILER_MAGIC || usize::try_from(footer_length) != Ok(footer.len()) {
            return Err(damaged("it does not end with its trailer"));
        }
        if footer_digest != digest_footer(header, index, trailer) {
            return Err(damaged("its header or footer was altered"));
        }
        let mut reader = Reader::new(NOUN, index);
        reader.check_rest(&[(entry_count, ENTRY_LENGTH)], 0)?;
        let mut entries = Vec::with_capacity(index.len() / ENTRY_LENGTH);
        let mut end = PackHeader::LENGTH as u64;
        for _ in 0..entry_count {
            let entry = IndexEntry::decode(&mut reader)?;
            if u64::from(entry.offset) != end {
                return Err(damaged("its entries do not follow each other"));
            }
            end += u64::from(entry.stored_length);
            entries.push(entry);
        }
        if end.checked_add(footer.len() as u64) == Some(pack_length) {
            Ok(Self { entries, body_digest })
        } else {
            Err(damaged("its entries do not fill it"))
        }
    }

    /// The entry that begins at `offset`.
    #[must_use]
    pub fn entry_at(&self, offset: u32) -> Option<&IndexEntry> {
        let index = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
        self.entries.get(index)
    }
}

/// BLAKE3 of header, index and trailer, without the field that holds it.
fn digest_footer(header: &[u8], index: &[u8], trailer: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header).update(index).update(&trailer[..FOOTER_DIGEST_AT]);
    hasher.update(&trailer[FOOTER_DIGEST_AT + 32..]);
    hasher.finalize().into()
}

/// A finished pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPack {
    pub bytes: Vec<u8>,
    /// BLAKE3 of `bytes`.
    pub digest: Digest,
    pub footer_length: u32,
}

/// Fills a pack.
#[derive(Debug)]
pub struct PackBuilder {
    bytes: Vec<u8>,
    entries: Vec<IndexEntry>,
}

impl PackBuilder {
    /// Units: bytes. The longest pack; offsets stay far below 4 GiB.
    pub const LENGTH_MAX: u64 = 256 << 20;

    /// Begins a pack.
    #[must_use]
    pub fn new(header: &PackHeader) -> Self {
        Self { bytes: header.encode(), entries: Vec::new() }
    }

    /// Length so far, without the footer.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether nothing was appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends a blob and gives its offset.
    ///
    /// Panics: the pack would be longer than a pack may be.
    pub fn append(&mut self, kind: BlobKind, sealed: &Sealed) -> u32 {
        let end = self.length() + sealed.stored.len() as u64;
        assert!(end <= Self::LENGTH_MAX, "a pack is closed long before it has 256 MiB");
        let offset = u32::try_from(self.length()).expect("bounded above");
        let stored_length = u32::try_from(sealed.stored.len()).expect("bounded above");
        let Sealed { plain_length, zstd, crc32, .. } = *sealed;
        self.entries.push(IndexEntry { kind, zstd, offset, stored_length, plain_length, crc32 });
        self.bytes.extend_from_slice(&sealed.stored);
        offset
    }

    /// Adds the footer and gives the whole.
    #[must_use]
    pub fn finish(self) -> SealedPack {
        let Self { mut bytes, entries } = self;
        let body_digest = Digest::of(&bytes[PackHeader::LENGTH..]);
        let footer_at = bytes.len();
        entries.iter().for_each(|entry| entry.encode(&mut bytes));
        let trailer_at = bytes.len();
        let footer_length =
            u32::try_from(trailer_at - footer_at + TRAILER_LENGTH).expect("24 bytes per blob");
        bytes.extend_from_slice(body_digest.as_bytes());
        bytes.extend_from_slice(&[0; 32]);
        put_u32(&mut bytes, u32::try_from(entries.len()).expect("one per blob"));
        put_u32(&mut bytes, footer_length);
        bytes.extend_from_slice(&TRAILER_MAGIC);
        let (header, index, trailer) =
            (&bytes[..PackHeader::LENGTH], &bytes[footer_at..trailer_at], &bytes[trailer_at..]);
        let footer_digest = digest_footer(header, index, trailer);
        let digest_at = trailer_at + FOOTER_DIGEST_AT;
        bytes[digest_at..digest_at + 32].copy_from_slice(footer_digest.as_bytes());
        let digest = Digest::of(&bytes);
        SealedPack { bytes, digest, footer_length }
    }
}
