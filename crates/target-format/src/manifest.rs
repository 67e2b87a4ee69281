//! A manifest: all of one disk at one snapshot. Complete in itself, whatever its parent was.

use model::{LineageId, PackId, SnapshotId, TargetId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::reader::{Reader, put_preamble, put_u32, put_u64};
use crate::{Digest, Error, Geometry};

const MAGIC: [u8; 8] = *b"HFMANIFT";
const END_MAGIC: [u8; 8] = *b"HFMANEND";
const ROW_LENGTH: usize = 64;
const TRAILER_LENGTH: usize = 40;
const FLAG_PARENT: u32 = 1;
const FLAG_HOLE: u32 = 1;
const FLAG_ZSTD: u32 = 2;
const NOUN: &str = "manifest";

/// Whose manifest this is, and its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestHeader {
    pub target_id: TargetId,
    pub lineage_id: LineageId,
    pub snapshot_id: SnapshotId,
    pub parent: Option<SnapshotId>,
    /// Tells which key the digests were made with, and nothing of it.
    pub key_id: [u8; 16],
    pub geometry: Geometry,
    /// Slots that are not holes.
    pub chunk_count: u64,
    /// Of these, what this snapshot added.
    pub chunks_stored_count: u64,
    /// Length of the packs that this snapshot added.
    pub bytes_stored: u64,
}

/// A segment in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    /// BLAKE3 of its plaintext.
    pub digest: Digest,
    pub pack_id: PackId,
    pub offset: u32,
    pub stored_length: u32,
    pub plain_length: u32,
    /// CRC-32 of the stored bytes.
    pub crc32: u32,
    pub zstd: bool,
}

/// A pack that the manifest needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRef {
    pub pack_id: PackId,
    /// BLAKE3 of the whole object.
    pub digest: Digest,
    pub length: u64,
    pub footer_length: u32,
}

/// The root of one disk at one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub header: ManifestHeader,
    /// One per gibibyte of the disk; `None`: all of it reads as zeroes.
    pub segments: Vec<Option<SegmentRef>>,
    /// Invariant: strictly ascending by id; has every pack of the segments and of their entries.
    pub packs: Vec<PackRef>,
}

impl Manifest {
    /// The row of a pack.
    #[must_use]
    pub fn pack(&self, pack_id: PackId) -> Option<&PackRef> {
        let index = self.packs.binary_search_by_key(&pack_id, |pack| pack.pack_id).ok()?;
        self.packs.get(index)
    }

    /// Gives the bytes.
    ///
    /// Panics: the invariants do not hold.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.packs.is_sorted_by(|a, b| a.pack_id < b.pack_id), "the pack table ascends");
        assert_eq!(self.segments.len() as u64, u64::from(self.header.geometry.segment_count()));
        let rows = (self.segments.len() + self.packs.len()) * ROW_LENGTH;
        let mut bytes = Vec::with_capacity(144 + rows + TRAILER_LENGTH);
        self.encode_header(&mut bytes);
        for segment in &self.segments {
            match segment {
                None => {
                    bytes.extend_from_slice(&[0; 52]);
                    put_u32(&mut bytes, FLAG_HOLE);
                }
                Some(segment) => self.encode_segment(segment, &mut bytes),
            }
            put_u64(&mut bytes, 0);
        }
        for pack in &self.packs {
            bytes.extend_from_slice(pack.pack_id.uuid().as_bytes());
            bytes.extend_from_slice(pack.digest.as_bytes());
            put_u64(&mut bytes, pack.length);
            put_u32(&mut bytes, pack.footer_length);
            put_u32(&mut bytes, 0);
        }
        let digest = Digest::of(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        bytes.extend_from_slice(&END_MAGIC);
        bytes
    }

    fn encode_header(&self, bytes: &mut Vec<u8>) {
        let header = &self.header;
        put_preamble(bytes, MAGIC);
        let parent = header.parent.map_or(Uuid::nil(), SnapshotId::uuid);
        for uuid in [header.target_id.uuid(), header.lineage_id.uuid(), header.snapshot_id.uuid(), parent] {
            bytes.extend_from_slice(uuid.as_bytes());
        }
        bytes.extend_from_slice(&header.key_id);
        put_u64(bytes, header.geometry.disk_size());
        put_u32(bytes, header.geometry.chunk_size());
        put_u32(bytes, header.geometry.segment_count());
        put_u32(bytes, u32::try_from(self.packs.len()).expect("at most one per slot and segment"));
        put_u32(bytes, if header.parent.is_some() { FLAG_PARENT } else { 0 });
        for sum in [header.chunk_count, header.chunks_stored_count, header.bytes_stored] {
            put_u64(bytes, sum);
        }
    }

    fn encode_segment(&self, segment: &SegmentRef, bytes: &mut Vec<u8>) {
        let found = self.packs.binary_search_by_key(&segment.pack_id, |pack| pack.pack_id);
        let index = found.expect("the pack table has the packs of all segments");
        bytes.extend_from_slice(segment.digest.as_bytes());
        put_u32(bytes, u32::try_from(index).expect("the pack count is a u32"));
        let flags = if segment.zstd { FLAG_ZSTD } else { 0 };
        for field in [segment.offset, segment.stored_length, segment.plain_length, segment.crc32, flags] {
            put_u32(bytes, field);
        }
    }

    /// Reads a manifest.
    ///
    /// Errors: not exactly what `encode` gives for some manifest.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |reason| Error::damaged(NOUN, reason);
        let mut reader = Reader::new(NOUN, bytes);
        reader.preamble(MAGIC)?;
        let (header, segment_count, pack_count) = decode_header(&mut reader)?;
        reader.check_rest(&[(segment_count, ROW_LENGTH), (pack_count, ROW_LENGTH)], TRAILER_LENGTH)?;
        let (content, trailer) = bytes.split_at(bytes.len() - TRAILER_LENGTH);
        let mut end = Reader::new(NOUN, trailer);
        if end.digest()? != Digest::of(content) || end.array()? != END_MAGIC {
            return Err(damaged("it was altered"));
        }
        let rows = bytes.len() / ROW_LENGTH;
        let mut indexed = Vec::with_capacity(rows.min(usize::try_from(segment_count).unwrap_or(rows)));
        for _ in 0..segment_count {
            indexed.push(decode_segment(&mut reader)?);
        }
        let mut packs: Vec<PackRef> =
            Vec::with_capacity(rows.min(usize::try_from(pack_count).unwrap_or(rows)));
        for _ in 0..pack_count {
            packs.push(decode_pack(&mut reader)?);
        }
        if !packs.is_sorted_by(|a, b| a.pack_id < b.pack_id) {
            return Err(damaged("its pack table does not ascend"));
        }
        let resolve = |(index, mut segment): (usize, SegmentRef)| {
            segment.pack_id =
                packs.get(index).ok_or(damaged("a segment names no pack of its table"))?.pack_id;
            Ok(segment)
        };
        let segments =
            indexed.into_iter().map(|row| row.map(resolve).transpose()).collect::<Result<Vec<_>, Error>>()?;
        Ok(Self { header, segments, packs })
    }
}

fn decode_header(reader: &mut Reader<'_>) -> Result<(ManifestHeader, u32, u32), Error> {
    let [target, lineage, snapshot, parent] =
        [reader.uuid()?, reader.uuid()?, reader.uuid()?, reader.uuid()?];
    let key_id = reader.array()?;
    let (disk_size, chunk_size) = (reader.u64()?, reader.u32()?);
    let geometry = Geometry::new(disk_size, u64::from(chunk_size))
        .ok_or(reader.damaged("its disk and chunk sizes are not possible"))?;
    let (segment_count, pack_count) = (reader.u32()?, reader.u32()?);
    if segment_count != geometry.segment_count() {
        return Err(reader.damaged("its segments do not cover the disk"));
    }
    let parent = match reader.u32()? {
        0 if parent.is_nil() => None,
        FLAG_PARENT => Some(SnapshotId::from_uuid(parent)),
        _ => return Err(reader.damaged("its flags are unknown")),
    };
    let header = ManifestHeader {
        target_id: TargetId::from_uuid(target),
        lineage_id: LineageId::from_uuid(lineage),
        snapshot_id: SnapshotId::from_uuid(snapshot),
        parent,
        key_id,
        geometry,
        chunk_count: reader.u64()?,
        chunks_stored_count: reader.u64()?,
        bytes_stored: reader.u64()?,
    };
    Ok((header, segment_count, pack_count))
}

/// Gives the index of the segment's pack beside it; its `pack_id` is not yet known.
fn decode_segment(reader: &mut Reader<'_>) -> Result<Option<(usize, SegmentRef)>, Error> {
    let digest = reader.digest()?;
    let [index, offset, stored_length, plain_length, crc32, flags] =
        [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
    reader.zeroes::<8>("a reserved field is not zero")?;
    let zstd = match flags {
        0 => false,
        FLAG_ZSTD => true,
        FLAG_HOLE
            if digest == Digest::new([0; 32])
                && [index, offset, stored_length, plain_length, crc32] == [0; 5] =>
        {
            return Ok(None);
        }
        _ => return Err(reader.damaged("a segment has unknown flags")),
    };
    let pack_id = PackId::from_uuid(Uuid::nil());
    let index = usize::try_from(index).expect("the address space has 32 bits or more");
    Ok(Some((index, SegmentRef { digest, pack_id, offset, stored_length, plain_length, crc32, zstd })))
}

fn decode_pack(reader: &mut Reader<'_>) -> Result<PackRef, Error> {
    let pack_id = PackId::from_uuid(reader.uuid()?);
    let pack =
        PackRef { pack_id, digest: reader.digest()?, length: reader.u64()?, footer_length: reader.u32()? };
    reader.zeroes::<4>("a reserved field is not zero")?;
    Ok(pack)
}
