//! A segment: where the chunks of one gibibyte of a disk lie. It lies in a pack itself, and names packs by a table of its
//! own, so that a later manifest can point to it unchanged.

use std::collections::HashMap;

use model::PackId;
use serde::{Deserialize, Serialize};

use crate::reader::{Reader, put_preamble, put_u32};
use crate::{Digest, Error};

const MAGIC: [u8; 8] = *b"HFSEGMNT";
const ENTRY_LENGTH: usize = 48;
const FLAG_HOLE: u32 = 1;
const FLAG_ZSTD: u32 = 2;
const NOUN: &str = "segment";

/// Where the bytes of a slot are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotEntry {
    /// It reads as zeroes.
    Hole,
    Chunk(ChunkRef),
}

/// A chunk in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// BLAKE3 of the plaintext, keyed with the lineage's hash key.
    pub digest: Digest,
    pub pack_id: PackId,
    pub offset: u32,
    pub stored_length: u32,
    pub zstd: bool,
}

/// The slots of one gibibyte.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Segment {
    pub entries: Vec<SlotEntry>,
}

impl Segment {
    /// Whether all of it reads as zeroes.
    #[must_use]
    pub fn is_hole(&self) -> bool {
        self.entries.iter().all(|entry| *entry == SlotEntry::Hole)
    }

    /// Gives the bytes: the same for the same entries.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut packs: Vec<PackId> = Vec::new();
        let mut indices: HashMap<PackId, u32> = HashMap::new();
        let mut rows = Vec::with_capacity(self.entries.len() * ENTRY_LENGTH);
        for entry in &self.entries {
            let SlotEntry::Chunk(chunk) = entry else {
                rows.extend_from_slice(&[0; ENTRY_LENGTH - 4]);
                put_u32(&mut rows, FLAG_HOLE);
                continue;
            };
            let index = *indices.entry(chunk.pack_id).or_insert_with(|| {
                packs.push(chunk.pack_id);
                u32::try_from(packs.len() - 1).expect("at most one per slot")
            });
            rows.extend_from_slice(chunk.digest.as_bytes());
            let flags = if chunk.zstd { FLAG_ZSTD } else { 0 };
            for field in [index, chunk.offset, chunk.stored_length, flags] {
                put_u32(&mut rows, field);
            }
        }
        let mut bytes = Vec::with_capacity(24 + packs.len() * 16 + rows.len());
        put_preamble(&mut bytes, MAGIC);
        put_u32(&mut bytes, u32::try_from(self.entries.len()).expect("at most 2^26 slots"));
        put_u32(&mut bytes, u32::try_from(packs.len()).expect("at most one per slot"));
        packs.iter().for_each(|pack| bytes.extend_from_slice(pack.uuid().as_bytes()));
        bytes.extend_from_slice(&rows);
        bytes
    }

    /// Reads a segment.
    ///
    /// Errors: not exactly what `encode` gives for some entries.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(NOUN, bytes);
        reader.preamble(MAGIC)?;
        let (slot_count, pack_count) = (reader.u32()?, reader.u32()?);
        reader.check_rest(&[(slot_count, ENTRY_LENGTH), (pack_count, 16)], 0)?;
        let mut packs = Vec::with_capacity(bytes.len() / 16);
        for _ in 0..pack_count {
            packs.push(PackId::from_uuid(reader.uuid()?));
        }
        let mut entries = Vec::with_capacity(bytes.len() / ENTRY_LENGTH);
        let mut packs_used = 0;
        for _ in 0..slot_count {
            entries.push(decode_entry(&mut reader, &packs, &mut packs_used)?);
        }
        let mut unique = packs.clone();
        unique.sort_unstable();
        unique.dedup();
        if packs_used == packs.len() && unique.len() == packs.len() {
            Ok(Self { entries })
        } else {
            Err(reader.damaged("its pack table is not in order of use"))
        }
    }
}

fn decode_entry(
    reader: &mut Reader<'_>,
    packs: &[PackId],
    packs_used: &mut usize,
) -> Result<SlotEntry, Error> {
    let digest = reader.digest()?;
    let [index, offset, stored_length, flags] = [reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?];
    let zstd = match flags {
        0 => false,
        FLAG_ZSTD => true,
        FLAG_HOLE if digest == Digest::new([0; 32]) && [index, offset, stored_length] == [0; 3] => {
            return Ok(SlotEntry::Hole);
        }
        _ => return Err(reader.damaged("an entry has unknown flags")),
    };
    let place = usize::try_from(index).expect("the address space has 32 bits or more");
    let pack_id = *packs.get(place).ok_or(reader.damaged("an entry names no pack of its table"))?;
    match place.cmp(packs_used) {
        std::cmp::Ordering::Less => {}
        std::cmp::Ordering::Equal => *packs_used += 1,
        std::cmp::Ordering::Greater => return Err(reader.damaged("its pack table is not in order of use")),
    }
    Ok(SlotEntry::Chunk(ChunkRef { digest, pack_id, offset, stored_length, zstd }))
}
