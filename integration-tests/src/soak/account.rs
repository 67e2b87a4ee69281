//! What happened, in numbers, and what should not have.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

/// More of the same tell no more.
const FINDINGS_SHOWN_MAX: usize = 40;
/// The broker may be busy, or on its way down.
const SAMPLE_DEADLINE: Duration = Duration::from_secs(2);

/// Counts and findings of one run.
#[derive(Debug, Default)]
pub(super) struct Account {
    counts: BTreeMap<String, u64>,
    findings: Vec<String>,
    /// As the broker said last; it counts from zero after each start.
    redelivered: BTreeMap<String, u64>,
    delivered: BTreeMap<String, u64>,
}

impl Account {
    /// One more of these.
    pub(super) fn count(&mut self, what: String) {
        self.add(what, 1);
    }

    /// Some more of these.
    pub(super) fn add(&mut self, what: String, number: u64) {
        *self.counts.entry(what).or_default() += number;
    }

    /// Something that must not be.
    pub(super) fn find(&mut self, finding: String) {
        self.findings.push(finding);
    }

    /// Whether nothing was found.
    pub(super) fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Asks the broker how much it carried since the last time. It forgets that when it ends.
    pub(super) fn sample_queues(&mut self, world: &World) {
        let asked =
            world.block_on(async { tokio::time::timeout(SAMPLE_DEADLINE, world.broker.queues()).await });
        let Ok(Ok(queues)) = asked else { return };
        let (mut delivered, mut redelivered) = (0, 0);
        for queue in queues {
            delivered += increase(&mut self.delivered, &queue.name, queue.delivered_total);
            redelivered += increase(&mut self.redelivered, &queue.name, queue.redelivered_total);
        }
        self.add("messages delivered".to_owned(), delivered);
        self.add("messages redelivered".to_owned(), redelivered);
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (what, number) in &self.counts {
            let shown = if what.starts_with("bytes") {
                model::ByteCount(*number).to_string()
            } else {
                number.to_string()
            };
            text.push_str(&format!("   {what:<44} {shown:>12}\n"));
        }
        for finding in self.findings.iter().take(FINDINGS_SHOWN_MAX) {
            text.push_str(&format!("   FOUND {finding}\n"));
        }
        if self.findings.len() > FINDINGS_SHOWN_MAX {
            text.push_str(&format!("   and {} more\n", self.findings.len() - FINDINGS_SHOWN_MAX));
        }
        text
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({ "counts": self.counts, "findings": self.findings })
    }
}

fn increase(seen: &mut BTreeMap<String, u64>, queue: &str, now: u64) -> u64 {
    let before = seen.insert(queue.to_owned(), now).unwrap_or_default();
    if now < before { now } else { now - before }
}
