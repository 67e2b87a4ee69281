//! How a disk is cut into slots, and slots into segments.

use std::ops::Range;

/// A segment of a manifest covers this much of the disk, so one changed slot rewrites 1 024 entries, not a million.
const SEGMENT_SPAN: u64 = 1 << 30;
const CHUNK_SIZE_MIN: u32 = 4 << 10;
const CHUNK_SIZE_MAX: u32 = 16 << 20;
/// 64 TiB of 1 MiB slots.
const SLOT_COUNT_MAX: u64 = 1 << 26;

/// Size of a disk and of its slots.
///
/// Invariant: the chunk size is a power of two from 4 KiB to 16 MiB; at most 2^26 slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    disk_size: u64,
    chunk_size: u32,
}

impl Geometry {
    /// `None` for sizes that the format does not allow.
    #[must_use]
    pub fn new(disk_size: u64, chunk_size: u64) -> Option<Self> {
        let chunk_size = u32::try_from(chunk_size).ok()?;
        let size_fits =
            (CHUNK_SIZE_MIN..=CHUNK_SIZE_MAX).contains(&chunk_size) && chunk_size.is_power_of_two();
        let fits = size_fits && disk_size.div_ceil(u64::from(chunk_size)) <= SLOT_COUNT_MAX;
        fits.then_some(Self { disk_size, chunk_size })
    }

    /// Units: bytes.
    #[must_use]
    pub const fn disk_size(self) -> u64 {
        self.disk_size
    }

    /// Units: bytes.
    #[must_use]
    pub const fn chunk_size(self) -> u32 {
        self.chunk_size
    }

    /// Slots of the disk; the last may be partial.
    #[must_use]
    pub fn slot_count(self) -> u64 {
        self.disk_size.div_ceil(u64::from(self.chunk_size))
    }

    /// Bytes in slot `slot`; 0 behind the end.
    #[must_use]
    pub fn slot_length(self, slot: u64) -> u32 {
        let offset = slot.saturating_mul(u64::from(self.chunk_size));
        let rest = self.disk_size.saturating_sub(offset).min(u64::from(self.chunk_size));
        u32::try_from(rest).expect("at most a chunk")
    }

    /// Slots in all segments but perhaps the last.
    #[must_use]
    pub fn segment_slot_count(self) -> u64 {
        SEGMENT_SPAN / u64::from(self.chunk_size)
    }

    /// Segments of the disk.
    #[must_use]
    pub fn segment_count(self) -> u32 {
        u32::try_from(self.slot_count().div_ceil(self.segment_slot_count())).expect("at most 2^26 slots")
    }

    /// The slots of segment `segment`.
    #[must_use]
    pub fn segment_slots(self, segment: u32) -> Range<u64> {
        let start = (u64::from(segment) * self.segment_slot_count()).min(self.slot_count());
        start..(start + self.segment_slot_count()).min(self.slot_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_ending_inside_a_slot_has_a_partial_last_slot() {
        let geometry = Geometry::new(10_000, 4096).unwrap();
        assert_eq!(geometry.slot_count(), 3);
        assert_eq!([0, 1, 2, 3, u64::MAX].map(|slot| geometry.slot_length(slot)), [4096, 4096, 1808, 0, 0]);
        assert_eq!((geometry.segment_count(), geometry.segment_slots(0)), (1, 0..3));
    }

    #[test]
    fn a_segment_covers_a_gibibyte() {
        let geometry = Geometry::new((2 << 30) + 1, 1 << 20).unwrap();
        assert_eq!(geometry.segment_count(), 3);
        assert_eq!(
            [0, 1, 2, 3].map(|segment| geometry.segment_slots(segment)),
            [0..1024, 1024..2048, 2048..2049, 2049..2049]
        );
    }

    #[test]
    fn impossible_sizes_are_refused_and_an_empty_disk_is_not() {
        for (disk_size, chunk_size) in
            [(1, 0), (1, 4095), (1, 12288), (1, 32 << 20), (u64::MAX, 1 << 20), (1, u64::MAX)]
        {
            assert_eq!(Geometry::new(disk_size, chunk_size), None);
        }
        let empty = Geometry::new(0, 1 << 20).unwrap();
        assert_eq!((empty.slot_count(), empty.segment_count()), (0, 0));
    }
}
