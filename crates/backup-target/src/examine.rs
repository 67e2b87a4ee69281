//! Looks at a target as an operator asks for it: is it the one that was initialised, may this process write, is it the
//! process's own, is there room? It changes nothing. Called by the services about themselves.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use model::{ByteCount, Check, TargetId};
use rustix::fs::{Access, StatVfsMountFlags};

use crate::posix::worker;
use crate::{BackupTarget as _, Error, PosixTarget, Space};

/// A share in the same site answers within milliseconds; who asks waits.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// A target as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    pub check: Check,
    /// What it is, if it is one.
    pub seen: Option<Seen>,
}

/// Which target it is, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub id: TargetId,
    pub owner: Owner,
}

/// User and group of a file, or of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

impl Owner {
    /// Of this process: with these it makes files.
    #[must_use]
    pub fn of_process() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "uid {} gid {}", self.uid, self.gid)
    }
}

/// Examines the target in `path`; `user` is who writes to it. Codes: those of a target, `TARGET_OWNER_FOREIGN`, `TARGET_NEARLY_FULL`.
pub async fn examine(path: &Path, user: Owner) -> Examined {
    let subject = format!("target {}", path.display());
    let owned = path.to_owned();
    let looked = tokio::task::spawn_blocking(move || {
        let inner = owned.clone();
        worker::run_blocking(&owned, ANSWER_TIME_MAX, move || look(&inner))
    });
    let (target, owner) = match looked.await {
        Ok(Ok(looked)) => looked,
        Ok(Err(error)) => {
            let failure = error.failure();
            return Examined { check: Check::fail(subject, &failure.code, failure.message), seen: None };
        }
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let seen = Some(Seen { id: target.id(), owner });
    if owner != user {
        let message = format!(
            "it belongs to {owner}, and this service runs as {user}: all that write to it must be one user and one group on all \
             hosts; run the service as that user, or chown -R the target"
        );
        return Examined { check: Check::fail(subject, "TARGET_OWNER_FOREIGN", message), seen };
    }
    let check = match target.with_deadline(ANSWER_TIME_MAX).space().await {
        Ok(space) => judge_space(&subject, space),
        Err(error) => {
            let failure = error.failure();
            Check::fail(subject, &failure.code, failure.message)
        }
    };
    Examined { check, seen }
}

/// Opens it, and sees that it may be written. Blocks.
fn look(path: &Path) -> Result<(PosixTarget, Owner), Error> {
    let target = PosixTarget::open(path)?;
    let failed = |source: std::io::Error| Error::Io {
        verb: "look at",
        path: path.to_owned(),
        name: "its folder".to_owned(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    let stat = rustix::fs::statvfs(path).map_err(|errno| failed(errno.into()))?;
    if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(Error::ReadOnly { path: path.to_owned() });
    }
    match rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Ok((target, Owner { uid: metadata.uid(), gid: metadata.gid() })),
        Err(rustix::io::Errno::ROFS) => Err(Error::ReadOnly { path: path.to_owned() }),
        Err(_) => Err(Error::AccessDenied { path: path.to_owned(), name: "its folder".to_owned() }),
    }
}

/// Less than a tenth is a warning, for the next full snapshot may not fit.
fn judge_space(subject: &str, Space { free, total, .. }: Space) -> Check {
    let message = format!("{free} of {total} free");
    if free == ByteCount(0) {
        Check::fail(subject, "TARGET_FULL", format!("{message}: make room or take another target"))
    } else if free.0.saturating_mul(10) < total.0 {
        Check::warn(
            subject,
            "TARGET_NEARLY_FULL",
            format!("{message}: make room before the next full snapshot"),
        )
    } else {
        Check::ok(subject, message)
    }
}

#[cfg(test)]
mod tests {
    use runtime::Entropy;

    use super::*;

    #[track_caller]
    fn check_code(examined: &Examined, code: &str) {
        assert_eq!(examined.check.code, code, "{examined:?}");
    }

    #[test]
    fn a_target_with_little_room_is_a_warning_and_a_full_one_a_failure() {
        for (free, code) in [(0, "TARGET_FULL"), (9, "TARGET_NEARLY_FULL"), (10, ""), (100, "")] {
            let space = Space { free: ByteCount(free), total: ByteCount(100) };
            assert_eq!(judge_space("x", space).code, code, "{free}");
        }
    }

    #[tokio::test]
    async fn a_folder_without_a_marker_is_no_target_and_one_of_another_owner_is_foreign() {
        let dir = tempfile::tempdir().unwrap();
        check_code(&examine(dir.path(), Owner::of_process()).await, "TARGET_NOT_INITIALIZED");
        let path = dir.path().join("target");
        std::fs::create_dir(&path).unwrap();
        let id = PosixTarget::init(&path, &Entropy).unwrap();
        let user = Owner::of_process();
        let other = Owner { uid: user.uid + 1, gid: user.gid };
        let examined = examine(&path, other).await;
        check_code(&examined, "TARGET_OWNER_FOREIGN");
        assert!(examined.check.message.contains(&other.to_string()), "{examined:?}");
        assert_eq!(examined.seen, Some(Seen { id, owner: user }));
        let own = examine(&path, user).await.check.code;
        assert!(["", "TARGET_NEARLY_FULL"].contains(&own.as_str()), "{own}");
    }
}
