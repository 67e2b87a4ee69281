//! Asks every dmapi and datamover how they find themselves, and waits for their answers. Any controller may hear an answer; it
//! notes it in the catalog, where the one that asked finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bus::{Envelope, PublishError};
use bus_config::{exchange, key};
use catalog::{ServiceKind, ServiceRow};
use futures::stream::{self, StreamExt as _};
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
/// Where two questions follow each other, both end in half a minute: places are looked up in tenths of a second.
const PLACES_TIMEOUT_MAX: Duration = Duration::from_secs(8);
const GUESTS_TIMEOUT_MAX: Duration = Duration::from_secs(16);
/// A broker that is well takes a question in some milliseconds.
const SEND_TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// Questions on their way at once.
const SENT_AT_ONCE: usize = 32;
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
    pub(super) whom: Whom,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whom {
    /// Any dmapi, and all datamovers.
    All,
    /// Any dmapi.
    Dmapi,
    /// The datamovers of these hosts.
    Hosts(BTreeSet<HostName>),
}

impl Whom {
    const fn patience(&self) -> Duration {
        match self {
            Self::All => ANSWER_TIMEOUT_MAX,
            Self::Dmapi => PLACES_TIMEOUT_MAX,
            Self::Hosts(_) => GUESTS_TIMEOUT_MAX,
        }
    }

    fn has(&self, service: &ServiceRow) -> bool {
        match (self, service.kind) {
            (_, ServiceKind::Controller) => false,
            (Self::All, _) | (Self::Dmapi, ServiceKind::Dmapi) => true,
            (Self::Hosts(hosts), ServiceKind::Datamover) => hosts.contains(&service.host),
            _ => false,
        }
    }
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
    fn into_guests(self) -> Vec<Finding> {
        let found = self.answers.into_iter().filter(|answer| answer.kind == ServiceKind::Datamover);
        let found = found.flat_map(|answer| answer.examined.checks);
        found.map(|check| Finding { service: "project", host: String::new(), check: read(&check) }).collect()
    }
}

/// Asks dmapi where these instances are, and there their guests' agents.
///
/// Errors: the catalog.
pub(super) async fn ask_guests(state: &AppState, instances: Vec<InstanceId>) -> Result<Vec<Finding>, Error> {
    let mut question = Question { instances, instances_only: true, whom: Whom::Dmapi };
    let told = ask(state, &question).await?.answers.into_iter().flat_map(|answer| answer.examined.places);
    let asked: BTreeSet<String> = question.instances.iter().map(ToString::to_string).collect();
    let places = told.filter(|place| asked.contains(&place.instance_id));
    let hosts: BTreeSet<HostName> = places.filter_map(|place| place.host.parse().ok()).collect();
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    question.whom = Whom::Hosts(hosts);
    Ok(ask(state, &question).await?.into_guests())
}

/// Asks those of them who gave a sign of life, all at once, and waits until they answered, or for some seconds.
///
/// Errors: the catalog.
pub(super) async fn ask(state: &AppState, question: &Question) -> Result<Asked, Error> {
    let examination_id = state.entropy.uuid();
    let mut tx = state.catalog.read().await?;
    let services = tx.list_services().await?;
    drop(tx);
    let (now, silence_max) = (state.clock.now(), state.engine.lease_ttl());
    let mut silences = if question.whom == Whom::All { absences(&services) } else { Vec::new() };
    let asked = services.into_iter().filter(|service| question.whom.has(service));
    let (alive, silent): (Vec<_>, Vec<_>) =
        asked.partition(|service| now.since(service.seen_at) <= silence_max);
    silences.extend(silent.iter().map(|service| silence(service, now)));
    let knows = |service: &ServiceRow| service.kind != ServiceKind::Datamover || service.can("examine");
    let (mut alive, old): (Vec<_>, Vec<_>) = alive.into_iter().partition(knows);
    silences.extend(old.iter().map(|service| finding(service.kind, &service.host, too_old(service))));
    // They read one queue: whichever gets the question answers for all.
    let mut has_dmapi = false;
    alive.retain(|it| it.kind != ServiceKind::Dmapi || !std::mem::replace(&mut has_dmapi, true));
    let sent = stream::iter(alive).map(|service| async move {
        let asked_at = state.clock.now();
        (send(state, examination_id, question, &service).await, service, asked_at)
    });
    let sent: Vec<_> = sent.buffer_unordered(SENT_AT_ONCE).collect().await;
    let mut waiting = Waiting::default();
    for (outcome, ServiceRow { kind, host, .. }, asked_at) in sent {
        match outcome {
            Ok(()) if kind == ServiceKind::Dmapi => waiting.dmapi = Some((host, asked_at)),
            Ok(()) => drop(waiting.movers.insert(host, asked_at)),
            Err(check) => silences.push(finding(kind, &host, check)),
        }
    }
    let answers = collect(state, examination_id, &waiting, question.whom.patience()).await?;
    silences.extend(waiting.unanswered(&answers));
    Ok(Asked { answers, silences })
}

/// Who was asked, and when.
#[derive(Debug, Default)]
struct Waiting {
    /// Any of them answers; one by name.
    dmapi: Option<(HostName, Timestamp)>,
    movers: BTreeMap<HostName, Timestamp>,
}

impl Waiting {
    /// When this one was asked; `None`: nobody asked it.
    fn asked_at(&self, kind: ServiceKind, host: &HostName) -> Option<Timestamp> {
        match kind {
            ServiceKind::Dmapi => self.dmapi.as_ref().map(|(_, asked_at)| *asked_at),
            ServiceKind::Datamover => self.movers.get(host).copied(),
            ServiceKind::Controller => None,
        }
    }

    fn unanswered(&self, answers: &[Answer]) -> Vec<Finding> {
        let has_answered = |kind, host: Option<&HostName>| {
            answers.iter().any(|answer| answer.kind == kind && host.is_none_or(|host| answer.host == *host))
        };
        let dmapi = self.dmapi.iter().filter(|_| !has_answered(ServiceKind::Dmapi, None));
        let dmapi = dmapi.map(|(host, _)| finding(ServiceKind::Dmapi, host, unanswered()));
        let movers = self.movers.keys().filter(|host| !has_answered(ServiceKind::Datamover, Some(host)));
        dmapi.chain(movers.map(|host| finding(ServiceKind::Datamover, host, unanswered()))).collect()
    }

    fn is_over(&self, answers: &[Answer]) -> bool {
        self.unanswered(answers).is_empty()
    }
}

fn silence(service: &ServiceRow, now: Timestamp) -> Finding {
    let message = format!(
        "it has given no sign of life for {} s: is it running, and connected to the broker?",
        now.since(service.seen_at).as_secs()
    );
    finding(service.kind, &service.host, Check::fail("life", "SERVICE_SILENT", message))
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
    let routing_key = match service.kind {
        ServiceKind::Dmapi => key::dmapi("examine"),
        _ => key::mover_host_ctl(&service.host, "examine"),
    };
    let publish = state.doctor.publisher.publish(exchange::CMD, &routing_key, &envelope);
    let outcome = tokio::time::timeout(SEND_TIMEOUT_MAX, publish).await;
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
    waiting: &Waiting,
    patience: Duration,
) -> Result<Vec<Answer>, Error> {
    let ends_at = Instant::now() + patience;
    loop {
        let rows = state.catalog.read().await?.list_examination_answers(examination_id).await?;
        let answers: Vec<Answer> = rows
            .into_iter()
            .filter_map(|row| {
                let asked_at = waiting.asked_at(row.kind, &row.host)?;
                let examined = Examined::decode(row.answer.as_slice()).ok()?;
                let (kind, host, received_at) = (row.kind, row.host, row.received_at);
                Some(Answer { kind, host, examined, asked_at, received_at })
            })
            .collect();
        if waiting.is_over(&answers) || Instant::now() >= ends_at {
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
        "it lives, and did not answer within {} s: look at its log; an older version does not know the question, and without its rights at the broker the answer is refused (holdfast-controller broker check)",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn make_answer(kind: ServiceKind, host: &str) -> Answer {
        let (host, now) = (host.parse().unwrap(), Timestamp(0));
        Answer { kind, host, examined: Examined::default(), asked_at: now, received_at: now }
    }

    #[test]
    fn of_several_dmapis_one_answer_does_and_of_datamovers_each_is_waited_for() {
        let host = |name: &str| name.parse::<HostName>().unwrap();
        let waiting = Waiting {
            dmapi: Some((host("control-1"), Timestamp(1))),
            movers: [("node-1", 2), ("node-2", 3)].map(|(name, at)| (host(name), Timestamp(at))).into(),
        };
        let mut answers = vec![make_answer(ServiceKind::Datamover, "node-1")];
        let silent = |answers: &[Answer]| -> Vec<String> {
            waiting.unanswered(answers).into_iter().map(|finding| finding.host).collect()
        };
        assert_eq!(silent(&answers), ["control-1", "node-2"]);
        answers.push(make_answer(ServiceKind::Dmapi, "control-2"));
        assert_eq!(silent(&answers), ["node-2"]);
        assert_eq!(waiting.asked_at(ServiceKind::Dmapi, &host("control-2")), Some(Timestamp(1)));
        assert_eq!(waiting.asked_at(ServiceKind::Datamover, &host("node-9")), None, "nobody asked it");
        answers.push(make_answer(ServiceKind::Datamover, "node-2"));
        assert!(waiting.is_over(&answers));
    }
}
