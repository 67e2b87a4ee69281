//! Which slots of a disk must be read or written, given ranges of bytes.

use std::ops::Range;

use chunk_store::BackupSession;
use model::Extent;

/// The length of a slot. Slot 0 is of full length unless it is the only one.
///
/// Units: bytes; at least 1, also of an empty disk.
pub(super) fn chunk_size(session: &BackupSession) -> u64 {
    session.slot_length(0).max(1)
}

/// The slots that `extents` touch.
///
/// Shape: ascending, disjoint, none empty, not adjacent; whatever the order of `extents`. Units: slots of `chunk_size`.
pub(super) fn touched(extents: &[Extent], chunk_size: u64, slot_count: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = extents
        .iter()
        .filter(|extent| extent.length > 0)
        .map(|extent| extent.offset / chunk_size..extent.end().div_ceil(chunk_size).min(slot_count))
        .filter(|range| !range.is_empty())
        .collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// What lies between `ranges` in `0..end`. `ranges` are ascending and disjoint.
pub(super) fn gaps(ranges: &[Range<u64>], end: u64) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    let mut at = 0;
    for range in ranges {
        if at < range.start {
            gaps.push(at..range.start);
        }
        at = at.max(range.end);
    }
    if at < end {
        gaps.push(at..end);
    }
    gaps
}

/// What is in both. Both are ascending and disjoint, and so is what is given.
pub(super) fn common(left: &[Range<u64>], right: &[Range<u64>]) -> Vec<Range<u64>> {
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    let mut both = Vec::new();
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let range = one.start.max(other.start)..one.end.min(other.end);
        if !range.is_empty() {
            both.push(range);
        }
        if one.end < other.end {
            left.next();
        } else {
            right.next();
        }
    }
    both
}

/// What of `range` no extent of `zeroes` covers. `zeroes` are ascending and disjoint.
pub(super) fn outside(range: Range<u64>, zeroes: &[Extent]) -> Vec<Range<u64>> {
    let mut rest = Vec::new();
    let mut at = range.start;
    let first = zeroes.partition_point(|extent| extent.end() <= range.start);
    for extent in zeroes[first..].iter().take_while(|extent| extent.offset < range.end) {
        if at < extent.offset {
            rest.push(at..extent.offset);
        }
        at = at.max(extent.end());
    }
    if at < range.end {
        rest.push(at..range.end);
    }
    rest
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // one range is what is meant
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn make(extents: &[(u64, u64)]) -> Vec<Extent> {
        extents.iter().map(|(offset, length)| Extent { offset: *offset, length: *length }).collect()
    }

    #[test]
    fn slots_are_touched_by_their_first_and_last_byte() {
        assert_eq!(touched(&make(&[(9, 1), (20, 1)]), 10, 4), [0..1, 2..3]);
        assert_eq!(touched(&make(&[(9, 2)]), 10, 4), [0..2]);
        assert_eq!(touched(&make(&[(30, 100)]), 10, 4), [3..4]);
        assert_eq!(touched(&make(&[(25, 5), (0, 20)]), 10, 4), [0..3]);
        assert_eq!(touched(&make(&[(100, 5)]), 10, 4), []);
    }

    #[test]
    fn gaps_are_what_is_left() {
        assert_eq!(gaps(&[1..2, 3..4], 5), [0..1, 2..3, 4..5]);
        assert_eq!(gaps(&[], 2), [0..2]);
        assert_eq!(gaps(&[0..2], 2), []);
    }

    #[test]
    fn what_is_zero_already_needs_no_zeroes() {
        assert_eq!(outside(0..10, &make(&[(2, 3), (8, 9)])), [0..2, 5..8]);
        assert_eq!(outside(3..4, &make(&[(2, 3)])), []);
        assert_eq!(outside(0..3, &[]), [0..3]);
    }

    #[test]
    fn common_is_what_is_in_both() {
        assert_eq!(common(&[0..4, 6..9], &[2..7, 8..20]), [2..4, 6..7, 8..9]);
        assert_eq!(common(&[0..4], &[4..5]), []);
        assert_eq!(common(&[], &[4..5]), []);
    }

    proptest! {
        #[test]
        fn each_byte_is_touched_zero_or_in_a_gap(cuts in proptest::collection::btree_set(0u64..200, 0..20)) {
            let cuts: Vec<u64> = cuts.into_iter().collect();
            let extents: Vec<Extent> = cuts.chunks_exact(2)
                .map(|pair| Extent { offset: pair[0], length: pair[1] - pair[0] }).collect();
            let slots = touched(&extents, 16, 13);
            let holes = gaps(&slots, 13);
            for byte in 0..208u64 {
                let slot = byte / 16;
                let is_data = extents.iter().any(|extent| (extent.offset..extent.end()).contains(&byte));
                let in_slots = slots.iter().any(|range| range.contains(&slot));
                prop_assert!(in_slots || !is_data);
                prop_assert_eq!(in_slots, !holes.iter().any(|range| range.contains(&slot)));
            }
            for byte in 0..200u64 {
                let outside = outside(0..200, &extents);
                let is_zero = extents.iter().any(|extent| (extent.offset..extent.end()).contains(&byte));
                prop_assert_eq!(is_zero, !outside.iter().any(|range| range.contains(&byte)));
            }
        }
    }
}
