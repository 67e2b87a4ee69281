//! Each of our processes is killed in the middle of a snapshot on the real cloud; the snapshot ends whole, and what is around
//! the instances is as before.

use anyhow::{Context as _, Result, ensure};
use openstack_tests::estate::Estate;
use openstack_tests::phase::Phase;

/// Who dies.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Controller,
    Dmapi,
    Datamover,
    Broker,
}

impl Victim {
    fn kill_and_start_again(self, estate: &mut Estate) -> Result<()> {
        let world = &mut estate.site.world;
        match self {
            Self::Controller => world.restart_controller(),
            Self::Dmapi => world.dmapi.kill_and_start_again(),
            Self::Datamover => world.datamovers.values_mut().try_for_each(|one| one.kill_and_start_again()),
            Self::Broker => world.with_broker(async |broker| {
                broker.kill().await?;
                broker.resume().await
            }),
        }
    }
}

#[test]
fn whoever_dies_in_mid_transfer_the_snapshot_ends_whole_and_nothing_else_is_left() -> Result<()> {
    let phase = Phase::begin("killed: two servers and a Holdfast");
    let mut estate = Estate::make()?;
    let before = estate.ledger()?;
    drop(phase);
    for victim in [Victim::Controller, Victim::Dmapi, Victim::Datamover, Victim::Broker] {
        let phase = Phase::begin(format!("killed: {victim:?} in mid-transfer; read back, ledger compared"));
        let id = estate.begin_snapshot()?;
        victim.kill_and_start_again(&mut estate)?;
        let snapshot = estate.site.world.wait_for_snapshot(id).with_context(|| format!("{victim:?}"))?;
        ensure!(snapshot.summary.status == "available", "{victim:?}: {:?}", snapshot.summary.error_msg);
        estate.assert_readable(&snapshot).with_context(|| format!("{victim:?}"))?;
        estate.reset()?;
        estate.assert_as_before(&before, &format!("{victim:?}"))?;
        drop(phase);
    }
    estate.close()
}

#[test]
fn whoever_dies_while_a_snapshot_is_taken_back_nothing_is_left() -> Result<()> {
    let phase = Phase::begin("killed: two servers and a Holdfast, to be cancelled");
    let mut estate = Estate::make()?;
    let before = estate.ledger()?;
    drop(phase);
    for victim in [Victim::Controller, Victim::Datamover] {
        let phase = Phase::begin(format!("killed: {victim:?} in mid-cancel; ledger compared"));
        let id = estate.begin_snapshot()?;
        let world = &estate.site.world;
        world.block_on(world.client.cancel_snapshot(id))?;
        victim.kill_and_start_again(&mut estate)?;
        let snapshot = estate.site.world.wait_for_snapshot(id).with_context(|| format!("{victim:?}"))?;
        ensure!(snapshot.summary.status == "cancelled", "{victim:?}: {}", snapshot.summary.status);
        estate.assert_as_before(&before, &format!("{victim:?} in mid-cancel"))?;
        drop(phase);
    }
    estate.close()
}
