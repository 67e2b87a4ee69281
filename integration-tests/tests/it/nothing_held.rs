//! No queue holds a message unacked while a transfer runs.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration_tests::wait;
use integration_tests::world::Spec;

use crate::fixture::{Shop, Sizes};

/// The looks at the broker while bytes move. Its counts are renewed every few seconds at most.
const LOOKS: usize = 40;

#[test]
fn no_queue_holds_a_message_unacked_while_a_transfer_runs() -> Result<()> {
    let spec = Spec { rate_limit_mib_per_s: Some(3), ..Spec::default() };
    let shop = Shop::open_with(spec, Sizes { web_mib: 60, db_mib: 8 })?;
    let snapshot = shop.world.start_snapshot(shop.workload, true)?;
    shop.world.wait_for_transfer_in_progress(snapshot)?;
    let mut looks = 0;
    // One look may see a heartbeat on its way; only what is held from look to look counts.
    let mut held_in_a_row = 0;
    let mut longest = 0;
    wait::until(Duration::from_secs(120), "enough looks were taken", || {
        let status = shop.world.block_on(shop.world.client.show_snapshot(snapshot))?.summary.status;
        let queues = shop.world.block_on(shop.world.broker.queues())?;
        let held: Vec<_> = queues.iter().filter(|queue| queue.messages_unacknowledged > 0).collect();
        let work_held =
            held.iter().any(|queue| !queue.name.ends_with(".hb") && !queue.name.ends_with(".ctl"));
        held_in_a_row = if work_held { held_in_a_row + 1 } else { 0 };
        longest = longest.max(held_in_a_row);
        looks += usize::from(status == "uploading");
        Ok((looks >= LOOKS || status == "available").then_some(()))
    })?;
    ensure!(looks >= 10, "the transfer was seen running only {looks} times");
    ensure!(longest < 5, "a message was held over {longest} looks");
    let snapshot = shop.world.wait_for_snapshot(snapshot)?;
    ensure!(snapshot.summary.status == "available", "{:?}", snapshot.summary.error_msg);
    Ok(())
}
