//! A flavor of a test's own. Gone when dropped.

use std::io::Write as _;

use anyhow::Result;
use runtime::Entropy;

use crate::lab::Lab;

/// The flavor.
#[derive(Debug)]
pub struct Flavor {
    lab: Lab,
    name: String,
}

impl Flavor {
    /// A small one, with a root disk and what else `openstack flavor create` is told; for everybody, but it is gone before
    /// anybody sees it.
    pub fn create(lab: &Lab, more: &[&str]) -> Result<Self> {
        let flavor = Self { lab: lab.clone(), name: format!("holdfast-test-{}", Entropy.uuid().simple()) };
        let size = ["--vcpus", "1", "--disk", "1"];
        lab.admin(&[&["flavor", "create", &flavor.name][..], &size, more].concat(), "")?;
        Ok(flavor)
    }

    /// As servers are told of it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Flavor {
    fn drop(&mut self) {
        if let Err(error) = self.lab.admin(&["flavor", "delete", &self.name], "") {
            let _ = writeln!(std::io::stderr(), "flavor {} was not removed: {error:#}", self.name);
        }
    }
}
