//! What reaches the engine: the machine's events with what they carry, which the pure machine does not look at.

use model::{Failure, UserId};
use saga::{Attempt, Branch, Direction, Event, OperatorVerb, StepIndex};
use serde::Serialize;

use crate::sagas::Output;

/// The words in the log that are read again.
pub(crate) mod kind {
    pub(crate) const CANCEL_REQUESTED: &str = "cancel_requested";
    pub(crate) const OPERATOR: &str = "operator";
    pub(crate) const STUCK_RETRY_DUE: &str = "stuck_retry_due";
}

/// Which attempt of which piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct At {
    pub step: StepIndex,
    pub branch: Branch,
    pub direction: Direction,
    pub attempt: Attempt,
}

/// What an operator decided about a stuck saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub verb: OperatorVerb,
    pub by: UserId,
    /// Never blank.
    pub reason: String,
}

/// Something that happened to a saga.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    Started,
    Succeeded { at: At, output: Output },
    Failed { at: At, failure: Failure, effect_free: bool },
    RetryDue { at: At },
    CancelRequested { by: UserId },
    DeadlinePassed,
    StuckRetryDue,
    Operator(Decision),
}

impl Incoming {
    /// As the machine takes it.
    #[must_use]
    pub fn event(&self) -> Event {
        match self {
            Self::Started => Event::Started,
            Self::Succeeded { at: At { step, branch, direction, attempt }, .. } => match direction {
                Direction::Action => {
                    Event::ActionSucceeded { step: *step, branch: *branch, attempt: *attempt }
                }
                Direction::Undo => Event::UndoSucceeded { step: *step, branch: *branch, attempt: *attempt },
            },
            Self::Failed { at: At { step, branch, direction, attempt }, failure, effect_free } => {
                let (step, branch, attempt, class) = (*step, *branch, *attempt, failure.class);
                match direction {
                    Direction::Action => {
                        Event::ActionFailed { step, branch, attempt, class, effect_free: *effect_free }
                    }
                    Direction::Undo => Event::UndoFailed { step, branch, attempt, class },
                }
            }
            Self::RetryDue { at } => Event::RetryDue {
                step: at.step,
                branch: at.branch,
                attempt: at.attempt,
                direction: at.direction,
            },
            Self::CancelRequested { .. } => Event::CancelRequested,
            Self::DeadlinePassed => Event::DeadlinePassed,
            Self::StuckRetryDue => Event::StuckRetryDue,
            Self::Operator(decision) => Event::Operator { verb: decision.verb },
        }
    }

    /// The word in the log.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Succeeded { at: At { direction: Direction::Action, .. }, .. } => "action_succeeded",
            Self::Succeeded { .. } => "undo_succeeded",
            Self::Failed { at: At { direction: Direction::Action, .. }, .. } => "action_failed",
            Self::Failed { .. } => "undo_failed",
            Self::RetryDue { .. } => "retry_due",
            Self::CancelRequested { .. } => kind::CANCEL_REQUESTED,
            Self::DeadlinePassed => "deadline_passed",
            Self::StuckRetryDue => kind::STUCK_RETRY_DUE,
            Self::Operator(_) => kind::OPERATOR,
        }
    }

    /// What happened to which attempt, if it is about one.
    #[must_use]
    pub const fn at(&self) -> Option<At> {
        match self {
            Self::Succeeded { at, .. } | Self::Failed { at, .. } | Self::RetryDue { at } => Some(*at),
            Self::Started
            | Self::CancelRequested { .. }
            | Self::DeadlinePassed
            | Self::StuckRetryDue
            | Self::Operator(_) => None,
        }
    }

    /// The entry in the saga's log: the machine's event, and what it does not look at: the failure in words, who decided
    /// and why, and what an end left behind.
    #[must_use]
    pub fn log_json(&self, left_behind: &[String]) -> String {
        #[derive(Serialize)]
        struct Entry<'a> {
            #[serde(flatten)]
            event: Event,
            #[serde(skip_serializing_if = "Option::is_none")]
            failure: Option<&'a Failure>,
            #[serde(skip_serializing_if = "Option::is_none")]
            by: Option<&'a UserId>,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'a str>,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            left_behind: &'a [String],
        }
        let (mut failure, mut by, mut reason) = (None, None, None);
        match self {
            Self::Failed { failure: it, .. } => failure = Some(it),
            Self::CancelRequested { by: it } => by = Some(it),
            Self::Operator(decision) => {
                by = Some(&decision.by);
                reason = Some(decision.reason.as_str());
            }
            _ => {}
        }
        let entry = Entry { event: self.event(), failure, by, reason, left_behind };
        serde_json::to_string(&entry).expect("an event is plain data")
    }
}
