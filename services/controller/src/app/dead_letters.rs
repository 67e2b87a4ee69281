//! Dead letters: messages of all services that nobody could make sense of. They lie with the broker and are the operator's:
//! read, sent again when the cause is gone, or dropped on the record. Nothing here is kept in the catalog.

use std::collections::BTreeSet;
use std::time::Duration;

use bus::{Letter, PublishError, Stayed, Verdict};
use bus_config::Class;
use model::{ByteCount, Failure};

use super::text::shown;
use super::{Caller, Error};
use crate::state::AppState;

/// A letter that another controller looks at in this moment is not seen: it is looked for again.
const LOOKS_MAX: u32 = 3;
const LOOK_PAUSE: Duration = Duration::from_millis(300);
/// A reason and a bit.
const LISTED_TEXT_LENGTH_MAX: usize = 1000;

/// Which letters, of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The queue they were taken from.
    pub queue: Option<String>,
    /// The code that their reason begins with.
    pub code: Option<String>,
}

/// Which letters are to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    Ids(BTreeSet<String>),
    All(Filter),
}

/// What is to become of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Retry,
    /// With the operator's reason, for the record.
    Drop {
        reason: String,
    },
}

/// A letter of a list.
#[derive(Debug, Clone)]
pub struct Listed {
    pub letter: Letter,
    pub body_size: ByteCount,
    /// Why it cannot be sent again.
    pub obstacle: Option<String>,
}

impl Listed {
    /// Leaves out body and headers, and cuts what has no limit: thousands of them would fill the memory.
    fn of(letter: &Letter) -> Self {
        let cut = |text: &str| -> String { text.chars().take(LISTED_TEXT_LENGTH_MAX).collect() };
        let mut brief = letter.clone();
        brief.reason = cut(&letter.reason);
        brief.type_name = cut(&letter.type_name);
        brief.headers.clear();
        brief.body = bytes::Bytes::new();
        Self {
            letter: brief,
            body_size: ByteCount(letter.body.len() as u64),
            obstacle: letter.check_retry().err().map(|obstacle| obstacle.to_string()),
        }
    }
}

/// A letter with its body, and how many more of the same id there are: the broker may lay one twice.
#[derive(Debug, Clone)]
pub struct Shown {
    pub letter: Letter,
    pub copy_count: u64,
}

/// What became of a letter that was to be settled.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub id: String,
    /// Why it is still there.
    pub obstacle: Option<Failure>,
}

impl Filter {
    fn takes(&self, letter: &Letter) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        is(&self.queue, letter.queue.as_deref()) && is(&self.code, Some(letter.code()))
    }

    /// A queue's letters are all of one class.
    fn classes(&self) -> Vec<Class> {
        match self.queue.as_deref().and_then(Class::of_queue) {
            Some(class) => vec![class],
            None => Class::ALL.to_vec(),
        }
    }
}

/// Lists letters, those that died first before the others.
///
/// Errors: `BUS_UNREACHABLE`.
pub async fn list(state: &AppState, filter: &Filter) -> Result<Vec<Listed>, Error> {
    let mut listed = Vec::new();
    for class in filter.classes() {
        let keep = |letter: &Letter| {
            if filter.takes(letter) {
                listed.push(Listed::of(letter));
            }
            Verdict::Keep
        };
        state.dead_letters.look(class, keep, |_| {}).await?;
    }
    // Stable: letters of one moment stay in the order of their queue.
    listed.sort_by_key(|one| one.letter.died_at);
    Ok(listed)
}

/// Shows a letter.
///
/// Errors: `DEAD_LETTER_NOT_FOUND`, `BUS_UNREACHABLE`.
pub async fn show(state: &AppState, id: &str) -> Result<Shown, Error> {
    for attempt in 1..=LOOKS_MAX {
        // Whoever may publish chooses the ids, and may choose one a thousand times: one copy is kept, the others are counted.
        let (mut found, mut copy_count) = (None, 0);
        for class in Class::ALL {
            let keep = |letter: &Letter| {
                if letter.id == id {
                    copy_count += 1;
                    found.get_or_insert_with(|| letter.clone());
                }
                Verdict::Keep
            };
            state.dead_letters.look(class, keep, |_| {}).await?;
        }
        if let Some(letter) = found {
            return Ok(Shown { letter, copy_count });
        }
        pause_after(attempt).await;
    }
    Err(not_found(id))
}

/// Sends letters again, or drops them. Every copy of a chosen id is meant. Gives what became of each.
///
/// Errors: `DEAD_LETTER_NOT_FOUND` when none of the ids is there; `BUS_UNREACHABLE`: some may be settled, and the log says which.
pub async fn settle(
    state: &AppState,
    caller: &Caller,
    chosen: &Chosen,
    order: &Order,
) -> Result<Vec<Outcome>, Error> {
    let (mut wanted, filter) = match chosen {
        Chosen::Ids(ids) => (ids.clone(), Filter::default()),
        Chosen::All(filter) => (BTreeSet::new(), filter.clone()),
    };
    let mut outcomes = Vec::new();
    for attempt in 1..=LOOKS_MAX {
        for class in filter.classes() {
            let takes = |letter: &Letter| match chosen {
                Chosen::Ids(_) => wanted.contains(&letter.id),
                Chosen::All(filter) => filter.takes(letter),
            };
            let settle =
                |letter: &Letter| if takes(letter) { decide(caller, order, letter) } else { Verdict::Keep };
            // On the record as it happens: a look that breaks off has settled what it told.
            state.dead_letters.look(class, settle, |settled| outcomes.push(tell(caller, settled))).await?;
        }
        for outcome in &outcomes {
            wanted.remove(&outcome.id);
        }
        if wanted.is_empty() {
            return Ok(outcomes);
        }
        pause_after(attempt).await;
    }
    if outcomes.is_empty() {
        let ids: Vec<&str> = wanted.iter().map(String::as_str).collect();
        return Err(not_found(&ids.join(", ")));
    }
    outcomes.extend(wanted.into_iter().map(|id| {
        let failure = not_found(&id).failure();
        Outcome { id, obstacle: Some(failure) }
    }));
    Ok(outcomes)
}

async fn pause_after(attempt: u32) {
    if attempt < LOOKS_MAX {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// The record is written before the letter goes: who, why, and what it was. Never the body.
fn decide(caller: &Caller, order: &Order, letter: &Letter) -> Verdict {
    let Order::Drop { reason } = order else { return Verdict::Retry };
    tracing::info!(
        user = %caller.user,
        why = reason,
        letter = letter.id,
        type_name = letter.type_name,
        queue = letter.queue,
        sender = letter.sender,
        dead_reason = letter.reason,
        body_size = letter.body.len(),
        body_blake3 = %blake3::hash(&letter.body).to_hex(),
        "a dead letter is dropped"
    );
    Verdict::Drop
}

fn tell(caller: &Caller, settled: bus::Settled) -> Outcome {
    let bus::Settled { id, verdict, outcome, .. } = settled;
    let obstacle = outcome.err().map(|stayed| obstacle_of(&stayed));
    match &obstacle {
        None if verdict == Verdict::Retry => {
            tracing::info!(user = %caller.user, letter = id, "a dead letter is sent again");
        }
        None => {}
        Some(failure) => {
            tracing::info!(user = %caller.user, letter = id, code = failure.code, reason = failure.message, "a dead letter stays");
        }
    }
    Outcome { id, obstacle }
}

fn obstacle_of(stayed: &Stayed) -> Failure {
    match stayed {
        Stayed::NotRetriable(_) => Failure::permanent("DEAD_LETTER_NOT_RETRIABLE", stayed.to_string()),
        Stayed::NotSent(error @ PublishError::Unroutable { .. }) => {
            Failure::permanent("DEAD_LETTER_UNROUTABLE", format!("{stayed}: {error}"))
        }
        Stayed::NotSent(error) => Failure::transient("DEAD_LETTER_NOT_SENT", format!("{stayed}: {error}")),
        Stayed::NotSettled { .. } => Failure::transient("DEAD_LETTER_NOT_SETTLED", stayed.to_string()),
    }
}

fn not_found(id: &str) -> Error {
    let shown = shown(id, 400);
    Error::Refused {
        refusal: super::Refusal::NotFound,
        code: "DEAD_LETTER_NOT_FOUND",
        message: format!("there is no dead letter {shown}: it was settled meanwhile, or never was"),
    }
}
