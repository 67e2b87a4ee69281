//! What may happen to a saga, and what it then wants done.

use model::ErrorClass;
use serde::{Deserialize, Serialize};

use crate::shape::{Attempt, Branch, StepIndex};
use crate::state::Phase;

/// A step's own work, or what takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Action,
    Undo,
}

impl Direction {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Undo => "undo",
        }
    }
}

impl OperatorVerb {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Retry, Self::Skip, Self::Abandon];

    /// The word in the log, the API and the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
            Self::Abandon => "abandon",
        }
    }
}

impl std::str::FromStr for Direction {
    type Err = model::InvalidState;
    fn from_str(text: &str) -> Result<Self, model::InvalidState> {
        match text {
            "action" => Ok(Self::Action),
            "undo" => Ok(Self::Undo),
            _ => Err(model::InvalidState { noun: "direction", text: text.to_owned() }),
        }
    }
}

/// What happened. Kept in the log as JSON; any of them may come twice, late, or in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The saga was accepted: the first step begins.
    Started,
    ActionSucceeded {
        step: StepIndex,
        branch: Branch,
        attempt: Attempt,
    },
    ActionFailed {
        step: StepIndex,
        branch: Branch,
        attempt: Attempt,
        class: ErrorClass,
        /// This attempt changed nothing, and will not. A guess must be `false`: what is left is then undone.
        effect_free: bool,
    },
    UndoSucceeded {
        step: StepIndex,
        branch: Branch,
        attempt: Attempt,
    },
    UndoFailed {
        step: StepIndex,
        branch: Branch,
        attempt: Attempt,
        class: ErrorClass,
    },
    /// The pause that [`Command::ScheduleRetry`] asked for is over; with the numbers of that command.
    RetryDue {
        step: StepIndex,
        branch: Branch,
        attempt: Attempt,
        direction: Direction,
    },
    /// A user asks for the saga to stop.
    CancelRequested,
    /// The whole saga took longer than its definition, or the site, allows.
    DeadlinePassed,
    /// A stuck saga has rested for a while: its stuck branches are tried once more.
    StuckRetryDue,
    /// An operator decides about a stuck saga.
    Operator {
        verb: OperatorVerb,
    },
}

/// What an operator may decide about a saga that is `Stuck`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorVerb {
    /// Run the stuck branches again.
    Retry,
    /// Take the stuck branches as done: the operator saw to it by hand. Of a stuck pivot: it did happen.
    Skip,
    /// Leave everything as it lies and end the saga.
    Abandon,
}

/// What the saga wants done. The engine makes each durable together with the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Command {
    /// Dispatch the action; answered by `ActionSucceeded` or `ActionFailed`.
    RunAction { step: StepIndex, branch: Branch, attempt: Attempt },
    /// Dispatch the compensation; answered by `UndoSucceeded` or `UndoFailed`.
    RunUndo { step: StepIndex, branch: Branch, attempt: Attempt },
    /// Tell whoever runs the action to stop. Needs no answer.
    AbortAction { step: StepIndex, branch: Branch, attempt: Attempt },
    /// Pause after failed attempt number `attempt`, then feed `RetryDue` with the same numbers.
    ScheduleRetry { step: StepIndex, branch: Branch, attempt: Attempt, direction: Direction },
    /// The saga came to rest. For good, unless it is `Stuck`: a stuck saga may go on, and finish again.
    Finish(Phase),
}

/// Why an event changed nothing. Never a failure: acknowledge it and go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ignored {
    /// Of an attempt that is over, or heard before.
    #[error("the event is stale")]
    Stale,
    /// A cancel, or a deadline, once the pivot was dispatched.
    #[error("it is too late to turn back")]
    TooLate,
    /// A cancel, or a deadline, of a saga that turned back already.
    #[error("the saga is being compensated already")]
    TurnedBack,
    /// The saga has ended.
    #[error("the saga has ended")]
    Ended,
    /// An operator's verb, or a new try, for a saga that is not stuck.
    #[error("the saga is not stuck")]
    NotStuck,
    /// It names what this saga never asked for: a bug somewhere, worth an alarm.
    #[error("the event makes no sense in this state")]
    Senseless,
}
