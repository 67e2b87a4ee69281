//! This repository as a tree, and how findings are judged.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tidy::{Finding, Tree};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// This repository.
pub(crate) static HOUSE: LazyLock<Tree> = LazyLock::new(|| Tree::load(&root()).unwrap());

#[track_caller]
pub(crate) fn assert_tidy(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

/// The findings are these, each `path:line: what` beginning so.
#[track_caller]
pub(crate) fn assert_finds(findings: &[Finding], expected: &[&str]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let alike = lines.len() == expected.len()
        && lines.iter().zip(expected).all(|(line, want)| line.starts_with(want));
    assert!(alike, "found:\n{}\nexpected:\n{}", lines.join("\n"), expected.join("\n"));
}
