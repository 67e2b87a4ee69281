//! The actors that register with the watchdog stand in ARCHITECTURE.md, where one reads what their panic means.

use crate::source::Source;
use crate::tree::{Finding, Tree, crate_root, is_test};

/// Where they are listed.
const DOCUMENT: &str = "ARCHITECTURE.md";

/// Names given to `supervise("…`, or as `NAME` of a module of actors, that the document does not name; none without it.
#[must_use]
pub fn unlisted_actors(tree: &Tree) -> Vec<Finding> {
    let Some(document) = tree.text(DOCUMENT) else { return Vec::new() };
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs").filter(|(path, _)| !is_test(path) && crate_root(path).is_some()) {
        let source = Source::parse(text);
        for literal in source.literals.iter().filter(|literal| literal.at < source.tests_at()) {
            let before = source.before(literal, 80);
            let registers = before.ends_with(".supervise(")
                || before.ends_with("Consuming{actor:")
                || (path.contains("/actors/") && before.ends_with("constNAME:&str="));
            let listed = [format!("`{}`", literal.text), format!("/{}`", literal.text)];
            if registers && !listed.iter().any(|name| document.contains(name.as_str())) {
                let what = format!("actor {} is not in {DOCUMENT}", literal.text);
                findings.push(Finding::new(path, literal.line, what));
            }
        }
    }
    findings
}
