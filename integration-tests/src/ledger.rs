//! Full listings of what lies somewhere, to be compared before and after: whatever is left behind shows, known or not.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::disks;

/// Every file and folder below a root, with the digest of each file.
#[derive(Clone, PartialEq, Eq)]
pub struct Ledger(BTreeMap<String, String>);

impl Ledger {
    /// Lists everything below `root`, except files whose name is in `except`.
    pub fn of(root: &Path, except: &[&str]) -> Result<Self> {
        let mut entries = BTreeMap::new();
        walk(root, root, except, &mut entries).with_context(|| format!("listing {}", root.display()))?;
        Ok(Self(entries))
    }

    /// Lists what a directory cloud holds but for its diary, its lock and its fault table.
    pub fn of_cloud(root: &Path) -> Result<Self> {
        Self::of(root, &["effects.log", ".lock", "faults.toml"])
    }

    /// What the other has more, less or otherwise.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, digest) in &self.0 {
            match other.0.get(name) {
                None => lines.push(format!("- {name}")),
                Some(new) if new != digest => lines.push(format!("~ {name}")),
                Some(_) => {}
            }
        }
        lines.extend(
            other.0.keys().filter(|name| !self.0.contains_key(*name)).map(|name| format!("+ {name}")),
        );
        lines
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing lies there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn walk(root: &Path, dir: &Path, except: &[&str], entries: &mut BTreeMap<String, String>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        if except.iter().any(|except| name == *except) {
            continue;
        }
        let relative = path.strip_prefix(root)?.display().to_string();
        if entry.file_type()?.is_dir() {
            entries.insert(format!("{relative}/"), String::new());
            walk(root, &path, except, entries)?;
        } else {
            entries.insert(relative, disks::digest(&path)?.to_hex().to_string());
        }
    }
    Ok(())
}
