//! Values of the format, any and fixed.

use model::{LineageId, PackId, SnapshotId, TargetId};
use proptest::prelude::*;
use target_format::{
    ChunkRef, Digest, Geometry, Manifest, ManifestHeader, PackHeader, PackRef, Segment, SegmentRef, SlotEntry,
};
use uuid::Uuid;

pub(crate) fn uuid(byte: u8) -> Uuid {
    Uuid::from_bytes([byte; 16])
}

pub(crate) fn make_header() -> PackHeader {
    PackHeader {
        target_id: TargetId::from_uuid(uuid(0x11)),
        lineage_id: LineageId::from_uuid(uuid(0x22)),
        pack_id: PackId::from_uuid(uuid(0x33)),
    }
}

fn any_pack_id() -> impl Strategy<Value = PackId> {
    // Few, so that they repeat.
    (0u8..6).prop_map(|byte| PackId::from_uuid(uuid(byte)))
}

fn any_digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::new)
}

pub(crate) fn any_segment() -> impl Strategy<Value = Segment> {
    let chunk = (any_digest(), any_pack_id(), any::<u32>(), any::<u32>(), any::<bool>()).prop_map(
        |(digest, pack_id, offset, stored_length, zstd)| {
            SlotEntry::Chunk(ChunkRef { digest, pack_id, offset, stored_length, zstd })
        },
    );
    let entry = prop_oneof![1 => Just(SlotEntry::Hole), 2 => chunk];
    prop::collection::vec(entry, 0..40).prop_map(|entries| Segment { entries })
}

fn any_packs() -> impl Strategy<Value = Vec<PackRef>> {
    let row = (any_digest(), any::<u64>(), any::<u32>());
    prop::collection::btree_map(any_pack_id(), row, 1..6).prop_map(|rows| {
        let row =
            |(pack_id, (digest, length, footer_length))| PackRef { pack_id, digest, length, footer_length };
        rows.into_iter().map(row).collect()
    })
}

pub(crate) fn any_manifest() -> impl Strategy<Value = Manifest> {
    let segment = (any_digest(), any::<prop::sample::Index>(), any::<[u32; 4]>(), any::<bool>());
    let segments = prop::collection::vec(prop::option::of(segment), 0..12);
    let sums = any::<(u64, u64, u64)>();
    let parent = prop::option::of(any::<u8>());
    (any_packs(), segments, sums, parent, any::<[u8; 16]>(), 1u64..=1 << 30).prop_map(
        |(packs, segments, sums, parent, key_id, rest)| {
            let resolve = |(digest, index, numbers, zstd): (_, prop::sample::Index, _, _)| {
                let [offset, stored_length, plain_length, crc32] = numbers;
                let pack_id = packs[index.index(packs.len())].pack_id;
                SegmentRef { digest, pack_id, offset, stored_length, plain_length, crc32, zstd }
            };
            let segments: Vec<_> = segments.into_iter().map(|segment| segment.map(resolve)).collect();
            let disk_size = (segments.len() as u64).checked_sub(1).map_or(0, |full| (full << 30) + rest);
            let header = ManifestHeader {
                target_id: TargetId::from_uuid(uuid(1)),
                lineage_id: LineageId::from_uuid(uuid(2)),
                snapshot_id: SnapshotId::from_uuid(uuid(3)),
                parent: parent.map(|byte| SnapshotId::from_uuid(uuid(byte))),
                key_id,
                geometry: Geometry::new(disk_size, 1 << 20).unwrap(),
                chunk_count: sums.0,
                chunks_stored_count: sums.1,
                bytes_stored: sums.2,
            };
            Manifest { header, segments, packs }
        },
    )
}
