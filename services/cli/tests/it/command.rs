//! Runs `holdfast` as a shell would, and keeps what it said.

use std::process::{Command, Output};

use serde_json::Value;

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs with nothing of the surrounding environment; blocks.
pub(crate) fn run(variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(variables.iter().copied())
        .args(arguments)
        .output()
        .unwrap();
    Ran::of(&output)
}

impl Ran {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self {
            exit: output.status.code().unwrap(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The result as JSON; the run must have succeeded.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.exit, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Checks a refusal: the code, and one line that names something.
    #[track_caller]
    pub(crate) fn check_refused(&self, exit: i32, names: &str) {
        assert_eq!(self.exit, exit, "{self:?}");
        assert!(self.stderr.contains(names), "{names:?} is not in: {}", self.stderr);
        assert!(self.stdout.is_empty(), "{self:?}");
    }
}
