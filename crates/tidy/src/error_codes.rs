//! Codes that operators see: each has a row that says what to do, and each row a code that can still happen.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;
use crate::tree::{Finding, Tree, is_test};

/// Codes given to `Failure::…` or by a function `code` that no row of docs/errors.md explains.
#[must_use]
pub fn undocumented_codes(tree: &Tree) -> Vec<Finding> {
    let rows = rows(tree);
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs").filter(|(path, _)| !is_test(path)) {
        let source = Source::parse(text);
        for literal in source.literals.iter().filter(|l| l.at < source.tests_at() && is_code(&l.text)) {
            let before = source.before(literal, 120);
            let in_failure =
                ["Failure::permanent(", "Failure::transient("].iter().any(|call| before.ends_with(call))
                    || before.rsplit_once("Failure::new(").is_some_and(|(_, rest)| is_first_argument(rest));
            let in_code = source.function_of(literal) == "code";
            if (in_failure || in_code) && !rows.contains_key(&literal.text) {
                let what = format!("{} has no row in docs/errors.md", literal.text);
                findings.push(Finding::new(path, literal.line, what));
            }
        }
    }
    findings
}

/// Rows whose code stands in no source any more.
#[must_use]
pub fn rows_without_code(tree: &Tree) -> Vec<Finding> {
    let mut literals = BTreeSet::<String>::new();
    for (_, text) in tree.ending(".rs") {
        literals.extend(Source::parse(text).literals.into_iter().map(|literal| literal.text));
    }
    // A dead letter's reason is the code, a colon and a text.
    let stands = |code: &str| {
        let begun = format!("{code}:");
        literals.contains(code) || literals.iter().any(|literal| literal.starts_with(&begun))
    };
    let dead = rows(tree).into_iter().filter(|(code, _)| !stands(code));
    dead.map(|(code, path)| Finding::new(&path, 0, format!("{code} stands in no source any more"))).collect()
}

/// Codes with two rows: one of them says what is not so.
#[must_use]
pub fn codes_with_two_rows(tree: &Tree) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let again = listed(tree).filter(|(code, _)| !seen.insert(code.clone()));
    again.map(|(code, path)| Finding::new(&path, 0, format!("{code} has two rows"))).collect()
}

/// Whether what stands between `Failure::new(` and a literal is one argument: the class.
fn is_first_argument(between: &str) -> bool {
    between.ends_with(',')
        && between.matches(',').count() == 1
        && !between.contains('"')
        && !between.contains(';')
}

fn is_code(text: &str) -> bool {
    text.len() >= 4
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// The code of each row, and where it stands.
fn rows(tree: &Tree) -> BTreeMap<String, String> {
    listed(tree).collect()
}

fn listed(tree: &Tree) -> impl Iterator<Item = (String, String)> + '_ {
    let documents = tree.ending(".md").filter(|(path, _)| *path == "docs/errors.md");
    let lines = documents.flat_map(|(path, text)| text.lines().map(move |line| (path, line)));
    lines.filter_map(|(path, line)| {
        let cell = line.trim().strip_prefix('|')?.split('|').next()?.trim().trim_matches('`').to_owned();
        is_code(&cell).then(|| (cell, path.to_owned()))
    })
}
