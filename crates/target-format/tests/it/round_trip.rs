use proptest::prelude::*;
use target_format::{BlobKind, Digest, Manifest, PackBuilder, PackFooter, PackHeader, Segment, seal, unseal};

use crate::make::{any_manifest, any_segment, make_header};

proptest! {
    #[test]
    fn a_segment_comes_back(segment in any_segment()) {
        prop_assert_eq!(Segment::decode(&segment.encode()).unwrap(), segment);
    }

    #[test]
    fn a_manifest_comes_back(manifest in any_manifest()) {
        prop_assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
    }

    #[test]
    fn every_blob_of_a_pack_comes_back(blobs in prop::collection::vec((any::<bool>(), any::<Vec<u8>>(), 1usize..50), 0..20)) {
        let mut builder = PackBuilder::new(&make_header());
        let mut expected = Vec::new();
        for (is_chunk, part, times) in &blobs {
            let plain = part.repeat(*times);
            let kind = if *is_chunk { BlobKind::Chunk } else { BlobKind::Segment };
            expected.push((kind, builder.append(kind, &seal(&plain)), plain));
        }
        prop_assert_eq!(builder.is_empty(), blobs.is_empty());
        let pack = builder.finish();
        prop_assert_eq!(pack.digest, Digest::of(&pack.bytes));
        let footer_at = pack.bytes.len() - pack.footer_length as usize;
        let (header, footer) = (&pack.bytes[..PackHeader::LENGTH], &pack.bytes[footer_at..]);
        prop_assert_eq!(PackHeader::decode(header).unwrap(), make_header());
        let footer = PackFooter::decode(header, footer, pack.bytes.len() as u64).unwrap();
        prop_assert_eq!(footer.body_digest, Digest::of(&pack.bytes[PackHeader::LENGTH..footer_at]));
        prop_assert_eq!(footer.entries.len(), expected.len());
        for (entry, (kind, offset, plain)) in footer.entries.iter().zip(expected) {
            prop_assert_eq!((entry.kind, entry.offset), (kind, offset));
            let stored = &pack.bytes[offset as usize..][..entry.stored_length as usize];
            prop_assert_eq!(crc32fast::hash(stored), entry.crc32);
            prop_assert_eq!(&*unseal(stored, entry.plain_length, entry.zstd).unwrap(), plain);
        }
    }
}

#[test]
fn the_entry_of_a_chunk_is_found_by_its_offset() {
    let mut builder = PackBuilder::new(&make_header());
    let offsets =
        [b"one".as_slice(), b"two", b"three"].map(|plain| builder.append(BlobKind::Chunk, &seal(plain)));
    let pack = builder.finish();
    let footer_at = pack.bytes.len() - pack.footer_length as usize;
    let footer =
        PackFooter::decode(&pack.bytes[..64], &pack.bytes[footer_at..], pack.bytes.len() as u64).unwrap();
    assert_eq!(offsets, [64, 67, 70]);
    assert_eq!(offsets.map(|offset| footer.entry_at(offset).unwrap().plain_length), [3, 3, 5]);
    assert_eq!(footer.entry_at(65), None);
}
