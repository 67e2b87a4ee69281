//! A backup that cannot be restored must say so, and say which.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use integration_tests::world::Spec;

use crate::fixture::Shop;

fn packs_below(dir: &std::path::Path) -> Result<Vec<PathBuf>> {
    let mut packs = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            packs.extend(packs_below(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "pack") {
            packs.push(path);
        }
    }
    packs.sort();
    Ok(packs)
}

#[test]
fn one_flipped_byte_in_any_pack_fails_the_restore_and_names_disk_snapshot_and_pack() -> Result<()> {
    let shop = Shop::open(Spec::default())?;
    let snapshot = shop.world.take_snapshot(shop.workload, true)?;
    let packs = packs_below(&shop.world.places.target())?;
    ensure!(packs.len() >= 3, "every disk has at least one pack: {packs:?}");
    let cloud_before = shop.cloud_ledger()?;
    for (index, pack) in packs.iter().enumerate() {
        let good = std::fs::read(pack)?;
        // First byte, last byte, and one somewhere between: header, footer and a chunk.
        let position = match index % 3 {
            0 => good.len() / 2,
            1 => 0,
            _ => good.len() - 1,
        };
        let mut bad = good.clone();
        bad[position] ^= 1;
        std::fs::write(pack, &bad)?;
        let restore =
            shop.world.start_selective_restore(snapshot.summary.id, &[(shop.web, "w"), (shop.db, "d")])?;
        let restore = shop.world.wait_for_restore(restore)?;
        std::fs::write(pack, &good)?;
        let message = restore.summary.error_msg.unwrap_or_default();
        ensure!(restore.summary.status == "error", "byte {position} of {} went unnoticed", pack.display());
        let name = pack.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for part in [name.as_str(), &snapshot.summary.id.to_string(), "disk"] {
            ensure!(message.contains(part), "{part:?} is not in: {message}");
        }
        let left = cloud_before.difference(&shop.cloud_ledger()?);
        ensure!(left.is_empty(), "left behind: {left:?}");
    }
    let restore =
        shop.world.start_selective_restore(snapshot.summary.id, &[(shop.web, "w"), (shop.db, "d")])?;
    shop.assert_restored(&shop.world.wait_for_good_restore(restore)?, 0)
}
