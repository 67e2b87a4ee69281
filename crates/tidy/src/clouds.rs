//! Drivers of clouds: nothing above a port may know which it has.

use crate::source::Source;
use crate::tree::{Finding, Tree, is_test};

/// The drivers: folder and name of the crate.
const DRIVERS: [(&str, &str); 4] = [
    ("crates/directory-cloud/", "directory_cloud"),
    ("crates/openstack-cloud/", "openstack_cloud"),
    ("crates/nova-placement/", "nova_placement"),
    ("crates/libvirt-host/", "libvirt_host"),
];

/// Imports of a driver outside of its crate, wiring, tests and the demo.
#[must_use]
pub fn cloud_findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let file = path.rsplit('/').next().unwrap_or(path);
        if path.split('/').any(|part| part == "demo")
            || ["wiring.rs", "demo.rs"].contains(&file)
            || is_test(path)
        {
            continue;
        }
        let code = Source::parse(text).code;
        let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for (folder, name) in DRIVERS {
            if !path.starts_with(folder) && words.contains(&name) {
                let what = format!("names {name}: only wiring.rs may know which cloud it is");
                findings.push(Finding::new(path, 0, what));
            }
        }
    }
    findings
}
