//! What lies on targets already. A difference here means a new format version, or `UPDATE=1` while the format is unstable.

use model::{LineageId, PackId, SnapshotId, TargetId};
use target_format::{
    BlobKind, ChunkRef, Digest, Geometry, Manifest, ManifestHeader, PackBuilder, PackRef, Segment,
    SegmentRef, SlotEntry, seal,
};

use crate::make::{make_header, uuid};

#[track_caller]
fn check_golden(name: &str, bytes: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(name);
    let lines: Vec<String> =
        bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    let text = lines.join("\n") + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, text).unwrap();
    } else {
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{name} differs");
    }
}

fn make_segment() -> Segment {
    let chunk = |digest, offset, zstd| {
        let pack_id = PackId::from_uuid(uuid(0x33));
        SlotEntry::Chunk(ChunkRef {
            digest: Digest::new([digest; 32]),
            pack_id,
            offset,
            stored_length: 9,
            zstd,
        })
    };
    Segment { entries: vec![chunk(0xaa, 64, false), SlotEntry::Hole, chunk(0xbb, 73, true)] }
}

#[test]
fn the_bytes_of_a_segment_stay() {
    check_golden("segment.hex", &make_segment().encode());
}

#[test]
fn the_bytes_of_a_pack_stay() {
    let mut builder = PackBuilder::new(&make_header());
    builder.append(BlobKind::Chunk, &seal(b"Hold fast"));
    builder.append(BlobKind::Segment, &seal(b"not compressed"));
    check_golden("pack.hex", &builder.finish().bytes);
}

#[test]
fn the_bytes_of_a_manifest_stay() {
    let plain = make_segment().encode();
    let segment = SegmentRef {
        digest: Digest::of(&plain),
        pack_id: PackId::from_uuid(uuid(0x33)),
        offset: 82,
        stored_length: 200,
        plain_length: 184,
        crc32: 0x0102_0304,
        zstd: true,
    };
    let pack = |byte| PackRef {
        pack_id: PackId::from_uuid(uuid(byte)),
        digest: Digest::new([byte; 32]),
        length: 0x1234,
        footer_length: 128,
    };
    let manifest = Manifest {
        header: ManifestHeader {
            target_id: TargetId::from_uuid(uuid(0x11)),
            lineage_id: LineageId::from_uuid(uuid(0x22)),
            snapshot_id: SnapshotId::from_uuid(uuid(0x44)),
            parent: Some(SnapshotId::from_uuid(uuid(0x55))),
            key_id: [0x66; 16],
            geometry: Geometry::new((1 << 30) + 5, 1 << 20).unwrap(),
            chunk_count: 2,
            chunks_stored_count: 1,
            bytes_stored: 0x1234,
        },
        segments: vec![Some(segment), None],
        packs: vec![pack(0x33), pack(0x77)],
    };
    check_golden("manifest.hex", &manifest.encode());
}
