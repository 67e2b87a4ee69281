//! Is what is recorded as unchanged really so? A random sample of it is read all the same and compared with the parent, in
//! every run: a bitmap or a storage that forgets changes would else spoil every snapshot from here on, unseen. Attempts of
//! the same snapshot take the same sample, so that none forgets what an earlier one found.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use chunk_store::BackupSession;
use disk::DiskReader;
use model::SnapshotId;

use super::{Means, slots};
use crate::outcome::Halt;

/// One of so many unchanged slots is read, and at least, and at most, so many. With slots of 1 MiB at most 64 MiB.
const ONE_OF: u64 = 256;
const SLOTS_MIN: u64 = 8;
const SLOTS_MAX: u64 = 64;

/// What all audits of the process found.
#[derive(Debug, Default)]
pub struct AuditFigures {
    /// Slots that were compared.
    pub slots: AtomicU64,
    /// Slots that had changed although they were recorded as unchanged.
    pub mismatches: AtomicU64,
}

/// Compares a sample of `candidates` with the parent; gives the first slot that differs.
///
/// Errors: the disk cannot be read. Cancel safe: yes.
pub(super) async fn find_lie(
    means: &Means,
    reader: &DiskReader,
    session: &BackupSession,
    candidates: &[Range<u64>],
    snapshot_id: SnapshotId,
) -> Result<Option<u64>, Halt> {
    let chunk_size = slots::chunk_size(session);
    let all = candidates.iter().map(|range| range.end - range.start).sum::<u64>();
    for number in 0..(all / ONE_OF).clamp(SLOTS_MIN, SLOTS_MAX).min(all) {
        let slot = pick(candidates, all, fraction(snapshot_id, number));
        let length = session.slot_length(slot);
        means.rate.take(length).await;
        let bytes = reader.read(slot * chunk_size, length).await;
        let bytes = bytes.map_err(|error| Halt::failed(error.failure()))?;
        let is_same = session.is_as_parent(slot, bytes).await;
        means.audit.slots.fetch_add(1, Ordering::Relaxed);
        if !is_same.map_err(|error| Halt::failed(error.failure()))? {
            means.audit.mismatches.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

/// In `0.0..1.0`: another for each number, the same for each attempt.
fn fraction(snapshot_id: SnapshotId, number: u64) -> f64 {
    let seed = [snapshot_id.uuid().as_bytes().as_slice(), &number.to_le_bytes()].concat();
    let [a, b, c, d, ..] = *blake3::hash(&seed).as_bytes();
    f64::from(u32::from_le_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

/// The slot at `fraction` of all `count` slots of `ranges`.
fn pick(ranges: &[Range<u64>], count: u64, fraction: f64) -> u64 {
    assert!(count > 0, "there is something to pick from");
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // at most 2^27
    let mut left = ((count as f64 * fraction) as u64).min(count - 1);
    for range in ranges {
        let length = range.end - range.start;
        if left < length {
            return range.start + left;
        }
        left -= length;
    }
    unreachable!("{count} slots are in the ranges")
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // one range is what is meant
mod tests {
    use runtime::Entropy;

    use super::*;

    #[test]
    fn a_sample_is_the_same_for_each_attempt_and_another_for_each_snapshot() {
        let sample = |id| (0..64).map(|number| fraction(id, number)).collect::<Vec<_>>();
        let (one, other) = (SnapshotId::from_uuid(Entropy.uuid()), SnapshotId::from_uuid(Entropy.uuid()));
        assert_eq!(sample(one), sample(one));
        assert_ne!(sample(one), sample(other));
        let mean = sample(one).iter().sum::<f64>() / 64.0;
        assert!(
            (0.2..0.8).contains(&mean) && sample(one).iter().all(|&at| (0.0..1.0).contains(&at)),
            "{mean}"
        );
    }

    #[test]
    fn each_slot_may_be_picked_and_no_other() {
        let ranges = [2..4, 7..8];
        let picked = [0.0, 0.33, 0.34, 0.67, 0.999].map(|fraction| pick(&ranges, 3, fraction));
        assert_eq!(picked, [2, 2, 3, 7, 7]);
        assert_eq!(pick(&[5..6], 1, 0.999_999), 5);
    }
}
