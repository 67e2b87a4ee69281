//! What the API shows of what the catalog holds. Pure.

mod dead_letter;
mod restore;
mod saga;
mod snapshot;
mod trust;
mod workload;

pub(super) use dead_letter::{show_dead_letter, show_dead_letter_summary};
pub(super) use restore::{show_restore, show_restore_summary};
pub(super) use saga::{show_saga, show_saga_summary};
pub(super) use snapshot::{show_snapshot, show_snapshot_summary};
pub(super) use trust::show_trust;
pub(super) use workload::{show_workload, show_workload_summary};

use model::{ByteCount, ProjectId, Timestamp};
use rest_api::Link;

/// Where an object is found, relative to the endpoint's host: behind a proxy we do not know our own name.
fn make_links(project: &ProjectId, noun: &str, id: &dyn std::fmt::Display) -> Vec<Link> {
    let link = |rel: &str, href: String| Link { rel: rel.to_owned(), href };
    vec![
        link("self", format!("/v1/{project}/{noun}/{id}")),
        link("bookmark", format!("/{project}/{noun}/{id}")),
    ]
}

/// Whole percent, rounded down, so that 100 means done.
fn percent(done: ByteCount, total: ByteCount) -> u32 {
    let percent = (u128::from(done.0) * 100).checked_div(u128::from(total.0)).unwrap_or(0);
    u32::try_from(percent.min(100)).unwrap_or(100)
}

/// Whole seconds from the start to the end, or to the last change while it runs.
fn seconds(created_at: Timestamp, finished_at: Option<Timestamp>, updated_at: Timestamp) -> u64 {
    finished_at.unwrap_or(updated_at).since(created_at).as_secs()
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_percent_means_done() {
        for (done, total, expected) in
            [(0, 0, 0), (0, 10, 0), (999, 1000, 99), (1000, 1000, 100), (5, 4, 100)]
        {
            assert_eq!(percent(ByteCount(done), ByteCount(total)), expected, "{done} of {total}");
        }
        assert_eq!(percent(ByteCount(u64::MAX), ByteCount(u64::MAX)), 100);
    }
}
