//! The folder cloud is one driver of several: nothing above the port may know which it is.

use crate::source::Source;
use crate::tree::{Finding, Tree, is_test};

/// Imports of `directory_cloud` outside of its crate, wiring, tests and the demo.
#[must_use]
pub fn cloud_findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let name = path.rsplit('/').next().unwrap_or(path);
        let may = path.starts_with("crates/directory-cloud/")
            || path.split('/').any(|part| part == "demo")
            || ["wiring.rs", "demo.rs"].contains(&name)
            || is_test(path);
        let code = Source::parse(text).code;
        if !may
            && code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "directory_cloud")
        {
            findings.push(Finding::new(
                path,
                0,
                "names directory_cloud: only wiring.rs may know which cloud it is",
            ));
        }
    }
    findings
}
