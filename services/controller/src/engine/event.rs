//! What reaches the engine: the machine's events with what they carry, which the pure machine does not look at.

use model::Failure;
use saga::{Attempt, Branch, Direction, Event, OperatorVerb, StepIndex};
use serde::Serialize;

use crate::sagas::Output;

/// Which attempt of which piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct At {
    pub step: StepIndex,
    pub branch: Branch,
    pub direction: Direction,
    pub attempt: Attempt,
}

/// Something that happened to a saga.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    Started,
    Succeeded { at: At, output: Output },
    Failed { at: At, failure: Failure, effect_free: bool },
    RetryDue { at: At },
    CancelRequested,
    Operator(OperatorVerb),
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
            Self::CancelRequested => Event::CancelRequested,
            Self::Operator(verb) => Event::Operator { verb: *verb },
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
            Self::CancelRequested => "cancel_requested",
            Self::Operator(_) => "operator",
        }
    }

    /// What happened to which attempt, if it is about one.
    #[must_use]
    pub const fn at(&self) -> Option<At> {
        match self {
            Self::Succeeded { at, .. } | Self::Failed { at, .. } | Self::RetryDue { at } => Some(*at),
            Self::Started | Self::CancelRequested | Self::Operator(_) => None,
        }
    }

    /// The entry in the saga's log: the machine's event, and the failure in words.
    #[must_use]
    pub fn log_json(&self) -> String {
        #[derive(Serialize)]
        struct Entry<'a> {
            #[serde(flatten)]
            event: Event,
            #[serde(skip_serializing_if = "Option::is_none")]
            failure: Option<&'a Failure>,
        }
        let failure = match self {
            Self::Failed { failure, .. } => Some(failure),
            _ => None,
        };
        serde_json::to_string(&Entry { event: self.event(), failure }).expect("an event is plain data")
    }
}
