//! One service as a child process: started, watched, killed and started again by its own process id.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use crate::wait;

/// How to start a service.
#[derive(Debug, Clone)]
pub struct Program {
    pub name: String,
    pub binary: PathBuf,
    pub args: Vec<String>,
    pub envs: Vec<(String, String)>,
    /// Absent: ours.
    pub run_as: Option<RunAs>,
    /// Standard error, appended over restarts.
    pub log: PathBuf,
}

/// Another account of this machine, as which only root can start programs.
#[derive(Debug, Clone)]
pub struct RunAs {
    pub user: String,
    /// Beside the user's own.
    pub groups: Vec<String>,
}

/// A running service. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
    /// How long the log was when this life began, in bytes.
    log_start: u64,
}

impl Program {
    fn command(&self) -> Command {
        let Some(RunAs { user, groups }) = &self.run_as else { return Command::new(&self.binary) };
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", user, "--groups", &groups.join(","), "--no-new-privs"]);
        command.arg("--").arg(&self.binary);
        command
    }

    /// The same program with one more variable in its environment.
    #[must_use]
    pub fn with_env(&self, name: &str, value: &str) -> Self {
        let mut program = self.clone();
        program.envs.push((name.to_owned(), value.to_owned()));
        program
    }

    /// Starts the process.
    ///
    /// Errors: the binary is missing; `make build` makes it.
    pub fn start(&self) -> Result<Process> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let log_start = log.metadata()?.len();
        let child = self
            .command()
            .args(&self.args)
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| {
                format!("{} cannot be started; run `make build` first", self.binary.display())
            })?;
        Ok(Process { program: self.clone(), child, log_start })
    }
}

impl Process {
    /// How it was started.
    #[must_use]
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the process wrote so far, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.program.log).unwrap_or_default()
    }

    /// What the process wrote since its last start.
    #[must_use]
    pub fn log_of_this_life(&self) -> String {
        let log = self.log();
        let start = usize::try_from(self.log_start).unwrap_or(usize::MAX);
        log.get(start..).unwrap_or_default().to_owned()
    }

    /// Ends the process without a chance to clean up, as a power cut does.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts the process again after it ended.
    pub fn start_again(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            bail!("{} still runs", self.program.name);
        }
        *self = self.program.start()?;
        Ok(())
    }

    /// Kills the process and starts it again.
    pub fn kill_and_start_again(&mut self) -> Result<()> {
        self.kill()?;
        self.start_again()
    }

    /// Asks the process to end, and waits for it.
    pub fn stop(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_for_end(deadline)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal)?;
        Ok(())
    }

    /// Waits until the process ends by itself.
    ///
    /// Errors: it still runs at the deadline.
    pub fn wait_for_end(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let child = &mut self.child;
        wait::until(deadline, &format!("{} ends", self.program.name), || Ok(child.try_wait()?))
    }

    /// How the process ended; `None`: it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.program.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder that holds the built binaries: the one of the running test or program.
///
/// Errors: the running program's own path is unknown.
pub fn binary_dir() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let dir = own.parent().context("a program lies in a folder")?;
    // Tests lie one folder below the binaries.
    Ok(if dir.ends_with("deps") { dir.parent().unwrap_or(dir).to_owned() } else { dir.to_owned() })
}

/// Finds a built binary.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path: &Path = &binary_dir()?;
    Ok(path.join(name))
}
