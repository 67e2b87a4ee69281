//! How a command ends when it does not succeed: one line for people, one code for scripts.

use std::io::Write as _;
use std::process::ExitCode;

/// What scripts tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The job ended badly, or something local failed.
    Failed = 1,
    /// The command makes no sense as it was given.
    Usage = 2,
    /// It names something that is not there.
    NotFound = 3,
    /// The service, or a safety rule, said no.
    Refused = 4,
    /// The service cannot be reached, or does not know us.
    NotReachable = 5,
}

/// A command that did not succeed.
#[derive(Debug)]
pub(crate) struct Error {
    exit: Exit,
    message: String,
}

impl Error {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn local(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Writes the line, and gives the code.
    pub(crate) fn report(&self) -> ExitCode {
        // Where stderr is gone there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "holdfast: {}", self.message);
        ExitCode::from(self.exit as u8)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<openstack::Error> for Error {
    fn from(error: openstack::Error) -> Self {
        let failure = error.failure();
        match &error {
            openstack::Error::Config { .. } | openstack::Error::EndpointAmbiguous { .. } => {
                Self::usage(failure.to_string())
            }
            openstack::Error::EndpointMissing { service: openstack::Service::Workloads, .. } => Self::new(
                Exit::NotReachable,
                format!(
                    "{failure}; give --endpoint, or ask the operator to run `holdfast-controller register`"
                ),
            ),
            _ => Self::new(Exit::NotReachable, failure.to_string()),
        }
    }
}

impl From<rest_api::Error> for Error {
    fn from(error: rest_api::Error) -> Self {
        match &error {
            rest_api::Error::Endpoint { endpoint, reason } => {
                Self::usage(format!("{endpoint:?} is not a valid endpoint: {reason}"))
            }
            rest_api::Error::Token => Self::usage(error.to_string()),
            rest_api::Error::NotReachable { url, source } => {
                let mut cause: &dyn std::error::Error = source;
                while let Some(deeper) = cause.source() {
                    cause = deeper;
                }
                let message = format!(
                    "{url} cannot be reached: {cause}; check --endpoint and that the controller runs"
                );
                Self::new(Exit::NotReachable, message)
            }
            rest_api::Error::Login { .. } => Self::new(Exit::NotReachable, error.to_string()),
            rest_api::Error::Foreign { .. } => Self::new(Exit::NotReachable, error.to_string()),
            rest_api::Error::Refused { status, detail, request_id } => Self::new(
                exit_of(*status, &detail.error_code),
                describe(*status, detail, request_id.as_deref()),
            ),
        }
    }
}

fn exit_of(status: u16, code: &str) -> Exit {
    match status {
        401 | 502..=504 => Exit::NotReachable,
        404 => Exit::NotFound,
        403 | 409 => Exit::Refused,
        400 if code.ends_with("_NOT_FOUND") => Exit::NotFound,
        400..=499 => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn describe(status: u16, detail: &rest_api::ErrorDetail, request_id: Option<&str>) -> String {
    let mut text = detail.message.clone();
    if !detail.error_code.is_empty() {
        text.push_str(&format!(" [{}]", detail.error_code));
    }
    if status == 401 {
        text.push_str("; set HOLDFAST_TOKEN or --token-file");
    }
    if let (500.., Some(id)) = (status, request_id) {
        text.push_str(&format!(" ({id})"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_refusal_has_its_exit_code() {
        for (status, code, exit) in [
            (400, "NAME_INVALID", Exit::Usage),
            (400, "INSTANCE_NOT_FOUND", Exit::NotFound),
            (401, "TOKEN_REFUSED", Exit::NotReachable),
            (403, "FORBIDDEN", Exit::Refused),
            (404, "SNAPSHOT_NOT_FOUND", Exit::NotFound),
            (409, "WORKLOAD_LOCKED", Exit::Refused),
            (500, "INTERNAL", Exit::Failed),
            (503, "DATABASE_UNAVAILABLE", Exit::NotReachable),
        ] {
            assert_eq!(exit_of(status, code), exit, "{status} {code}");
        }
    }
}
