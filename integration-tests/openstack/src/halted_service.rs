//! A service of the cloud that hangs: halted in its tracks with all of its processes, as by a host that swaps. It goes on when
//! dropped.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::lab::Lab;

/// Halted.
#[derive(Debug)]
pub struct HaltedService {
    /// Each service leads a group of its own.
    group: Pid,
}

impl HaltedService {
    /// Halts it; `name` as `cloud status` lists it.
    ///
    /// Errors: the cloud is not ours, or it does not run.
    pub fn halt(lab: &Lab, name: &str) -> Result<Self> {
        let file = lab.dir()?.join("run").join(format!("{name}.pid"));
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("{} should say which process {name} is", file.display()))?;
        let id = text.split_whitespace().next().and_then(|word| word.parse().ok()).and_then(Pid::from_raw);
        let group = id.with_context(|| format!("{} names no process: {text:?}", file.display()))?;
        kill_process_group(group, Signal::STOP).with_context(|| format!("{name} does not run"))?;
        Ok(Self { group })
    }
}

impl Drop for HaltedService {
    fn drop(&mut self) {
        if let Err(error) = kill_process_group(self.group, Signal::CONT) {
            let _ = writeln!(std::io::stderr(), "a halted service does not go on: {error}");
        }
    }
}
