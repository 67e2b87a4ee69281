//! Watches the broker's queues beside the demo: what each carried, and whether anything was ever held unacked for long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use broker_admin::QueueInfo;

use crate::world::World;

/// What a queue did so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Carried {
    pub(super) messages: u64,
    pub(super) redelivered: u64,
    /// The longest time over which every look found a message unacked and none acked meanwhile. A quorum queue renews its
    /// counts every 5 s, so a message caught in passing shows as up to that.
    pub(super) held_max: Duration,
    acknowledged: u64,
    held_since: Option<Instant>,
}

/// Figures of all queues, over the whole run.
#[derive(Debug, Default)]
pub(super) struct QueueWatch(BTreeMap<String, Carried>);

impl QueueWatch {
    /// Looks once.
    ///
    /// Errors: the broker does not answer.
    pub(super) fn look(&mut self, world: &World) -> Result<()> {
        let now = Instant::now();
        for queue in world.block_on(world.broker.queues())? {
            self.take(&queue, now);
        }
        Ok(())
    }

    fn take(&mut self, queue: &QueueInfo, now: Instant) {
        let carried = self.0.entry(queue.name.clone()).or_default();
        carried.messages = queue.published_total;
        carried.redelivered = queue.redelivered_total;
        let moved = carried.acknowledged != queue.acknowledged_total;
        carried.acknowledged = queue.acknowledged_total;
        if queue.messages_unacknowledged == 0 || moved {
            carried.held_since = None;
            return;
        }
        let since = *carried.held_since.get_or_insert(now);
        carried.held_max = carried.held_max.max(now.duration_since(since));
    }

    /// The queues that carried something, by name.
    pub(super) fn carried(&self) -> impl Iterator<Item = (&str, &Carried)> {
        self.0
            .iter()
            .filter(|(_, carried)| carried.messages > 0)
            .map(|(name, carried)| (name.as_str(), carried))
    }

    /// The number of messages in dead-letter queues.
    #[must_use]
    pub(super) fn dead(&self) -> u64 {
        self.0.iter().filter(|(name, _)| name.contains(".dead.")).map(|(_, carried)| carried.messages).sum()
    }
}
