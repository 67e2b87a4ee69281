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
    /// A small one with a root disk and a swap disk, for everybody: it is gone before anybody sees it.
    pub fn with_swap(lab: &Lab) -> Result<Self> {
        let flavor = Self { lab: lab.clone(), name: format!("holdfast-test-{}", Entropy.uuid().simple()) };
        let size = ["--ram", "256", "--vcpus", "1", "--disk", "1", "--swap", "64"];
        lab.admin(&[&["flavor", "create", &flavor.name][..], &size].concat(), "")?;
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
