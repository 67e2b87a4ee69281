//! Processes die in the middle, the broker too; the jobs do not.

use anyhow::{Context as _, Result, ensure};

use crate::fixture::Shop;

/// Who dies.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Controller,
    Dmapi,
    Datamovers,
    Broker,
}

const VICTIMS: [Victim; 4] = [Victim::Controller, Victim::Dmapi, Victim::Datamovers, Victim::Broker];

impl Victim {
    fn kill_and_start_again(self, shop: &mut Shop) -> Result<()> {
        let world = &mut shop.world;
        match self {
            Self::Controller => world.restart_controller(),
            Self::Dmapi => world.dmapi.kill_and_start_again(),
            Self::Datamovers => world.datamovers.values_mut().try_for_each(|one| one.kill_and_start_again()),
            Self::Broker => world.with_broker(async |broker| {
                broker.kill().await?;
                broker.resume().await
            }),
        }
    }
}

fn assert_free(shop: &Shop) -> Result<()> {
    shop.assert_no_effect_twice()?;
    shop.assert_no_error_logged()?;
    shop.assert_workload_is("available")
}

#[test]
fn whoever_dies_in_mid_transfer_the_snapshot_ends_with_its_bytes() -> Result<()> {
    let mut shop = Shop::open_slow()?;
    let cloud = shop.cloud_ledger()?;
    for victim in VICTIMS {
        let id = shop.world.start_snapshot(shop.workload, true)?;
        shop.world.wait_for_transfer_in_progress(id)?;
        victim.kill_and_start_again(&mut shop)?;
        let snapshot = shop.world.wait_for_snapshot(id).with_context(|| format!("{victim:?}"))?;
        shop.assert_taken(&snapshot, 0).with_context(|| format!("{victim:?}"))?;
        assert_free(&shop).with_context(|| format!("{victim:?}"))?;
        let left = cloud.difference(&shop.cloud_ledger()?);
        ensure!(left.is_empty(), "{victim:?} left in the cloud: {left:?}");
    }
    Ok(())
}

#[test]
fn whoever_dies_in_mid_write_the_restore_ends_with_its_bytes() -> Result<()> {
    let mut shop = Shop::open_slow()?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?.summary.id;
    for (number, victim) in VICTIMS.into_iter().enumerate() {
        let names = [format!("web-after-{number}"), format!("db-after-{number}")];
        let chosen = [(shop.web, names[0].as_str()), (shop.db, names[1].as_str())];
        let id = shop.world.start_selective_restore(snapshot, &chosen)?;
        shop.world.wait_for_write_in_progress(id)?;
        victim.kill_and_start_again(&mut shop)?;
        let restore = shop.world.wait_for_restore(id).with_context(|| format!("{victim:?}"))?;
        shop.assert_restored(&restore, 0).with_context(|| format!("{victim:?}"))?;
        assert_free(&shop).with_context(|| format!("{victim:?}"))?;
    }
    Ok(())
}
