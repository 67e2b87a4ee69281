//! What may stand in a file, and how long it may be.

use crate::source::Source;
use crate::tree::{Finding, Tree, is_test};

/// A file that needs more has two reasons to change.
const LINES_MAX: usize = 500;

/// Files of Rust with more than 500 lines.
#[must_use]
pub fn long_files(tree: &Tree) -> Vec<Finding> {
    let counted = tree.ending(".rs").map(|(path, text)| (path, text.lines().count()));
    let long = counted.filter(|(_, count)| *count > LINES_MAX);
    long.map(|(path, count)| {
        Finding::new(path, 0, format!("{count} lines; at most {LINES_MAX}, so split it"))
    })
    .collect()
}

/// Modules that do not say what they are for. The names of tests say it for those of tests, but not for their binary.
#[must_use]
pub fn modules_without_text(tree: &Tree) -> Vec<Finding> {
    let said_otherwise =
        |path: &str| is_test(path) && !path.ends_with("/main.rs") && !path.ends_with("/lib.rs");
    let without = tree.ending(".rs").filter(|(path, text)| {
        let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
        !said_otherwise(path)
            && !first.is_some_and(|line| line.starts_with("//!") && line.len() > "//! ".len())
    });
    without
        .map(|(path, _)| Finding::new(path, 1, "a module begins with a `//!` that says what it is for"))
        .collect()
}

/// Marks of unfinished work.
#[must_use]
pub fn leftovers(tree: &Tree) -> Vec<Finding> {
    // Put together here, so that this file does not find itself.
    let words = [["TO", "DO"], ["FIX", "ME"], ["X", "XX"]].map(|parts| parts.concat());
    let anywhere = [["to", "do!"], ["unimple", "mented!"], ["place", "holder"]].map(|parts| parts.concat());
    let is_mark = |line: &str| {
        let lower = line.to_lowercase();
        words.iter().any(|word| has_word(line, word)) || anywhere.iter().any(|word| lower.contains(word))
    };
    find_lines(tree, is_mark, "leftover of unfinished work")
}

/// Paths that exist on one machine only.
#[must_use]
pub fn machine_paths(tree: &Tree) -> Vec<Finding> {
    let needles = [["/ro", "ot"], ["/wo", "rk"]].map(|parts| parts.concat());
    let is_path = |line: &str| needles.iter().any(|needle| has_path(line, needle));
    find_lines(tree, is_path, "a path of one machine")
}

/// `pub use …::*`: whoever reads a name must find where it comes from.
#[must_use]
pub fn glob_exports(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let code = Source::parse(text).code;
        let exports = code.split("pub use ").skip(1).chain(code.split("pub(crate) use ").skip(1));
        for export in
            exports.filter_map(|rest| rest.split(';').next()).filter(|export| export.contains("::*"))
        {
            findings.push(Finding::new(path, 0, format!("exports all of a module: pub use {export}")));
        }
    }
    findings
}

fn find_lines(tree: &Tree, is_wrong: impl Fn(&str) -> bool, what: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| *path != "Cargo.lock") {
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| is_wrong(line)) {
            findings.push(Finding::new(path, number, format!("{what}: {}", line.trim())));
        }
    }
    findings
}

/// Whether `word` stands in `line` by itself.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part))
}

/// Whether `line` has an absolute path that begins with the folder `needle`.
fn has_path(line: &str, needle: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || "_-.}~".contains(c);
    line.match_indices(needle).any(|(at, _)| {
        !line[..at].ends_with(is_part)
            && !line[at + needle.len()..].starts_with(|c: char| c.is_alphanumeric() || "_-".contains(c))
    })
}
