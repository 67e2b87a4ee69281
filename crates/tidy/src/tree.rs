//! The text files of a repository, in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context as _;

/// Folders of the root that are not ours, or not committed.
const SKIPPED: [&str; 3] = [".git", "target", ".demo"];
/// Larger files are data.
const LENGTH_MAX: u64 = 2 << 20;

/// Text files by path below the root, with `/`.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    files: BTreeMap<String, String>,
    /// Paths of everything else that is there.
    others: Vec<String>,
}

/// Something wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub path: String,
    /// From 1; 0 is the file as a whole.
    pub line: usize,
    pub what: String,
}

impl Tree {
    /// Reads all text files below `root`.
    pub fn load(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        tree.walk(root, "")?;
        Ok(tree)
    }

    /// Makes a tree of paths and texts.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Self { files, others: Vec::new() }
    }

    /// All text files.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Files whose name ends so.
    pub fn ending(&self, end: &str) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(move |(path, _)| path.ends_with(end))
    }

    /// The text of one file.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether there is a file or folder of this path.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self.files.keys().chain(&self.others).any(|file| file == path || file.starts_with(&folder))
    }

    fn walk(&mut self, folder: &Path, prefix: &str) -> anyhow::Result<()> {
        let entries =
            std::fs::read_dir(folder).with_context(|| format!("failed to list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if (prefix.is_empty() && SKIPPED.contains(&name.as_str())) || name.ends_with(".swp") {
                continue;
            }
            let path = format!("{prefix}{name}");
            let meta = entry.metadata()?;
            if meta.is_dir() {
                self.walk(&entry.path(), &format!("{path}/"))?;
                continue;
            }
            match std::fs::read(entry.path()) {
                Ok(bytes) if meta.len() <= LENGTH_MAX => match String::from_utf8(bytes) {
                    Ok(text) => drop(self.files.insert(path, text)),
                    Err(_) => self.others.push(path),
                },
                _ => self.others.push(path),
            }
        }
        Ok(())
    }
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Whether the path belongs to tests.
pub(crate) fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("integration-tests/")
}

/// Whether a file of Rust or of another crate's sources: `crates/x/src/..`, `services/x/src/..`.
pub(crate) fn crate_root(path: &str) -> Option<&str> {
    path.split_once("/src/").map(|(root, _)| root)
}
