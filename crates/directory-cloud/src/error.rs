//! Failures as callers of the ports see them, and why a folder is no cloud.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use model::{ErrorClass, Failure};

/// The folder cannot be used as a cloud.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("failed to open the folder of the cloud {}", path.display())]
    Root {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Settings(Failure),
}

pub(crate) fn io(doing: impl Display, error: &io::Error) -> Failure {
    if error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) {
        return Failure::permanent(
            "CLOUD_FULL",
            format!("no space left to {doing}: free some on the folder of the cloud, then try again"),
        );
    }
    Failure::transient("CLOUD_IO", format!("failed to {doing}: {error}"))
}

pub(crate) fn unsafe_name(path: &Path) -> Failure {
    Failure::permanent(
        "CLOUD_UNSAFE_NAME",
        format!(
            "{} is a link, or leaves the folder of the cloud: put the file or folder itself there",
            path.display()
        ),
    )
}

pub(crate) fn record_invalid(path: &Path, line: usize, why: impl Display) -> Failure {
    Failure::permanent(
        "CLOUD_RECORD_INVALID",
        format!("{} line {line} is not valid: {why}; correct the file", path.display()),
    )
}

pub(crate) fn not_found(code: &str, noun: &str, id: impl Display) -> Failure {
    Failure::permanent(code, format!("there is no {noun} {id} (in this project)"))
}

pub(crate) fn no_such_disk(what: impl Display) -> Failure {
    Failure::permanent("NO_SUCH_DISK", what.to_string())
}

pub(crate) fn in_use(id: impl Display, instance: &str) -> Failure {
    Failure::new(
        ErrorClass::Contention,
        "VOLUME_IN_USE",
        format!("volume {id} belongs to instance {instance}: detach it, or delete the instance"),
    )
}

pub(crate) fn point_in_time_lost(disk: impl Display, instance: &str, what: &str) -> Failure {
    Failure::permanent(
        "POINT_IN_TIME_LOST",
        format!("the point in time of disk {disk} of instance {instance} is lost: {what}"),
    )
}

pub(crate) fn bug(doing: &str, error: impl Display) -> Failure {
    Failure::new(ErrorClass::Bug, "CLOUD_BUG", format!("{doing} ended with a bug: {error}"))
}
