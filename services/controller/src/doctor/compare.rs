//! What services tell, held against each other and against this controller. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use backup_target::Owner;
use catalog::ServiceKind;
use model::{Check, TargetId, Timestamp};

use super::Finding;
use super::asking::Answer;

/// Deadlines of commands are compared with the worker's clock, and a second or two is nothing to the shortest of them.
const SKEW_SMALL_MAX: Duration = Duration::from_secs(2);
/// The shortest deadlines are a minute: half of it gone, commands are refused as expired whenever anything else is slow.
const SKEW_LARGE: Duration = Duration::from_secs(30);
/// A controller works with what is one release older.
const RELEASES_APART_MAX: u64 = 1;

/// What this controller is, and sees.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) version: String,
    pub(super) user: Owner,
    /// Name and owner of the targets that it could open.
    pub(super) targets: BTreeMap<TargetId, (String, Option<Owner>)>,
}

/// Compares. Codes: `CLOCK_SKEWED`, `VERSIONS_APART`, `TARGET_NOT_ON_HOST`, `ACCOUNT_DIFFERS`, `TARGET_OWNERS_DIFFER`.
pub(super) fn compare(own: &Own, answers: &[Answer]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for answer in answers {
        let mut checks = vec![compare_clock(answer), compare_version(&own.version, &answer.examined.version)];
        if answer.kind == ServiceKind::Datamover {
            checks.push(compare_account(own, answer));
            checks.extend(compare_targets(own, answer));
        }
        let (service, host) = (answer.kind.as_str(), answer.host.to_string());
        findings.extend(checks.into_iter().map(|check| Finding { service, host: host.clone(), check }));
    }
    findings
}

/// An answer is sent after the question and before it is received: whatever lies outside is the difference of two clocks.
fn compare_clock(answer: &Answer) -> Check {
    judge_clock(answer.asked_at, Timestamp(answer.examined.sent_at), answer.received_at, "this controller's")
}

/// Judges a time that was read between two moments of our own clock.
pub(super) fn judge_clock(before: Timestamp, theirs: Timestamp, after: Timestamp, whose: &str) -> Check {
    let (skew, direction) =
        if theirs < before { (before.since(theirs), "behind") } else { (theirs.since(after), "ahead of") };
    let message = format!("{:.1} s {direction} {whose}", skew.as_secs_f32());
    let advice = "run NTP on all hosts";
    if skew <= SKEW_SMALL_MAX {
        Check::ok("clock", message)
    } else if skew < SKEW_LARGE {
        Check::warn("clock", "CLOCK_SKEWED", format!("{message}: {advice}"))
    } else {
        let message = format!("{message}: commands are refused as expired, or run too late; {advice}");
        Check::fail("clock", "CLOCK_SKEWED", message)
    }
}

fn compare_version(ours: &str, theirs: &str) -> Check {
    match (release(ours), release(theirs)) {
        (Some((major, minor)), Some((other, their_minor)))
            if major == other && minor.abs_diff(their_minor) <= RELEASES_APART_MAX =>
        {
            Check::ok("version", theirs)
        }
        _ => Check::warn(
            "version",
            "VERSIONS_APART",
            format!(
                "it is {theirs:?}, and the controller {ours:?}: they work together when they are one release apart at most; upgrade \
                 the older"
            ),
        ),
    }
}

/// Major and minor.
fn release(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// All that write to a target are one user and one group.
fn compare_account(own: &Own, answer: &Answer) -> Check {
    let theirs = Owner { uid: answer.examined.uid, gid: answer.examined.gid };
    if theirs == own.user {
        return Check::ok("account", theirs.to_string());
    }
    let message = format!(
        "it runs as {theirs}, and the controller as {}: all that write to a target must have the same numbers on all hosts, or one \
         cannot read what the other wrote; give the accounts the same uid and gid",
        own.user
    );
    Check::fail("account", "ACCOUNT_DIFFERS", message)
}

/// One check for each target of the controller.
fn compare_targets(own: &Own, answer: &Answer) -> Vec<Check> {
    let seen = |id: &TargetId| {
        let id = id.to_string();
        answer.examined.targets.iter().find(|target| target.target_id == id)
    };
    let compare = |(id, (name, owner)): (&TargetId, &(String, Option<Owner>))| {
        let subject = format!("backup target {name}");
        let Some(target) = seen(id) else {
            let message = format!(
                "none of the host's targets is {id}: mount it, and add its [[target]] to the datamover's config; until then jobs \
                 that come here fail"
            );
            return Check::fail(subject, "TARGET_NOT_ON_HOST", message);
        };
        let theirs = Owner { uid: target.owner_uid, gid: target.owner_gid };
        match owner {
            Some(ours) if *ours != theirs => {
                let message = format!(
                    "the host sees it belong to {theirs}, and the controller to {ours}: look at the mounts' mapping of ids, as \
                     idmapd or root_squash"
                );
                Check::fail(subject, "TARGET_OWNERS_DIFFER", message)
            }
            _ => Check::ok(subject, format!("the same, of {theirs}")),
        }
    };
    own.targets.iter().map(compare).collect()
}

#[cfg(test)]
mod tests {
    use proto::rep::v1::{Examined, TargetSeen};

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
    const SECOND: i64 = 1_000_000;
    const TARGET: &str = "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f";

    fn make_own() -> Own {
        let user = Owner { uid: 162, gid: 162 };
        let target = ("main".to_owned(), Some(user));
        Own { version: "1.4.2".to_owned(), user, targets: [(TARGET.parse().unwrap(), target)].into() }
    }

    fn make_answer() -> Answer {
        let target = TargetSeen {
            target_id: TARGET.to_owned(),
            path: "/srv/t".to_owned(),
            owner_uid: 162,
            owner_gid: 162,
        };
        let examined = Examined {
            version: "1.4.0".to_owned(),
            sent_at: NOW.0,
            uid: 162,
            gid: 162,
            targets: vec![target],
            ..Examined::default()
        };
        Answer {
            kind: ServiceKind::Datamover,
            host: "node-1".parse().unwrap(),
            examined,
            asked_at: Timestamp(NOW.0 - SECOND),
            received_at: Timestamp(NOW.0 + SECOND),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Answer), expected: &[(&str, &str)]) {
        let mut answer = make_answer();
        change(&mut answer);
        let findings = compare(&make_own(), &[answer]);
        let bad = findings.iter().filter(|finding| !finding.check.code.is_empty());
        let bad: Vec<_> = bad.map(|it| (it.check.code.as_str(), it.check.verdict.as_str())).collect();
        assert_eq!(bad, expected, "{findings:?}");
        assert!(findings.iter().all(|finding| finding.host == "node-1"));
    }

    #[test]
    fn a_service_like_the_controller_is_well() {
        check(|_| {}, &[]);
        check(|answer| answer.examined.version = "1.3.9".to_owned(), &[]);
    }

    #[test]
    fn a_clock_that_is_off_by_seconds_is_a_warning_and_by_half_a_minute_a_failure() {
        check(|answer| answer.examined.sent_at -= 3 * SECOND, &[]);
        check(|answer| answer.examined.sent_at -= 4 * SECOND, &[("CLOCK_SKEWED", "warn")]);
        check(|answer| answer.examined.sent_at += 32 * SECOND, &[("CLOCK_SKEWED", "fail")]);
        check(|answer| answer.examined.sent_at -= 3600 * SECOND, &[("CLOCK_SKEWED", "fail")]);
        // A slow answer says nothing of the clock.
        check(|answer| answer.received_at.0 += 20 * SECOND, &[]);
    }

    #[test]
    fn versions_more_than_a_release_apart_and_foreign_ones_are_warned_of() {
        for version in ["1.2.9", "2.4.2", "1.6.0", "", "x"] {
            check(|answer| answer.examined.version = version.to_owned(), &[("VERSIONS_APART", "warn")]);
        }
    }

    #[test]
    fn an_account_with_another_number_is_named_with_both() {
        check(|answer| answer.examined.uid = 64055, &[("ACCOUNT_DIFFERS", "fail")]);
        check(|answer| answer.examined.gid = 0, &[("ACCOUNT_DIFFERS", "fail")]);
    }

    #[test]
    fn a_target_that_a_host_lacks_or_sees_with_other_owners_is_named() {
        check(|answer| answer.examined.targets.clear(), &[("TARGET_NOT_ON_HOST", "fail")]);
        check(|answer| answer.examined.targets[0].owner_uid = 65534, &[("TARGET_OWNERS_DIFFER", "fail")]);
    }
}
