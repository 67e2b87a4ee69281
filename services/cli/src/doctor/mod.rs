//! `holdfast doctor`: looks for what is wrong. Each check has a code of its own, so that scripts and people find the same
//! row in docs/errors.md. It changes nothing, but for leftovers that are to be removed. What only services can see they look at
//! themselves; here is what a client needs before it can ask them.

mod client;
mod leftovers;

use std::time::Duration;

use clap::Args;
use model::{Verdict, WorkloadId};
use rest_api::DoctorCheck;

use crate::command::Session;
use crate::error::Error;
use crate::output;

const COLUMNS: &[&str] = &["service", "host", "check", "result", "code", "message"];

/// Looks for what is wrong: with the way to the service, and with the service itself.
///
/// An administrator is shown the whole site: controllers, broker, dmapi, every datamover, backup targets, and trusts and
/// quotas of all who own workloads. Others are shown what concerns their own project.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  holdfast doctor
  holdfast doctor --problems
  holdfast doctor --workload 018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f
  holdfast doctor -f json
  holdfast doctor --leftovers --older-than 2h --remove

What a service on this machine needs before it can start:
  holdfast-controller --config /etc/holdfast/controller.toml --check
  holdfast-dmapi --config /etc/holdfast/dmapi.toml --check
  holdfast-datamover --config /etc/holdfast/datamover.toml --check

Exit code 1 when a check fails; warnings alone give 0.")]
pub(crate) struct Doctor {
    /// Of workloads, look at this one only.
    #[arg(long, value_name = "ID")]
    workload: Option<WorkloadId>,
    /// Show only what is not well.
    #[arg(long)]
    problems: bool,
    /// Show what sagas that are over left in the cloud and on its hosts, and nothing else; for operators.
    #[arg(long, conflicts_with_all = ["workload", "problems"])]
    leftovers: bool,
    /// Remove what may be removed of it.
    #[arg(long, requires = "leftovers")]
    remove: bool,
    /// Only of sagas that ended as long ago, for example 90s, 15m, 2h or 3d.
    #[arg(long, value_name = "AGE", requires = "leftovers", default_value = "1h", value_parser = leftovers::read_age)]
    older_than: Duration,
}

impl Doctor {
    /// Runs the checks and shows them, service by service.
    ///
    /// Errors: exit code 1 when one fails.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<(), Error> {
        if self.leftovers {
            return leftovers::run(session, self.remove, self.older_than).await;
        }
        let mut checks = client::check(session.connection, self.workload).await;
        let count = checks.len();
        let failed = checks.iter().filter(|check| check.result == Verdict::Fail).count();
        checks.sort_by(|one, other| order(one).cmp(&order(other)));
        checks.retain(|check| !self.problems || check.result != Verdict::Ok);
        if checks.is_empty() && session.output.is_for_people() {
            output::tell(&format!("all {count} checks are well"));
            return Ok(());
        }
        session.output.list(&checks, COLUMNS)?;
        if failed == 0 { Ok(()) } else { Err(Error::local(format!("{failed} of {count} checks failed"))) }
    }
}

/// The way that a request takes: the client first. Within a service by host, and then as they were made.
fn order(check: &DoctorCheck) -> (usize, &str) {
    let services = ["client", "controller", "dmapi", "datamover"];
    let place = services.iter().position(|service| *service == check.service);
    (place.unwrap_or(services.len()), &check.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_shown_along_the_way_of_a_request_and_host_by_host() {
        let make = |service: &str, host: &str| DoctorCheck {
            service: service.to_owned(),
            host: host.to_owned(),
            check: String::new(),
            result: Verdict::Ok,
            code: String::new(),
            message: String::new(),
        };
        let mut checks =
            [("project", ""), ("datamover", "b"), ("datamover", "a"), ("controller", "c"), ("client", "")]
                .map(|(service, host)| make(service, host));
        checks.sort_by(|one, other| order(one).cmp(&order(other)));
        let shown = checks.map(|check| format!("{} {}", check.service, check.host));
        assert_eq!(shown, ["client ", "controller c", "datamover a", "datamover b", "project "]);
    }
}
