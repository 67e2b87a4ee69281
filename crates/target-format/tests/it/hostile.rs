use proptest::prelude::*;
use target_format::{
    BlobKind, LineageRecord, Manifest, PackBuilder, PackFooter, PackHeader, Record as _, Segment,
    SnapshotMarker, SnapshotRecord, WorkloadRecord, seal,
};

use crate::make::{any_manifest, any_segment, make_header};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, length: u64, split in any::<prop::sample::Index>()) {
        let (head, tail) = bytes.split_at(split.index(bytes.len() + 1));
        let _ = PackHeader::decode(&bytes);
        let _ = PackFooter::decode(head, tail, length);
        let _ = Segment::decode(&bytes);
        let _ = Manifest::decode(&bytes);
        let _ = SnapshotRecord::decode(&bytes);
        let _ = WorkloadRecord::decode(&bytes);
        let _ = LineageRecord::decode(&bytes);
        let _ = SnapshotMarker::decode(&bytes);
    }

    /// Behind the magic and with lengths that lie, where the checks are.
    #[test]
    fn an_altered_segment_is_another_segment_or_refused(
        segment in any_segment(), place in any::<prop::sample::Index>(), value: u8, cut in 0usize..100
    ) {
        let mut bytes = segment.encode();
        let place = place.index(bytes.len());
        bytes[place] = value;
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(50)));
        // A segment's own digest is in the manifest; here only: no panic, and one spelling for each value.
        if let Ok(decoded) = Segment::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn an_altered_manifest_is_refused(manifest in any_manifest(), place in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut bytes = manifest.encode();
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        prop_assert!(Manifest::decode(&bytes).is_err());
    }

    #[test]
    fn a_manifest_that_lies_under_a_right_digest_is_another_manifest_or_refused(
        manifest in any_manifest(), place in any::<prop::sample::Index>(), value: u8
    ) {
        let mut bytes = manifest.encode();
        let content = bytes.len() - 40;
        bytes[place.index(content)] = value;
        let digest = blake3::hash(&bytes[..content]);
        bytes[content..content + 32].copy_from_slice(digest.as_bytes());
        if let Ok(decoded) = Manifest::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn an_altered_header_or_footer_of_a_pack_is_refused(
        plains in prop::collection::vec(any::<Vec<u8>>(), 0..5), place in any::<prop::sample::Index>(), flip in 1u8..
    ) {
        let mut builder = PackBuilder::new(&make_header());
        for plain in &plains {
            builder.append(BlobKind::Chunk, &seal(plain));
        }
        let pack = builder.finish();
        let footer_at = pack.bytes.len() - pack.footer_length as usize;
        let mut ends = [&pack.bytes[..64], &pack.bytes[footer_at..]].concat();
        prop_assert!(PackFooter::decode(&ends[..64], &ends[64..], pack.bytes.len() as u64).is_ok());
        prop_assert!(PackFooter::decode(&ends[..64], &ends[64..], pack.bytes.len() as u64 + 1).is_err());
        let place = place.index(ends.len());
        ends[place] ^= flip;
        prop_assert!(PackFooter::decode(&ends[..64], &ends[64..], pack.bytes.len() as u64).is_err());
    }
}

#[test]
fn another_version_is_named_as_such() {
    let mut bytes = make_header().encode();
    bytes[8] = 1;
    let error = PackHeader::decode(&bytes).unwrap_err().to_string();
    assert_eq!(error, "the pack has format 1, and this program reads format 0");
}
