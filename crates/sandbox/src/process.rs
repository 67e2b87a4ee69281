//! Child processes that die with us, together with all they started.
//!
//! Each runs in a process group of its own, under a shell that waits for the end of its standard input: when the process
//! that started it is gone, however it went, the pipe closes and the shell kills the group.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// `"$@"` is the command. Its end ends the shell too, by the second subshell's kill of the group; a closed pipe likewise.
const GUARD: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
command=$!
( cat <&3 >/dev/null; kill -KILL 0 ) &
wait "$command"
kill -KILL 0
"#;

/// A server stops in well under a second; a broker that syncs its disk takes a few.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A child in a process group of its own; the whole group is killed when this is dropped, or when we die.
#[derive(Debug)]
pub struct Supervised {
    name: String,
    shell: Child,
    /// Open as long as the child may live.
    _guard: Option<ChildStdin>,
    group: Pid,
}

impl Supervised {
    /// Starts `command`; what it prints goes to the file `log`.
    ///
    /// Errors: the log cannot be written, or there is no `sh`. A program that is missing shows as an early end.
    pub fn spawn(name: &str, command: &Command, log: &Path) -> anyhow::Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("failed to open {}", log.display()))?;
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(GUARD).arg("guard").arg(command.get_program()).args(command.get_args());
        shell.env_clear();
        shell.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }
        shell.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let mut shell = shell.spawn().with_context(|| format!("failed to start {name}"))?;
        let guard = shell.stdin.take();
        Ok(Self { name: name.to_owned(), group: Pid::from_child(&shell), shell, _guard: guard })
    }

    /// The process group of the child and all it started.
    #[must_use]
    pub fn group(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Whether the child ended, and how.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.shell.try_wait()?)
    }

    /// Asks all to end (SIGTERM), kills what is still there after a while.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        // The guard's shell ends by the signal too; the group is empty when the server is gone.
        self.end(Signal::TERM)
    }

    /// Kills all (SIGKILL), and waits until they are gone.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.end(Signal::KILL)
    }

    fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        signal_group(self.group, signal)?;
        let mut waited = Duration::ZERO;
        while group_lives(self.group)? {
            self.shell.try_wait()?;
            std::thread::sleep(POLL_INTERVAL);
            waited += POLL_INTERVAL;
            if waited == STOP_TIMEOUT {
                signal_group(self.group, Signal::KILL)?;
            }
            anyhow::ensure!(waited < STOP_TIMEOUT * 2, "{} does not die", self.name);
        }
        Ok(())
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(name = self.name, error = %error, "failed to kill a server");
        }
    }
}

fn signal_group(group: Pid, signal: Signal) -> anyhow::Result<()> {
    match kill_process_group(group, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn group_lives(group: Pid) -> anyhow::Result<bool> {
    match test_kill_process_group(group) {
        Ok(()) | Err(Errno::PERM) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
