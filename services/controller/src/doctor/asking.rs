//! Asks every dmapi and datamover how they find themselves, and waits for their answers. Any controller may hear an answer; it
//! notes it in the catalog, where the one that asked finds it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bus::{Envelope, PublishError};
use bus_config::{exchange, key};
use catalog::{ServiceKind, ServiceRow};
use model::{Check, HostName, InstanceId, MessageId, Timestamp};
use prost::{Message as _, Name as _};
use proto::cmd::v1::Examine;
use proto::convert;
use proto::rep::v1::Examined;
use uuid::Uuid;

use super::Finding;
use crate::app::{Error, shown};
use crate::state::AppState;

/// A service bounds each of its parts to 15 s.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(22);
/// A read of some rows.
const LOOK_INTERVAL: Duration = Duration::from_millis(150);
/// Answers are of use for as long as somebody waits.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// A host may send anything: its words are shown so far. Units: characters.
const WORD_LENGTH_MAX: usize = 1000;

/// What is asked of all.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) instances: Vec<InstanceId>,
    pub(super) instances_only: bool,
}

/// What became of the question.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) answers: Vec<Answer>,
    /// Of those that were not asked, or did not answer.
    silences: Vec<Finding>,
}

/// What one service told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) kind: ServiceKind,
    pub(super) host: HostName,
    pub(super) examined: Examined,
    /// By our clock.
    pub(super) asked_at: Timestamp,
    pub(super) received_at: Timestamp,
}

impl Asked {
    /// All that they found, and who found nothing.
    pub(super) fn into_findings(self) -> Vec<Finding> {
        let found = self.answers.into_iter().flat_map(|answer| {
            let Answer { kind, host, examined, .. } = answer;
            examined.checks.into_iter().map(move |check| finding(kind, &host, read(&check)))
        });
        found.chain(self.silences).collect()
    }

    /// What concerns the guests, without their hosts.
    pub(super) fn into_guests(self) -> Vec<Finding> {
        let found = self.answers.into_iter().filter(|answer| answer.kind == ServiceKind::Datamover);
        let found = found.flat_map(|answer| answer.examined.checks);
        found.map(|check| Finding { service: "project", host: String::new(), check: read(&check) }).collect()
    }
}

/// Asks whoever gave a sign of life, and waits until all answered, or for some seconds.
///
/// Errors: the catalog.
pub(super) async fn ask(state: &AppState, question: &Question) -> Result<Asked, Error> {
    let examination_id = state.entropy.uuid();
    let mut tx = state.catalog.read().await?;
    let services = tx.list_services().await?;
    drop(tx);
    let (now, silence_max) = (state.clock.now(), state.engine.lease_ttl());
    let mut silences = absences(&services);
    let mut waiting = BTreeMap::new();
    for service in services.into_iter().filter(|service| service.kind != ServiceKind::Controller) {
        let silent = now.since(service.seen_at);
        if silent > silence_max {
            let message = format!(
                "it has given no sign of life for {} s: is it running, and connected to the broker?",
                silent.as_secs()
            );
            silences.push(finding(
                service.kind,
                &service.host,
                Check::fail("life", "SERVICE_SILENT", message),
            ));
            continue;
        }
        if service.kind == ServiceKind::Datamover && !service.can("examine") {
            silences.push(finding(service.kind, &service.host, too_old(&service)));
            continue;
        }
        let asked_at = state.clock.now();
        match send(state, examination_id, question, &service).await {
            Ok(()) => drop(waiting.insert((service.kind, service.host), asked_at)),
            Err(check) => silences.push(finding(service.kind, &service.host, check)),
        }
    }
    let answers = collect(state, examination_id, &waiting).await?;
    for (kind, host) in waiting.keys() {
        if !answers.iter().any(|answer| answer.kind == *kind && answer.host == *host) {
            silences.push(finding(*kind, host, unanswered()));
        }
    }
    Ok(Asked { answers, silences })
}

/// Takes an answer that came over the bus.
///
/// Errors: the catalog.
pub(crate) async fn note(
    catalog: &catalog::Catalog,
    kind: ServiceKind,
    host: &HostName,
    examined: &Examined,
    now: Timestamp,
) -> Result<(), catalog::Error> {
    // Of whoever asks for something else than we did.
    let Ok(id) = examined.examination_id.parse::<Uuid>() else { return Ok(()) };
    let mut tx = catalog.begin().await?;
    tx.forget_examination_answers(now.before(FORGET_AFTER)).await?;
    tx.insert_examination_answer(id, kind, host, &examined.encode_to_vec()).await?;
    tx.commit().await
}

async fn send(
    state: &AppState,
    examination_id: Uuid,
    question: &Question,
    service: &ServiceRow,
) -> Result<(), Check> {
    let message = Examine {
        examination_id: examination_id.to_string(),
        instance_ids: question.instances.iter().map(ToString::to_string).collect(),
        instances_only: question.instances_only,
    };
    let id = MessageId::from_uuid(state.entropy.uuid());
    let envelope = Envelope::new(id, &Examine::full_name(), message.encode_to_vec());
    // dmapi has one queue: each of those that read it gets one of as many questions.
    let routing_key = match service.kind {
        ServiceKind::Dmapi => key::dmapi("examine"),
        _ => key::mover_host_ctl(&service.host, "examine"),
    };
    let publish = state.doctor.publisher.publish(exchange::CMD, &routing_key, &envelope);
    let outcome = tokio::time::timeout(ANSWER_TIMEOUT_MAX, publish).await;
    let fail = |code: &str, message: String| Err(Check::fail("question", code, message));
    match outcome {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error @ PublishError::Unroutable { .. })) => fail(
            "QUEUE_MISSING",
            format!("{error}; run holdfast-controller broker init, or host add for a compute host"),
        ),
        Ok(Err(error @ PublishError::Refused { .. })) => {
            fail("BUS_RIGHT_MISSING", format!("{error}; run holdfast-controller broker init"))
        }
        Ok(Err(error)) => fail("BUS_UNREACHABLE", error.to_string()),
        Err(_) => fail("BUS_UNREACHABLE", "the broker does not answer: is it up?".to_owned()),
    }
}

async fn collect(
    state: &AppState,
    examination_id: Uuid,
    waiting: &BTreeMap<(ServiceKind, HostName), Timestamp>,
) -> Result<Vec<Answer>, Error> {
    let ends_at = Instant::now() + ANSWER_TIMEOUT_MAX;
    loop {
        let rows = state.catalog.read().await?.list_examination_answers(examination_id).await?;
        let answers: Vec<Answer> = rows
            .into_iter()
            .filter_map(|row| {
                let asked_at = *waiting.get(&(row.kind, row.host.clone()))?;
                let examined = Examined::decode(row.answer.as_slice()).ok()?;
                let (kind, host, received_at) = (row.kind, row.host, row.received_at);
                Some(Answer { kind, host, examined, asked_at, received_at })
            })
            .collect();
        if answers.len() == waiting.len() || Instant::now() >= ends_at {
            return Ok(answers);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Whole kinds of services that nobody ever heard of.
fn absences(services: &[ServiceRow]) -> Vec<Finding> {
    let absence = |kind: ServiceKind, service, message: &str| {
        let is_there = services.iter().any(|service| service.kind == kind);
        let check = Check::fail("life", "SERVICE_NEVER_SEEN", message);
        (!is_there).then(|| Finding { service, host: String::new(), check })
    };
    let dmapi = "no dmapi was ever heard of, so no job can be placed: start holdfast-dmapi";
    let datamover = "no datamover was ever heard of: run holdfast-controller host add HOST, and start holdfast-datamover there";
    let absences = [
        absence(ServiceKind::Dmapi, "dmapi", dmapi),
        absence(ServiceKind::Datamover, "datamover", datamover),
    ];
    absences.into_iter().flatten().collect()
}

fn too_old(service: &ServiceRow) -> Check {
    let version = service.version.as_deref().unwrap_or("earlier");
    let message = format!(
        "its version ({}) does not know how to examine itself, and was not asked: upgrade it",
        shown(version, WORD_LENGTH_MAX)
    );
    Check::fail("answer", "HOST_TOO_OLD", message)
}

fn unanswered() -> Check {
    let message = format!(
        "it lives, and did not answer within {} s: look at its log; an older version does not know the question, and without its          rights at the broker the answer is refused (holdfast-controller broker check)",
        ANSWER_TIMEOUT_MAX.as_secs()
    );
    Check::fail("answer", "EXAMINATION_UNANSWERED", message)
}

fn finding(kind: ServiceKind, host: &HostName, check: Check) -> Finding {
    Finding { service: kind.as_str(), host: host.to_string(), check }
}

/// A check as a host tells it, in words that can be shown.
fn read(check: &proto::common::v1::Check) -> Check {
    let mut check = convert::check(check);
    for text in [&mut check.subject, &mut check.code, &mut check.message] {
        *text = shown(text, WORD_LENGTH_MAX);
    }
    check
}
