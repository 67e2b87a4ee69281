//! Links in documents lead somewhere.

use crate::tree::{Finding, Tree};

/// Relative links of Markdown files to files or folders that are not there.
#[must_use]
pub fn broken_links(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".md") {
        let mut in_code = false;
        for (number, line) in (1..).zip(text.lines()) {
            in_code ^= line.trim_start().starts_with("```");
            for target in targets(line).filter(|_| !in_code) {
                let target = target.split(['#', ' ']).next().unwrap_or("");
                let elsewhere = target.contains(':') || target.is_empty();
                if !elsewhere && !resolve(path, target).is_some_and(|there| tree.has(&there)) {
                    findings.push(Finding::new(path, number, format!("the link to {target} leads nowhere")));
                }
            }
        }
    }
    findings
}

/// What stands in `](…)`, outside of code spans.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// The path below the root; `None` when it leaves the tree.
fn resolve(document: &str, target: &str) -> Option<String> {
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    Some(parts.join("/"))
}
