//! Parsing of wire types into the model, and back. Everything that came over the bus is hostile until it passed here.

use model::{Check, ErrorClass, Failure, JobId, JobKey, SagaId, Timestamp, Verdict};

use crate::common::v1 as wire;

/// With 300 bytes each they take half of what the bus takes of one message.
const CHECK_COUNT_MAX: usize = 400;

/// A message that decodes but makes no sense. It goes to the dead letters with this text as its reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("field {field} is missing")]
    Missing { field: &'static str },
    #[error("field {field}: {source}")]
    InvalidId { field: &'static str, source: model::InvalidId },
    #[error("field {field} is out of range")]
    OutOfRange { field: &'static str },
}

/// A job header, parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub key: JobKey,
    pub saga_id: SagaId,
    pub deadline_at: Option<Timestamp>,
}

/// Where a command goes, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlacedAt {
    Instance(model::InstanceId),
    Volume(model::VolumeId),
    Target(model::TargetId),
    Host(model::HostName),
}

/// Parses an id field.
///
/// Errors: `InvalidId` naming `field`.
pub fn id<T: std::str::FromStr<Err = model::InvalidId>>(
    field: &'static str,
    text: &str,
) -> Result<T, Malformed> {
    text.parse().map_err(|source| Malformed::InvalidId { field, source })
}

/// Parses an id field that may be empty.
///
/// Errors: `InvalidId` naming `field`.
pub fn optional_id<T: std::str::FromStr<Err = model::InvalidId>>(
    field: &'static str,
    text: &str,
) -> Result<Option<T>, Malformed> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

/// Parses the header that every command and reply begins with.
///
/// Errors: it is missing, an id is invalid, or the attempt is 0.
pub fn header(header: Option<&wire::JobHeader>) -> Result<Header, Malformed> {
    let header = header.ok_or(Malformed::Missing { field: "header" })?;
    if header.attempt == 0 {
        return Err(Malformed::OutOfRange { field: "header.attempt" });
    }
    let job_id: JobId = id("header.job_id", &header.job_id)?;
    Ok(Header {
        key: JobKey { job_id, attempt: header.attempt, epoch: header.epoch },
        saga_id: id("header.saga_id", &header.saga_id)?,
        deadline_at: (header.deadline_at != 0).then_some(Timestamp(header.deadline_at)),
    })
}

/// Parses a placement.
///
/// Errors: it is missing, or its id is invalid.
pub fn placement(placement: Option<&wire::Placement>) -> Result<PlacedAt, Malformed> {
    use wire::placement::At;
    match placement
        .and_then(|placement| placement.at.as_ref())
        .ok_or(Malformed::Missing { field: "placement" })?
    {
        At::InstanceId(text) => Ok(PlacedAt::Instance(id("placement.instance_id", text)?)),
        At::VolumeId(text) => Ok(PlacedAt::Volume(id("placement.volume_id", text)?)),
        At::TargetId(text) => Ok(PlacedAt::Target(id("placement.target_id", text)?)),
        At::Host(text) => Ok(PlacedAt::Host(id("placement.host", text)?)),
    }
}

impl From<&Header> for wire::JobHeader {
    fn from(header: &Header) -> Self {
        Self {
            job_id: header.key.job_id.to_string(),
            saga_id: header.saga_id.to_string(),
            attempt: header.key.attempt,
            epoch: header.key.epoch,
            deadline_at: header.deadline_at.map_or(0, |at| at.0),
        }
    }
}

impl From<&PlacedAt> for wire::Placement {
    fn from(at: &PlacedAt) -> Self {
        use wire::placement::At;
        let at = match at {
            PlacedAt::Instance(id) => At::InstanceId(id.to_string()),
            PlacedAt::Volume(id) => At::VolumeId(id.to_string()),
            PlacedAt::Target(id) => At::TargetId(id.to_string()),
            PlacedAt::Host(name) => At::Host(name.to_string()),
        };
        Self { at: Some(at), hosts_too_old: Vec::new() }
    }
}

impl From<&Failure> for wire::ErrorInfo {
    fn from(failure: &Failure) -> Self {
        let class = match failure.class {
            ErrorClass::Transient => wire::ErrorClass::Transient,
            ErrorClass::Throttled => wire::ErrorClass::Throttled,
            ErrorClass::Contention => wire::ErrorClass::Contention,
            ErrorClass::Indeterminate => wire::ErrorClass::Indeterminate,
            ErrorClass::Permanent => wire::ErrorClass::Permanent,
            ErrorClass::Bug => wire::ErrorClass::Bug,
            ErrorClass::Cancelled => wire::ErrorClass::Cancelled,
            ErrorClass::Fenced => wire::ErrorClass::Fenced,
        };
        Self { error_class: class.into(), code: failure.code.clone(), message: failure.message.clone() }
    }
}

/// Parses an error. A class that this version does not know is taken as `Indeterminate`: the safe branch, since it
/// claims neither that nothing happened nor that repeating is useless.
#[must_use]
pub fn failure(info: Option<&wire::ErrorInfo>) -> Failure {
    let Some(info) = info else {
        return Failure::new(
            ErrorClass::Indeterminate,
            "UNKNOWN",
            "the worker reported a failure without a reason",
        );
    };
    let class = match info.error_class() {
        wire::ErrorClass::Transient => ErrorClass::Transient,
        wire::ErrorClass::Throttled => ErrorClass::Throttled,
        wire::ErrorClass::Contention => ErrorClass::Contention,
        wire::ErrorClass::Permanent => ErrorClass::Permanent,
        wire::ErrorClass::Bug => ErrorClass::Bug,
        wire::ErrorClass::Cancelled => ErrorClass::Cancelled,
        wire::ErrorClass::Fenced => ErrorClass::Fenced,
        wire::ErrorClass::Indeterminate | wire::ErrorClass::Unspecified => ErrorClass::Indeterminate,
    };
    Failure { class, code: info.code.clone(), message: info.message.clone() }
}

impl From<&Check> for wire::Check {
    fn from(check: &Check) -> Self {
        let verdict = match check.verdict {
            Verdict::Ok => wire::Verdict::Ok,
            Verdict::Warn => wire::Verdict::Warn,
            Verdict::Fail => wire::Verdict::Fail,
        };
        Self {
            subject: check.subject.clone(),
            verdict: verdict.into(),
            code: check.code.clone(),
            message: check.message.clone(),
        }
    }
}

/// As many as a message can carry; that there were more is said by the last.
#[must_use]
pub fn checks(checks: &[Check]) -> Vec<wire::Check> {
    let mut sent: Vec<wire::Check> = checks.iter().take(CHECK_COUNT_MAX).map(wire::Check::from).collect();
    if checks.len() > CHECK_COUNT_MAX {
        let message = format!("{} checks were made, and {CHECK_COUNT_MAX} of them are shown", checks.len());
        sent.push((&Check::warn("checks", "CHECKS_CUT_SHORT", message)).into());
    }
    sent
}

/// Parses a check. A verdict that this version does not know is a failure: somebody looks.
#[must_use]
pub fn check(check: &wire::Check) -> Check {
    let verdict = match check.verdict() {
        wire::Verdict::Ok => Verdict::Ok,
        wire::Verdict::Warn => Verdict::Warn,
        wire::Verdict::Fail | wire::Verdict::Unspecified => Verdict::Fail,
    };
    Check {
        subject: check.subject.clone(),
        verdict,
        code: check.code.clone(),
        message: check.message.clone(),
    }
}
