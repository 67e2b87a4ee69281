//! A manifest with all its segments in memory: some 70 MiB for a disk of 1 TiB with 1 MiB slots.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use model::SnapshotId;
use std::collections::BTreeMap;
use target_format::{
    BlobKind, ChunkRef, Digest, IndexEntry, Manifest, PackFooter, Segment, SlotEntry, names,
};

use crate::Error;
use crate::fetch::{Lineage, index_has_segment};

/// Small reads under way: enough to hide the latency of an NFS server.
const READS_MAX: usize = 16;

/// All that a snapshot of a disk says of its slots.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) manifest: Manifest,
    /// BLAKE3 of the manifest object.
    pub(crate) digest: Digest,
    /// One per gibibyte; `None`: all holes.
    segments: Vec<Option<Segment>>,
}

impl Map {
    /// Reads manifest and segments.
    pub(crate) async fn load(lineage: &Lineage, snapshot: SnapshotId) -> Result<Self, Error> {
        let (manifest, digest) = lineage.manifest(snapshot).await?;
        let reads = manifest.segments.iter().map(|segment| async move {
            match segment {
                Some(segment) => lineage.segment(segment).await.map(Some),
                None => Ok(None),
            }
        });
        // Collected first: a stream that borrows from `manifest` in its closure is not `Send` for every lifetime.
        let reads: Vec<_> = reads.map(futures::FutureExt::boxed).collect();
        let segments = stream::iter(reads).buffered(READS_MAX).try_collect().await?;
        let map = Self { manifest, digest, segments };
        map.check().map_err(|reason| Error::ManifestDamaged {
            manifest: names::manifest(lineage.id, snapshot),
            reason: reason.to_owned(),
        })?;
        Ok(map)
    }

    /// What the parts must say together.
    fn check(&self) -> Result<(), &'static str> {
        let geometry = self.manifest.header.geometry;
        let mut chunk_count = 0;
        for (number, segment) in (0..).zip(&self.segments) {
            let Some(segment) = segment else { continue };
            let slots = geometry.segment_slots(number);
            if segment.entries.len() as u64 != slots.end - slots.start {
                return Err("a segment has another number of slots than its part of the disk");
            }
            for entry in &segment.entries {
                let SlotEntry::Chunk(chunk) = entry else { continue };
                chunk_count += 1;
                if self.manifest.pack(chunk.pack_id).is_none() {
                    return Err("a segment names a pack that is not in the pack table");
                }
            }
        }
        if chunk_count == self.manifest.header.chunk_count {
            Ok(())
        } else {
            Err("its number of chunks is wrong")
        }
    }

    /// The entries of one segment; `None`: all holes, or behind the end.
    pub(crate) fn segment(&self, number: u32) -> Option<&Segment> {
        self.segments.get(usize::try_from(number).ok()?)?.as_ref()
    }

    /// The chunk of a slot; `None`: a hole, or behind the end.
    pub(crate) fn chunk(&self, slot: u64) -> Option<&ChunkRef> {
        let per_segment = self.manifest.header.geometry.segment_slot_count();
        let segment = self.segment(u32::try_from(slot / per_segment).ok()?)?;
        match segment.entries.get(usize::try_from(slot % per_segment).ok()?)? {
            SlotEntry::Chunk(chunk) => Some(chunk),
            SlotEntry::Hole => None,
        }
    }

    /// All chunks with their slots, ascending by slot.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (u64, &ChunkRef)> {
        let geometry = self.manifest.header.geometry;
        let populated =
            (0..).zip(&self.segments).filter_map(|(number, segment)| Some((number, segment.as_ref()?)));
        populated.flat_map(move |(number, segment)| {
            let slots = geometry.segment_slots(number);
            slots.zip(&segment.entries).filter_map(|(slot, entry)| match entry {
                SlotEntry::Chunk(chunk) => Some((slot, chunk)),
                SlotEntry::Hole => None,
            })
        })
    }
}

/// The indices of all packs of a snapshot.
#[derive(Debug)]
pub(crate) struct PackIndex {
    footers: BTreeMap<model::PackId, PackFooter>,
}

impl PackIndex {
    /// Reads and checks header and footer of every pack that the manifest names, and that they know every chunk and
    /// segment as the manifest does.
    pub(crate) async fn load(lineage: &Lineage, map: &Map) -> Result<Self, Error> {
        let reads = map.manifest.packs.iter().map(|pack| async move {
            let footer = lineage.pack_footer(pack).await?;
            Ok::<_, Error>((pack.pack_id, footer))
        });
        let reads: Vec<_> = reads.map(futures::FutureExt::boxed).collect();
        let footers = stream::iter(reads).buffered(READS_MAX).try_collect().await?;
        let index = Self { footers };
        for segment in map.manifest.segments.iter().flatten() {
            let entry =
                index.footers.get(&segment.pack_id).and_then(|footer| footer.entry_at(segment.offset));
            if !index_has_segment(entry, segment) {
                return Err(
                    lineage.pack_damaged(segment.pack_id, "its index lacks a segment of the manifest")
                );
            }
        }
        for (slot, chunk) in map.chunks() {
            if index.find(chunk, map.manifest.header.geometry.slot_length(slot)).is_none() {
                return Err(lineage
                    .pack_damaged(chunk.pack_id, format_args!("its index lacks the chunk of slot {slot}")));
            }
        }
        Ok(index)
    }

    /// The index entry of a chunk, if it says of it what the segment says.
    pub(crate) fn find(&self, chunk: &ChunkRef, plain_length: u32) -> Option<&IndexEntry> {
        let entry = self.footers.get(&chunk.pack_id)?.entry_at(chunk.offset)?;
        let same = entry.kind == BlobKind::Chunk
            && entry.zstd == chunk.zstd
            && entry.stored_length == chunk.stored_length
            && entry.plain_length == plain_length;
        same.then_some(entry)
    }
}
