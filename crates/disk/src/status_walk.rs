//! A walk over a whole disk by block status, in answers of any granularity, to extents that do not touch.

use model::Extent;
use nbd::{Client, StatusExtent};

/// The extents of the export whose status `is_wanted`.
///
/// Shape: ascending, disjoint, not touching. Cancel safe: yes. Ends: an answer is never empty.
pub(crate) async fn walk(
    client: &Client,
    is_wanted: impl Fn(&StatusExtent) -> bool,
) -> Result<Vec<Extent>, nbd::Error> {
    let size = client.export().size;
    let mut walked = Walked::default();
    while walked.until < size {
        for status in client.block_status(walked.until, size - walked.until).await? {
            walked.take(Extent { offset: status.offset, length: status.length }, is_wanted(&status));
        }
    }
    Ok(walked.wanted)
}

/// The extents of the export that its dirty bitmap says may have changed. As for [`walk`].
pub(crate) async fn walk_dirty(client: &Client) -> Result<Vec<Extent>, nbd::Error> {
    let size = client.export().size;
    let mut walked = Walked::default();
    while walked.until < size {
        for status in client.dirty_status(walked.until, size - walked.until).await? {
            walked.take(Extent { offset: status.offset, length: status.length }, status.is_dirty);
        }
    }
    Ok(walked.wanted)
}

/// How far a walk is, and what it found.
#[derive(Debug, Default)]
struct Walked {
    until: u64,
    wanted: Vec<Extent>,
}

impl Walked {
    /// Takes the next extent, and keeps it, joined to the last one where they touch, if it is wanted.
    fn take(&mut self, next: Extent, is_wanted: bool) {
        assert_eq!(next.offset, self.until, "statuses follow each other without a gap");
        self.until = next.end();
        match self.wanted.last_mut() {
            _ if !is_wanted => {}
            Some(last) if last.end() == next.offset => last.length += next.length,
            _ => self.wanted.push(next),
        }
    }
}
