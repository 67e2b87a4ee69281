//! Checks of this machine, one function each. A check that fails says what to do.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use backup_target::{BackupTarget as _, PosixTarget};
use bus::{BusConfig, Session};
use chunk_store::FileKeys;
use rustix::fs::Access;
use secrecy::SecretString;
use tokio::process::Command;
use tokio::time::timeout;
use url::Url;

use super::service::Bus;
use super::{Check, judge_space};

/// A broker or database in the same site answers within milliseconds.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// The codes of a file with secrets.
#[derive(Debug, Clone, Copy)]
pub(super) struct SecretCodes {
    unreadable: &'static str,
    exposed: &'static str,
}

pub(super) const TOKENS_FILE: SecretCodes =
    SecretCodes { unreadable: "TOKENS_FILE_UNREADABLE", exposed: "TOKENS_FILE_EXPOSED" };
const PASSWORD_FILE: SecretCodes =
    SecretCodes { unreadable: "PASSWORD_FILE_UNREADABLE", exposed: "PASSWORD_FILE_EXPOSED" };

/// A file with secrets: there, and for its owner only.
pub(super) fn check_secret_file(name: &str, codes: SecretCodes, path: &Path) -> Check {
    let shown = path.display();
    if let Err(error) = fs::File::open(path) {
        return Check::fail(name, codes.unreadable, format!("{shown}: {error}"));
    }
    match fs::metadata(path).map(|metadata| metadata.mode() & 0o7777) {
        Ok(mode) if mode & 0o077 != 0 => {
            let message = format!("{shown} has mode {mode:o}: run chmod 600 on it");
            Check::fail(name, codes.exposed, message)
        }
        Ok(_) => Check::ok(name, shown.to_string()),
        Err(error) => Check::fail(name, codes.unreadable, format!("{shown}: {error}")),
    }
}

/// The broker answers and takes user and password. Codes: `PASSWORD_FILE_…`, `BUS_CONFIG_INVALID`, `BUS_UNREACHABLE`,
/// `BUS_REFUSED`.
pub(super) async fn check_broker(bus: &Bus) -> Vec<Check> {
    let file = check_secret_file("bus password file", PASSWORD_FILE, &bus.password_file);
    let mut checks = vec![file];
    let Ok(text) = fs::read_to_string(&bus.password_file) else { return checks };
    let config = BusConfig {
        brokers: bus.brokers.clone(),
        vhost: bus.vhost.clone(),
        user: bus.user.clone(),
        password: SecretString::from(text.lines().next().unwrap_or_default().trim().to_owned()),
        connection_name: "holdfast doctor".to_owned(),
    };
    let outcome = match Session::start(config) {
        Ok(session) => {
            let ready = session.wait_ready(ANSWER_TIMEOUT_MAX).await;
            session.close().await;
            ready
        }
        Err(error) => Err(error),
    };
    checks.push(match outcome {
        Ok(()) => Check::ok("broker", format!("lets {} into vhost {}", bus.user, bus.vhost)),
        Err(error) => {
            let failure = error.failure();
            Check::fail("broker", &failure.code, failure.message)
        }
    });
    checks
}

/// The database can be used. Codes: `DATABASE_URL_INVALID`, `DATABASE_FOLDER_UNUSABLE`, `DATABASE_UNREACHABLE`.
pub(super) async fn check_database(url: &str) -> Check {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = Path::new(path.trim_start_matches("//").split('?').next().unwrap_or_default());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return check_writable("database folder", "DATABASE_FOLDER_UNUSABLE", folder);
    }
    let invalid = || {
        let expected = "expected sqlite:PATH or mysql://USER:PASSWORD@HOST/DATABASE";
        Check::fail("database", "DATABASE_URL_INVALID", expected)
    };
    let Ok(url) = Url::parse(url) else { return invalid() };
    let (true, Some(host)) = (matches!(url.scheme(), "mysql" | "mariadb"), url.host_str()) else {
        return invalid();
    };
    let place = (host, url.port().unwrap_or(3306));
    match timeout(ANSWER_TIMEOUT_MAX, tokio::net::TcpStream::connect(place)).await {
        Ok(Ok(_)) => Check::ok("database", format!("{host} answers")),
        Ok(Err(error)) => Check::fail("database", "DATABASE_UNREACHABLE", format!("{host}: {error}")),
        Err(_) => Check::fail("database", "DATABASE_UNREACHABLE", format!("{host} does not answer")),
    }
}

/// A folder that must be there.
pub(super) fn check_folder(name: &str, code: &str, path: &Path) -> Check {
    match fs::read_dir(path) {
        Ok(_) => Check::ok(name, path.display().to_string()),
        Err(error) => Check::fail(name, code, format!("{}: {error}", path.display())),
    }
}

/// A folder that is written to; where it is missing, its nearest parent must let it be made.
pub(super) fn check_writable(name: &str, code: &str, path: &Path) -> Check {
    let mut folder = path;
    while let (Err(error), Some(parent)) = (fs::metadata(folder), folder.parent()) {
        if error.kind() != io::ErrorKind::NotFound {
            break;
        }
        folder = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    }
    if !fs::metadata(folder).is_ok_and(|metadata| metadata.is_dir()) {
        return Check::fail(name, code, format!("{} is no folder", folder.display()));
    }
    match rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Check::ok(name, path.display().to_string()),
        Err(error) => Check::fail(name, code, format!("{} cannot be written: {error}", folder.display())),
    }
}

/// The program that opens disks is there and runs. Code: `QEMU_NBD_MISSING`.
pub(super) async fn check_qemu_nbd(program: &Path) -> Check {
    let name = "qemu-nbd";
    let run = Command::new(program).arg("--version").kill_on_drop(true).output();
    match timeout(ANSWER_TIMEOUT_MAX, run).await {
        Ok(Ok(output)) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Check::ok(name, text.lines().next().unwrap_or_default().to_owned())
        }
        Ok(Ok(output)) => Check::fail(
            name,
            "QEMU_NBD_MISSING",
            format!("{} ends with {}", program.display(), output.status),
        ),
        Ok(Err(error)) => {
            let message = format!("{}: {error}; on Debian: apt install qemu-utils", program.display());
            Check::fail(name, "QEMU_NBD_MISSING", message)
        }
        Err(_) => Check::fail(name, "QEMU_NBD_MISSING", format!("{} does not answer", program.display())),
    }
}

/// The master key is there, whole, and for its owner only. Codes: those of the key file itself.
pub(super) fn check_key_file(path: &Path) -> Check {
    match FileKeys::open(path) {
        Ok(_) => Check::ok("key file", path.display().to_string()),
        Err(error) => {
            let failure = error.failure();
            Check::fail("key file", &failure.code, failure.message)
        }
    }
}

/// A target is there, was initialised, can be written and has room. Codes: those of the target, `TARGET_ACCESS_DENIED`,
/// `TARGET_NEARLY_FULL`.
pub(super) async fn check_target(path: &Path) -> Check {
    let name = format!("target {}", path.display());
    let space = match PosixTarget::open(path) {
        Ok(target) => target.space().await,
        Err(error) => Err(error),
    };
    let space = match space {
        Ok(space) => space,
        Err(error) => {
            let failure = error.failure();
            return Check::fail(name, &failure.code, failure.message);
        }
    };
    match rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => judge_space(&name, space.free, space.total),
        Err(error) => Check::fail(name, "TARGET_ACCESS_DENIED", format!("it cannot be written: {error}")),
    }
}

#[cfg(test)]
mod tests;
