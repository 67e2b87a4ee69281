//! Faults injected into a running shop.

use std::path::PathBuf;

use anyhow::Result;

use crate::fixture::Shop;

/// A table of faults; dropping it ends the drill.
pub(crate) struct Drill(PathBuf);

impl Drill {
    /// Has the services meet `faults`: the lines of each row of the table.
    pub(crate) fn begin(shop: &Shop, faults: &[&str]) -> Result<Self> {
        let path = shop.world.places.faults();
        let text: String = faults.iter().map(|fault| format!("[[fault]]\n{fault}\n")).collect();
        // A service reads the table at every effect: it must never see half of it.
        let draft = path.with_extension("draft");
        std::fs::write(&draft, text)?;
        std::fs::rename(&draft, &path)?;
        Ok(Self(path))
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
