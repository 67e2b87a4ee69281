//! What every service looks at when it is asked how it finds itself, and what `--check` prints. One function for each thing
//! that is looked at; each ends within seconds, and a check that fails says what to do.

use std::fs;
use std::future::Future;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bus::{Envelope, PublishError, Publisher, Session};
use model::{Check, MessageId, Verdict};
use rustix::fs::Access;
use tokio::process::Command;
use tokio::time::timeout;

use crate::Exit;
use crate::config::BusSection;
use crate::telemetry::Chain;

/// A broker or database in the same site answers within milliseconds, a program that starts within tenths of a second.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// More than each single check of a part takes at most: some of them come one after the other.
const PART_TIMEOUT_MAX: Duration = Duration::from_secs(15);

/// The codes of a file with secrets.
#[derive(Debug, Clone, Copy)]
pub struct SecretCodes {
    pub unreadable: &'static str,
    pub exposed: &'static str,
}

/// Of every file that holds a password.
pub const PASSWORD_FILE: SecretCodes =
    SecretCodes { unreadable: "PASSWORD_FILE_UNREADABLE", exposed: "PASSWORD_FILE_EXPOSED" };

/// Checks of a part that may hang; then they say so. Code: `CHECK_OVERDUE`.
pub async fn bounded(part: &str, work: impl Future<Output = Vec<Check>>) -> Vec<Check> {
    let overdue = || {
        let seconds = PART_TIMEOUT_MAX.as_secs();
        let message = format!(
            "not all was looked at within {seconds} s: something hangs; look at the host and its shares"
        );
        vec![Check::fail(part, "CHECK_OVERDUE", message)]
    };
    timeout(PART_TIMEOUT_MAX, work).await.unwrap_or_else(|_| overdue())
}

/// A file with secrets: there, and for its owner only.
#[must_use]
pub fn secret_file(subject: &str, codes: SecretCodes, path: &Path) -> Check {
    let shown = path.display();
    if let Err(error) = fs::File::open(path) {
        return Check::fail(
            subject,
            codes.unreadable,
            format!("{shown}: {error}; make it, for the service's user"),
        );
    }
    match fs::metadata(path).map(|metadata| metadata.mode() & 0o7777) {
        Ok(mode) if mode & 0o077 != 0 => {
            let message = format!("{shown} has mode {mode:o}: run chmod 600 on it");
            Check::fail(subject, codes.exposed, message)
        }
        Ok(_) => Check::ok(subject, shown.to_string()),
        Err(error) => Check::fail(subject, codes.unreadable, format!("{shown}: {error}")),
    }
}

/// A folder that must be there, and readable.
#[must_use]
pub fn folder(subject: &str, code: &str, path: &Path) -> Check {
    match fs::read_dir(path) {
        Ok(_) => Check::ok(subject, path.display().to_string()),
        Err(error) => {
            Check::fail(subject, code, format!("{}: {error}; let the service's user read it", path.display()))
        }
    }
}

/// A folder that is written to; where it is missing, its nearest parent must let it be made.
#[must_use]
pub fn writable(subject: &str, code: &str, path: &Path) -> Check {
    let mut folder = path;
    while let (Err(error), Some(parent)) = (fs::metadata(folder), folder.parent()) {
        if error.kind() != io::ErrorKind::NotFound {
            break;
        }
        folder = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    }
    let shown = folder.display();
    if !fs::metadata(folder).is_ok_and(|metadata| metadata.is_dir()) {
        return Check::fail(subject, code, format!("{shown} is no folder"));
    }
    match rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Check::ok(subject, path.display().to_string()),
        Err(error) => Check::fail(
            subject,
            code,
            format!("{shown} cannot be written: {error}; give it to the service's user"),
        ),
    }
}

/// A program that must be there and run; tells its version. `advice`: where it comes from.
pub async fn program(subject: &str, code: &str, program: &Path, advice: &str) -> Check {
    let run = Command::new(program).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let shown = program.display();
    let message = match timeout(ANSWER_TIMEOUT_MAX, run).await {
        Ok(Ok(output)) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            return Check::ok(subject, text.lines().next().unwrap_or_default().to_owned());
        }
        Ok(Ok(output)) => format!("{shown} ends with {}", output.status),
        Ok(Err(error)) => format!("{shown}: {error}"),
        Err(_) => format!("{shown} does not answer"),
    };
    Check::fail(subject, code, format!("{message}; {advice}"))
}

/// The broker lets the service in. Codes: `PASSWORD_FILE_…`, and those of the bus.
pub async fn broker(section: &BusSection, service: &str) -> Vec<Check> {
    let mut checks = vec![secret_file("bus password file", PASSWORD_FILE, &section.password_file)];
    let config = match section.to_bus_config(&format!("{service} --check")) {
        Ok(config) => config,
        Err(error) => {
            checks.push(Check::fail("broker", PASSWORD_FILE.unreadable, Chain(&error).to_string()));
            return checks;
        }
    };
    let outcome = match Session::start(config) {
        Ok(session) => {
            let ready = session.wait_ready(ANSWER_TIMEOUT_MAX).await;
            session.close().await;
            ready
        }
        Err(error) => Err(error),
    };
    let lets_in = || format!("it lets {} into vhost {}", section.user, section.vhost);
    checks.push(Check::of("broker", outcome.map(|()| lets_in()).map_err(|error| error.failure())));
    checks
}

/// Whether the service may write to an exchange, by a message under a key that leads nowhere. Codes: `BUS_RIGHT_MISSING`, and
/// those of the bus.
pub async fn may_publish(publisher: &Publisher, exchange: &str, key: &str, id: MessageId) -> Check {
    let subject = format!("right to write to {exchange}");
    let envelope = Envelope::new(id, "holdfast.none.v1.None", Vec::new());
    let refused = |reason: &str| {
        let message = format!(
            "the broker refuses {key} on {exchange}: {reason}; `holdfast-controller broker init` gives the users of controllers and \
             dmapi their rights, `holdfast-controller host add` those of a host"
        );
        Check::fail(subject.clone(), "BUS_RIGHT_MISSING", message)
    };
    match timeout(ANSWER_TIMEOUT_MAX, publisher.publish(exchange, key, &envelope)).await {
        Ok(Ok(()) | Err(PublishError::Unroutable { .. })) => Check::ok(subject, "given"),
        Ok(Err(error @ PublishError::Refused { .. })) => refused(&error.to_string()),
        Ok(Err(error)) => Check::fail(subject, "BUS_UNREACHABLE", error.to_string()),
        Err(_) => Check::fail(subject, "BUS_UNREACHABLE", "the broker does not answer: is it up?"),
    }
}

/// Makes the checks of `--check`, prints them, and says how the process ends.
pub fn run(work: impl Future<Output = Vec<Check>>) -> Exit {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let Ok(runtime) = runtime else { return Exit::Failed };
    let checks = runtime.block_on(work);
    // What hangs on a share that does not answer is left to hang.
    runtime.shutdown_background();
    // A closed pipe is the reader's wish.
    let _ = io::stdout().write_all(render(&checks).as_bytes());
    if checks.iter().any(|check| check.verdict == Verdict::Fail) { Exit::Failed } else { Exit::Done }
}

/// A line for each: verdict, code, subject, message.
fn render(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.code.len()).max().unwrap_or_default();
    let line = |Check { subject, verdict, code, message }: &Check| {
        format!("{:<4} {code:<width$} {subject}: {message}\n", verdict.as_str())
    };
    checks.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    fn make_file(dir: &tempfile::TempDir, name: &str, mode: u32) -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, "secret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[track_caller]
    fn check_code(check: &Check, code: &str) {
        assert_eq!(check.code, code, "{check:?}");
    }

    #[test]
    fn a_secret_that_is_missing_or_exposed_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        check_code(&secret_file("f", PASSWORD_FILE, &make_file(&dir, "good", 0o600)), "");
        let exposed = make_file(&dir, "exposed", 0o644);
        check_code(&secret_file("f", PASSWORD_FILE, &exposed), "PASSWORD_FILE_EXPOSED");
        let missing = dir.path().join("missing");
        check_code(&secret_file("f", PASSWORD_FILE, &missing), "PASSWORD_FILE_UNREADABLE");
    }

    #[test]
    fn a_folder_that_can_be_made_is_as_good_as_one_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        check_code(&writable("f", "C", &dir.path().join("a/b")), "");
        check_code(&writable("f", "C", &make_file(&dir, "file", 0o600)), "C");
        check_code(&folder("f", "C", &dir.path().join("none")), "C");
    }

    #[tokio::test]
    async fn a_program_that_is_missing_or_broken_is_named_with_where_it_comes_from() {
        check_code(&program("p", "C", Path::new("true"), "install it").await, "");
        for name in ["false", "holdfast-no-such-program"] {
            let check = program("p", "C", Path::new(name), "install it").await;
            check_code(&check, "C");
            assert!(check.message.ends_with("; install it"), "{check:?}");
        }
    }

    #[tokio::test]
    async fn a_broker_that_is_away_is_told_and_its_password_file_looked_at_first() {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let section = BusSection {
            brokers: vec![format!("amqp://127.0.0.1:{port}")],
            vhost: "holdfast".to_owned(),
            user: "u".to_owned(),
            password_file: make_file(&dir, "password", 0o600),
        };
        let checks = broker(&section, "test").await;
        assert_eq!(
            checks.iter().map(|check| check.code.as_str()).collect::<Vec<_>>(),
            ["", "BUS_UNREACHABLE"]
        );
        let missing = BusSection { password_file: dir.path().join("none"), ..section };
        check_code(&broker(&missing, "test").await[0], "PASSWORD_FILE_UNREADABLE");
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_hangs_is_told_by_its_name() {
        check_code(&bounded("guests", std::future::pending()).await[0], "CHECK_OVERDUE");
    }

    #[test]
    fn the_printed_lines_begin_with_the_verdict_and_the_code() {
        let checks = [Check::ok("a", "well"), Check::fail("b", "BAD", "do it")];
        assert_eq!(render(&checks), "ok       a: well\nfail BAD b: do it\n");
    }
}
