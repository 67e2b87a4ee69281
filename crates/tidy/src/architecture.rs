//! Arrows between crates, and the manifests they stand in.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;

use crate::source::Source;
use crate::tree::{Finding, Tree};

/// The table of who may import whom.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    #[serde(rename = "crate")]
    crates: Vec<Crate>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Crate {
    name: String,
    layer: u32,
    may_use: Vec<String>,
}

/// A crate of the tree, from its `Cargo.toml`.
#[derive(Debug)]
struct Member {
    path: String,
    root: String,
    name: String,
    /// Regular dependencies, ours and theirs.
    uses: BTreeSet<String>,
    inherits_lints: bool,
}

impl Architecture {
    /// Reads the table.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        toml::from_str(text).context("the table of crates cannot be read")
    }

    /// What is wrong with the table itself: a crate twice, an arrow to a higher layer.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let finding = |what: String| Finding::new("crates/tidy/architecture.toml", 0, what);
        let layers: BTreeMap<&str, u32> = self.crates.iter().map(|c| (c.name.as_str(), c.layer)).collect();
        let mut findings = Vec::new();
        if layers.len() != self.crates.len() {
            findings.push(finding("a crate stands in it twice".to_owned()));
        }
        for (of, to) in self.crates.iter().flat_map(|of| of.may_use.iter().map(move |to| (of, to))) {
            match layers.get(to.as_str()) {
                _ if to == "*" => {}
                None => findings.push(finding(format!("{} may use {to}, which is not in it", of.name))),
                Some(layer) if *layer > of.layer => {
                    findings.push(finding(format!("{} may use {to}, which lies in a higher layer", of.name)));
                }
                Some(3) => findings.push(finding(format!("{} may use {to}, which is a service", of.name))),
                Some(_) => {}
            }
        }
        findings
    }
}

/// Imports that the table does not allow, and crates that it does not know or that are gone.
#[must_use]
pub fn arrow_findings(tree: &Tree, architecture: &Architecture) -> Vec<Finding> {
    let (members, mut findings) = members(tree);
    let ours: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    for member in &members {
        let Some(row) = architecture.crates.iter().find(|row| row.name == member.name) else {
            let what = format!("crate {} is not in crates/tidy/architecture.toml", member.name);
            findings.push(Finding::new(&member.path, 0, what));
            continue;
        };
        for used in member.uses.iter().filter(|used| ours.contains(used.as_str())) {
            if !row.may_use.iter().any(|allowed| allowed == "*" || allowed == used) {
                findings.push(Finding::new(&member.path, 0, format!("{} must not use {used}", member.name)));
            }
        }
    }
    for row in architecture.crates.iter().filter(|row| !ours.contains(row.name.as_str())) {
        let what = format!("crate {} is in the table, but not in the tree", row.name);
        findings.push(Finding::new("crates/tidy/architecture.toml", 0, what));
    }
    findings
}

/// Regular dependencies, ours or theirs, that no source of the crate names.
#[must_use]
pub fn unused_arrows(tree: &Tree) -> Vec<Finding> {
    let (members, _) = members(tree);
    let mut findings = Vec::new();
    for member in &members {
        let folder = format!("{}/", member.root);
        let sources = tree.ending(".rs").filter(|(path, _)| path.starts_with(&folder));
        let words: BTreeSet<String> =
            sources.flat_map(|(_, text)| words(&Source::parse(text).code)).collect();
        for used in member.uses.iter().filter(|used| !words.contains(&used.replace('-', "_"))) {
            findings.push(Finding::new(&member.path, 0, format!("{} does not use {used}", member.name)));
        }
    }
    findings
}

/// Crates that do not inherit the workspace's lints.
#[must_use]
pub fn lint_findings(tree: &Tree) -> Vec<Finding> {
    let (members, _) = members(tree);
    let without = members.iter().filter(|member| !member.inherits_lints);
    without.map(|member| Finding::new(&member.path, 0, "`[lints] workspace = true` is missing")).collect()
}

fn words(code: &str) -> Vec<String> {
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn members(tree: &Tree) -> (Vec<Member>, Vec<Finding>) {
    let (mut members, mut findings) = (Vec::new(), Vec::new());
    for (path, text) in tree.ending("/Cargo.toml") {
        match Member::parse(path, text) {
            Ok(member) => members.push(member),
            Err(error) => findings.push(Finding::new(path, 0, format!("{error:#}"))),
        }
    }
    (members, findings)
}

impl Member {
    fn parse(path: &str, text: &str) -> anyhow::Result<Self> {
        let manifest: toml::Table = toml::from_str(text)?;
        let package = manifest.get("package").context("there is no [package]")?;
        let name = package.get("name").and_then(toml::Value::as_str).context("the package has no name")?;
        let names = |value: Option<&toml::Value>| -> Vec<String> {
            value.and_then(toml::Value::as_table).map(|t| t.keys().cloned().collect()).unwrap_or_default()
        };
        let mut uses: BTreeSet<String> = names(manifest.get("dependencies")).into_iter().collect();
        // `[target.'cfg(..)'.dependencies]` are regular too.
        for target in
            manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(|t| t.values())
        {
            uses.extend(names(target.get("dependencies")));
        }
        let lints = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        Ok(Self {
            path: path.to_owned(),
            root: path.trim_end_matches("/Cargo.toml").to_owned(),
            name: name.to_owned(),
            uses,
            inherits_lints: lints.and_then(toml::Value::as_bool).unwrap_or(false),
        })
    }
}
