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
    let mut extents = Vec::new();
    let mut offset = 0;
    while offset < size {
        let statuses = client.block_status(offset, size - offset).await?;
        for status in &statuses {
            assert_eq!(status.offset, offset, "statuses follow each other without a gap");
            offset += status.length;
            if is_wanted(status) {
                append(&mut extents, Extent { offset: status.offset, length: status.length });
            }
        }
    }
    Ok(extents)
}

/// Appends an extent, joined to the last one where they touch.
fn append(extents: &mut Vec<Extent>, next: Extent) {
    match extents.last_mut() {
        Some(last) if last.end() == next.offset => last.length += next.length,
        _ => extents.push(next),
    }
}
