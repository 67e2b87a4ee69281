//! Faults on purpose. A drill is how an operator (and every test here) sees what Holdfast does when the cloud or the
//! target fails: a table names an *effect*, and how often and how it fails. The table is read anew at every effect,
//! so it can change while services run. Without a table nothing is ever injected.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;

/// How an effect fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Nothing happens; trying again may help.
    Transient,
    /// Nothing happens; trying again does not help.
    Permanent,
    /// The effect happens, and the answer is lost.
    Indeterminate,
    /// The effect happens; only later.
    Delay,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// For example `create_volume`; the effects of a port are listed in its documentation.
    pub effect: String,
    pub fail: FaultKind,
    /// As which failure it is told; absent: as the port's own word for a drill.
    #[serde(default)]
    pub code: Option<String>,
    /// How often in the life of this process and this table; absent: always.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many calls are let through before the first fault.
    #[serde(default)]
    pub after: u32,
    /// A pause before the effect, in milliseconds.
    #[serde(default)]
    pub delay_ms: u64,
}

impl Fault {
    /// The pause before the effect.
    #[must_use]
    pub const fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }
}

/// The table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    #[error("failed to read the fault table {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the fault table {} is not valid", path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    fault: Vec<Fault>,
}

/// Faults by effect, read from a TOML file of `[[fault]]` tables.
#[derive(Debug)]
pub struct FaultTable {
    path: Option<PathBuf>,
    calls: Mutex<Calls>,
}

/// Calls by effect, under the table whose text this is: another table counts anew.
#[derive(Debug, Default)]
struct Calls {
    text: String,
    counts: BTreeMap<String, u32>,
}

impl FaultTable {
    /// A table that injects nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { path: None, calls: Mutex::default() }
    }

    /// Reads `path` at every effect; a missing file injects nothing.
    #[must_use]
    pub fn from_file(path: &Path) -> Self {
        Self { path: Some(path.to_owned()), calls: Mutex::default() }
    }

    /// The fault to inject into this call of `effect`, if any. Each call counts.
    ///
    /// Errors: the file is there and cannot be read or parsed.
    pub fn draw(&self, effect: &str) -> Result<Option<Fault>, DrillError> {
        let Some(path) = &self.path else { return Ok(None) };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DrillError::Read { path: path.clone(), source }),
        };
        let table: Table = toml::from_str(&text)
            .map_err(|source| DrillError::Parse { path: path.clone(), source: Box::new(source) })?;
        let Some(fault) = table.fault.into_iter().find(|fault| fault.effect == effect) else {
            return Ok(None);
        };
        let mut calls = self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if calls.text != text {
            *calls = Calls { text, counts: BTreeMap::new() };
        }
        let count = calls.counts.entry(effect.to_owned()).or_default();
        *count += 1;
        let nth = count.saturating_sub(fault.after);
        let within = nth >= 1 && fault.times.is_none_or(|times| nth <= times);
        Ok(within.then_some(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_table(text: &str) -> (tempdir::Dir, FaultTable) {
        let dir = tempdir::Dir::new();
        let path = dir.path().join("faults.toml");
        std::fs::write(&path, text).unwrap();
        let table = FaultTable::from_file(&path);
        (dir, table)
    }

    /// A directory of the test's own, removed at the end.
    mod tempdir {
        use std::path::{Path, PathBuf};

        pub(super) struct Dir(PathBuf);

        impl Dir {
            pub(super) fn new() -> Self {
                let path = std::env::temp_dir().join(format!("holdfast-drill-{}", crate::Entropy.uuid()));
                std::fs::create_dir(&path).unwrap();
                Self(path)
            }
            pub(super) fn path(&self) -> &Path {
                &self.0
            }
        }

        impl Drop for Dir {
            fn drop(&mut self) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
    }

    #[test]
    fn a_fault_strikes_after_and_as_often_as_told() {
        let (_dir, table) =
            make_table("[[fault]]\neffect = \"create_volume\"\nfail = \"transient\"\ntimes = 2\nafter = 1\n");
        let mut strikes = Vec::new();
        for _ in 0..5 {
            strikes.push(table.draw("create_volume").unwrap().is_some());
        }
        assert_eq!(strikes, [false, true, true, false, false]);
        assert_eq!(table.draw("delete_volume").unwrap(), None);
    }

    #[test]
    fn another_table_counts_anew() {
        let (dir, table) = make_table("[[fault]]\neffect = \"freeze\"\nfail = \"permanent\"\ntimes = 1\n");
        assert!(table.draw("freeze").unwrap().is_some());
        assert!(table.draw("freeze").unwrap().is_none());
        let other = "[[fault]]\neffect = \"freeze\"\nfail = \"permanent\"\nafter = 1\n";
        std::fs::write(dir.path().join("faults.toml"), other).unwrap();
        assert!(table.draw("freeze").unwrap().is_none());
        assert!(table.draw("freeze").unwrap().is_some());
    }

    #[test]
    fn a_missing_table_injects_nothing_and_a_broken_one_is_named() {
        assert_eq!(FaultTable::none().draw("x").unwrap(), None);
        assert_eq!(FaultTable::from_file(Path::new("/nonexistent/faults.toml")).draw("x").unwrap(), None);
        let (_dir, table) = make_table("[[fault]]\nefect = \"x\"\n");
        let error = table.draw("x").unwrap_err().to_string();
        assert!(error.contains("faults.toml"), "{error}");
    }
}
