//! The inside of a guest, by its agent: no network is needed.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use integration_tests::wait;
use serde_json::{Value, json};

use crate::hypervisor::{console_end, virsh};
use crate::tool;

/// Booting takes some seconds, in software emulation on a busy machine minutes.
const BOOT_MAX: Duration = Duration::from_secs(480);
const COMMAND_MAX: Duration = Duration::from_secs(120);

/// A guest of this host.
#[derive(Debug, Clone)]
pub struct Guest {
    instance_id: String,
}

impl Guest {
    /// The guest of an instance, when it has booted.
    pub fn wait_for(instance_id: &str) -> Result<Self> {
        let guest = Self { instance_id: instance_id.to_owned() };
        let what = format!("the agent of instance {instance_id} answers");
        let answered = wait::until(BOOT_MAX, &what, || Ok(guest.ask("guest-ping", None).ok()));
        answered.with_context(|| format!("its console ends with:\n{}", console_end(instance_id)))?;
        Ok(guest)
    }

    /// Freezes its file systems; says how many.
    pub fn freeze(&self) -> Result<u64> {
        self.ask("guest-fsfreeze-freeze", None)?.as_u64().context("no count of frozen file systems")
    }

    /// Thaws its file systems; says how many were frozen.
    pub fn thaw(&self) -> Result<u64> {
        self.ask("guest-fsfreeze-thaw", None)?.as_u64().context("no count of thawed file systems")
    }

    /// Whether it is frozen, in its agent's words.
    pub fn frozen_status(&self) -> Result<String> {
        let status = self.ask("guest-fsfreeze-status", None)?;
        Ok(status.as_str().context("no status")?.to_owned())
    }

    /// Runs a shell command; gives what it printed.
    pub fn run(&self, script: &str) -> Result<String> {
        let arguments = json!({ "path": "/bin/sh", "arg": ["-c", script], "capture-output": true });
        let pid = self.ask("guest-exec", Some(arguments))?["pid"].clone();
        let what = format!("`{script}` ended in instance {}", self.instance_id);
        let ended = wait::until(COMMAND_MAX, &what, || {
            let status = self.ask("guest-exec-status", Some(json!({ "pid": pid })))?;
            Ok((status["exited"] == true).then_some(status))
        })?;
        let text = |field: &str| match ended[field].as_str() {
            Some(encoded) => tool::run(Command::new("base64").arg("--decode"), encoded),
            None => Ok(String::new()),
        };
        let (out, err) = (text("out-data")?, text("err-data")?);
        if ended["exitcode"] != 0 {
            bail!("`{script}` in instance {} ended with {}: {err}{out}", self.instance_id, ended["exitcode"]);
        }
        Ok(out)
    }

    /// Types a line into the shell at its serial console, where no agent is needed. The console is to be held until the line had its
    /// effect: qemu looks once a second whether somebody is there, and reads nothing of who left before.
    pub fn type_line(&self, line: &str) -> Result<std::fs::File> {
        let console = virsh(&["ttyconsole", &self.instance_id])?;
        let mut console = std::fs::OpenOptions::new().write(true).open(console.trim())?;
        // The shell waits for a line: what may stand there begun ends first.
        console.write_all(format!("\n{line}\n").as_bytes())?;
        Ok(console)
    }

    /// Writes `length_mib` MiB of noise into a file and makes it durable; gives its checksum.
    pub fn write_file(&self, path: &str, length_mib: u32) -> Result<String> {
        let write = format!("dd if=/dev/urandom of={path} bs=1M count={length_mib} 2>/dev/null && sync");
        self.run(&write)?;
        self.checksum(path)
    }

    /// The checksum of a file, read from the disk and not from the guest's memory.
    pub fn checksum(&self, path: &str) -> Result<String> {
        let sum = self.run(&format!("echo 3 > /proc/sys/vm/drop_caches; sha256sum {path}"))?;
        Ok(sum.split_whitespace().next().context("no checksum")?.to_owned())
    }

    fn ask(&self, command: &str, arguments: Option<Value>) -> Result<Value> {
        let mut question = json!({ "execute": command });
        if let Some(arguments) = arguments {
            question["arguments"] = arguments;
        }
        let question = question.to_string();
        let answer = virsh(&["qemu-agent-command", "--timeout", "30", &self.instance_id, &question])?;
        Ok(serde_json::from_str::<Value>(&answer)?["return"].take())
    }
}
