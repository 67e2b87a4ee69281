//! `holdfast doctor`: looks for what is wrong. Each check has a code of its own, so that scripts and people find the same
//! row in docs/errors.md. It changes nothing, but for leftovers that are to be removed.

mod client;
mod leftovers;
mod local;
mod service;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use model::ByteCount;
use serde::Serialize;

use crate::command::Session;
use crate::error::Error;

const COLUMNS: &[&str] = &["check", "result", "code", "message"];

/// Looks for what is wrong, here and at the service.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  holdfast doctor
  holdfast doctor -f json
  holdfast doctor --controller-config /etc/holdfast/controller.toml
  holdfast doctor --datamover-config /etc/holdfast/datamover.toml
  holdfast doctor --leftovers --older-than 2h --remove

Exit code 1 when a check fails; warnings alone give 0.")]
pub(crate) struct Doctor {
    /// Check what a controller on this machine needs.
    #[arg(long, value_name = "FILE")]
    controller_config: Option<PathBuf>,
    /// Check what a datamover on this machine needs.
    #[arg(long, value_name = "FILE")]
    datamover_config: Option<PathBuf>,
    /// Show what sagas that are over left in the cloud, and nothing else; for operators.
    #[arg(long, conflicts_with_all = ["controller_config", "datamover_config"])]
    leftovers: bool,
    /// Remove what may be removed of it.
    #[arg(long, requires = "leftovers")]
    remove: bool,
    /// Only of sagas that ended as long ago, for example 90s, 15m, 2h or 3d.
    #[arg(long, value_name = "AGE", requires = "leftovers", default_value = "1h", value_parser = leftovers::read_age)]
    older_than: Duration,
}

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    check: String,
    result: Verdict,
    /// Empty when all is well.
    code: String,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl Check {
    fn ok(check: impl Into<String>, message: impl Into<String>) -> Self {
        Self { check: check.into(), result: Verdict::Ok, code: String::new(), message: message.into() }
    }

    fn warn(check: impl Into<String>, code: &str, message: impl Into<String>) -> Self {
        Self { check: check.into(), result: Verdict::Warn, code: code.to_owned(), message: message.into() }
    }

    fn fail(check: impl Into<String>, code: &str, message: impl Into<String>) -> Self {
        Self { check: check.into(), result: Verdict::Fail, code: code.to_owned(), message: message.into() }
    }
}

impl Doctor {
    /// Runs the checks and shows them.
    ///
    /// Errors: exit code 1 when one fails.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<(), Error> {
        if self.leftovers {
            return leftovers::run(session, self.remove, self.older_than).await;
        }
        let is_local = self.controller_config.is_some() || self.datamover_config.is_some();
        let mut checks = Vec::new();
        // With a config at hand, a missing endpoint only says that nobody asked for that part.
        if !is_local || session.connection.is_set() {
            checks.extend(client::check(session.connection).await);
        }
        if let Some(path) = &self.controller_config {
            checks.extend(service::check_controller(path).await);
        }
        if let Some(path) = &self.datamover_config {
            checks.extend(service::check_datamover(path).await);
        }
        session.output.list(&checks, COLUMNS)?;
        let failed = checks.iter().filter(|check| check.result == Verdict::Fail).count();
        if failed == 0 {
            Ok(())
        } else {
            Err(Error::local(format!("{failed} of {} checks failed", checks.len())))
        }
    }
}

/// Judges the room on a target: less than a tenth is a warning, for the next full snapshot may not fit.
fn judge_space(check: &str, free: ByteCount, total: ByteCount) -> Check {
    let message = format!("{free} of {total} free");
    if free.0 == 0 {
        Check::fail(check, "TARGET_FULL", format!("{message}: make room or take another target"))
    } else if free.0.saturating_mul(10) < total.0 {
        Check::warn(check, "TARGET_NEARLY_FULL", message)
    } else {
        Check::ok(check, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_with_little_room_is_a_warning_and_a_full_one_a_failure() {
        for (free, code) in [(0, "TARGET_FULL"), (9, "TARGET_NEARLY_FULL"), (10, ""), (100, "")] {
            assert_eq!(judge_space("x", ByteCount(free), ByteCount(100)).code, code, "{free}");
        }
    }
}
