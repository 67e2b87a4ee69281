//! How much memory transfers may hold at once, whatever the size of their disks.
//!
//! A backup holds at most 16 slots of 1 MiB on their way from the disk, 16 and the pool's on their way into a pack, and
//! two packs of 64 MiB (one fills, one is put): 16 + 16 + cores + 128, about 176 MiB at 16 cores. A restore holds 16 reads
//! of at most 8 MiB from the target and what is being opened of them: 160 MiB. Larger chunks need more: the budget is
//! asked with the real size of a chunk.

use std::sync::Arc;

use model::ByteCount;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A backup with chunks of 1 MiB.
pub const BACKUP_MEMORY: ByteCount = ByteCount::mib(176);
/// A restore with chunks of 1 MiB.
pub const RESTORE_MEMORY: ByteCount = ByteCount::mib(160);

/// Slots of a backup in flight besides its packs.
const SLOTS_IN_FLIGHT: u64 = 48;

/// Memory for all transfers of this process. Cheap to clone; first come, first served.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    mebibytes: Arc<Semaphore>,
    all: u32,
}

/// A share of the budget; given back when dropped.
#[derive(Debug)]
pub struct Admission(#[allow(dead_code)] OwnedSemaphorePermit);

impl ByteBudget {
    /// A budget of `mebibytes`.
    #[must_use]
    pub fn new(mebibytes: u32) -> Self {
        Self { mebibytes: Arc::new(Semaphore::new(mebibytes as usize)), all: mebibytes }
    }

    /// How much there is.
    #[must_use]
    pub fn all(&self) -> ByteCount {
        ByteCount::mib(self.all.into())
    }

    /// How much of it transfers hold now.
    #[must_use]
    pub fn used(&self) -> ByteCount {
        let free = ByteCount::mib(self.mebibytes.available_permits() as u64);
        ByteCount(self.all().0.saturating_sub(free.0))
    }

    /// Waits until `bytes` are free. More than there is asks for all there is: a single huge transfer runs alone.
    ///
    /// Cancel safe: yes; it loses its place in the row.
    pub async fn admit(&self, bytes: ByteCount) -> Admission {
        let share = u32::try_from(bytes.0.div_ceil(1 << 20)).unwrap_or(u32::MAX).min(self.all);
        let permit = Arc::clone(&self.mebibytes).acquire_many_owned(share).await;
        Admission(permit.expect("the semaphore is never closed"))
    }
}

/// What a backup with chunks of `chunk_size` may hold.
#[must_use]
pub fn backup_memory(chunk_size: ByteCount) -> ByteCount {
    ByteCount(BACKUP_MEMORY.0.max(ByteCount::mib(128).0 + SLOTS_IN_FLIGHT.saturating_mul(chunk_size.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_third_transfer_waits_for_the_first_to_end() {
        let budget = ByteBudget::new(512);
        let first = budget.admit(BACKUP_MEMORY).await;
        let _second = budget.admit(BACKUP_MEMORY).await;
        assert_eq!((budget.used(), budget.all()), (ByteCount::mib(352), ByteCount::mib(512)));
        let mut third = Box::pin(budget.admit(BACKUP_MEMORY));
        assert!(futures::poll!(&mut third).is_pending());
        drop(first);
        assert!(futures::poll!(&mut third).is_ready());
    }

    #[tokio::test]
    async fn a_transfer_larger_than_the_budget_runs_alone() {
        let budget = ByteBudget::new(256);
        let all = budget.admit(ByteCount::gib(4)).await;
        let mut next = Box::pin(budget.admit(ByteCount::mib(1)));
        assert!(futures::poll!(&mut next).is_pending());
        drop(all);
        assert!(futures::poll!(&mut next).is_ready());
    }
}
