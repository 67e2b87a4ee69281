//! Where a saga stands: small numbers and words only, so that states can be compared, hashed and explored.

use serde::{Deserialize, Serialize};

use crate::event::Direction;
use crate::shape::{Attempt, Branch, Lap, Shape, StepIndex, StepKind};

/// Where a saga is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Running steps; also before its start.
    Forward,
    /// Taking steps back.
    Backward,
    /// All steps done.
    Succeeded,
    /// All that was done is undone.
    Compensated,
    /// A compensation or a step after the pivot failed for good: an operator must decide.
    Stuck,
    /// An operator ended it as it lay.
    Abandoned,
}

impl Phase {
    /// Each of them.
    pub const ALL: [Self; 6] =
        [Self::Forward, Self::Backward, Self::Succeeded, Self::Compensated, Self::Stuck, Self::Abandoned];

    /// The word in the database and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Succeeded => "succeeded",
            Self::Compensated => "compensated",
            Self::Stuck => "stuck",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether nothing can happen any more.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Compensated | Self::Abandoned)
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Phase {
    type Err = model::InvalidState;
    fn from_str(text: &str) -> Result<Self, model::InvalidState> {
        Self::ALL
            .into_iter()
            .find(|phase| phase.as_str() == text)
            .ok_or_else(|| model::InvalidState { noun: "saga phase", text: text.to_owned() })
    }
}

/// Why a saga turned back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A user asked for it.
    Cancelled,
    /// The whole saga took too long.
    DeadlinePassed,
    /// This branch failed for good.
    Failed { step: StepIndex, branch: Branch },
}

/// The state of a saga. Only [`crate::step`] changes it. JSON in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SagaState {
    pub(crate) heading: Direction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<End>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<Cause>,
    /// The step at work. Means nothing before the start.
    pub(crate) cursor: StepIndex,
    /// Of the stretch that the step at work is in; 0 outside of any.
    #[serde(default, skip_serializing_if = "is_first_lap")]
    pub(crate) lap: Lap,
    /// The branches of every step that was ever entered; none before the start.
    pub(crate) steps: Vec<Vec<BranchState>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Succeeded,
    Compensated,
    Abandoned,
}

/// One branch of a step that was entered: it was dispatched at least once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BranchState {
    pub(crate) status: Status,
    /// The latest attempt of the action.
    pub(crate) attempt: Attempt,
    /// The latest attempt of the compensation; 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) undo_attempt: Attempt,
    /// An attempt that failed may have left something.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) tainted: bool,
    /// In which it was dispatched.
    #[serde(default, skip_serializing_if = "is_first_lap")]
    pub(crate) lap: Lap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// The action's current attempt is out.
    Running,
    /// The action's current attempt failed; the next comes after a pause.
    Waiting,
    /// The action succeeded.
    Done,
    /// The action failed for good, before the pivot.
    Failed,
    /// The action failed for good, where there is no way back.
    Stuck,
    /// Told to stop, with nothing to undo.
    Aborted,
    Undoing,
    UndoWaiting,
    Undone,
    UndoStuck,
    /// An operator saw to it.
    Skipped,
}

impl Default for SagaState {
    fn default() -> Self {
        Self::new()
    }
}

impl SagaState {
    /// A saga before its start.
    #[must_use]
    pub const fn new() -> Self {
        Self { heading: Direction::Action, end: None, cause: None, cursor: 0, lap: 0, steps: Vec::new() }
    }

    /// Where the saga is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match (self.end, self.heading) {
            (Some(End::Succeeded), _) => Phase::Succeeded,
            (Some(End::Compensated), _) => Phase::Compensated,
            (Some(End::Abandoned), _) => Phase::Abandoned,
            (None, _) if self.is_stuck() => Phase::Stuck,
            (None, Direction::Action) => Phase::Forward,
            (None, Direction::Undo) => Phase::Backward,
        }
    }

    /// Why it turned back, if it did. Tells a cancelled saga from a failed one.
    #[must_use]
    pub const fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// The step at work; `None` before the start and after the end.
    #[must_use]
    pub fn current_step(&self) -> Option<StepIndex> {
        (self.is_started() && self.end.is_none()).then_some(self.cursor)
    }

    /// Whether a cancel would be accepted now; a deadline turns back the same.
    #[must_use]
    pub fn may_cancel(&self, shape: &Shape) -> bool {
        let before_pivot = !self.is_started()
            || shape.steps.get(usize::from(self.cursor)).is_some_and(|at| at.kind == StepKind::Compensable);
        self.end.is_none() && self.heading == Direction::Action && before_pivot
    }

    /// The latest attempt of a branch; 0 when it was never dispatched in that direction.
    #[must_use]
    pub fn attempt(&self, step: StepIndex, branch: Branch, direction: Direction) -> Attempt {
        let found = self.steps.get(usize::from(step)).and_then(|branches| branches.get(usize::from(branch)));
        found.map_or(0, |branch| match direction {
            Direction::Action => branch.attempt,
            Direction::Undo => branch.undo_attempt,
        })
    }

    /// The state for people, with the names of `shape`.
    #[must_use]
    pub fn view(&self, shape: &Shape) -> SagaView {
        let steps = shape.steps.iter().enumerate().map(|(index, step)| {
            let branches = self.steps.get(index);
            let count = branches.map_or(0, Vec::len);
            let settled = count > 0 && (0..count).all(|branch| self.is_settled(shape, index, branch));
            StepView {
                name: step.name,
                kind: step.kind,
                status: branches.map_or("pending", |branches| sum_up(branches, settled)),
                branches: branches.into_iter().flatten().zip(0..).map(view_branch).collect(),
            }
        });
        SagaView { kind: shape.kind, phase: self.phase(), cause: self.cause, steps: steps.collect() }
    }

    pub(crate) fn is_started(&self) -> bool {
        !self.steps.is_empty()
    }

    pub(crate) fn is_stuck(&self) -> bool {
        self.current().iter().any(|branch| matches!(branch.status, Status::Stuck | Status::UndoStuck))
    }

    /// The branches of the step at work.
    pub(crate) fn current(&self) -> &[BranchState] {
        self.steps.get(usize::from(self.cursor)).map_or(&[], Vec::as_slice)
    }

    /// Whether a later step did, on the way forward, what the compensation of a branch of `step` is for.
    pub(crate) fn is_settled(&self, shape: &Shape, step: usize, branch: usize) -> bool {
        shape.steps.iter().zip(&self.steps).any(|(later, branches)| {
            later.settles.map(usize::from) == Some(step)
                && branches.get(branch).is_some_and(|branch| branch.status == Status::Done)
        })
    }

    /// How many branches of a step were ever dispatched.
    pub(crate) fn entered(&self, step: StepIndex) -> usize {
        self.steps.get(usize::from(step)).map_or(0, Vec::len)
    }
}

impl BranchState {
    pub(crate) const fn first_attempt(lap: Lap) -> Self {
        Self { status: Status::Running, attempt: 1, undo_attempt: 0, tainted: false, lap }
    }

    /// Whether the action may have left something.
    pub(crate) const fn may_have_effect(&self) -> bool {
        match self.status {
            Status::Waiting | Status::Failed => self.tainted,
            _ => true,
        }
    }
}

impl Status {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting to retry",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stuck | Self::UndoStuck => "stuck",
            Self::Aborted => "aborted",
            Self::Undoing => "undoing",
            Self::UndoWaiting => "waiting to undo again",
            Self::Undone => "undone",
            Self::Skipped => "skipped",
        }
    }
}

/// A saga for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SagaView {
    pub kind: &'static str,
    pub phase: Phase,
    pub cause: Option<Cause>,
    /// All steps of the definition, also those that have not begun.
    pub steps: Vec<StepView>,
}

/// A step for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepView {
    pub name: &'static str,
    pub kind: StepKind,
    /// The most urgent word of its branches; `pending` before it begins, `settled` when a later step took it back,
    /// `nothing to do` without branches.
    pub status: &'static str,
    pub branches: Vec<BranchView>,
}

/// A branch for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BranchView {
    pub branch: Branch,
    pub status: &'static str,
    /// The latest attempt in the direction it is going.
    pub attempt: Attempt,
}

fn view_branch((state, branch): (&BranchState, Branch)) -> BranchView {
    let attempt = if state.undo_attempt > 0 { state.undo_attempt } else { state.attempt };
    BranchView { branch, status: state.status.as_str(), attempt }
}

fn sum_up(branches: &[BranchState], settled: bool) -> &'static str {
    const URGENCY: [Status; 11] = [
        Status::Stuck,
        Status::UndoStuck,
        Status::UndoWaiting,
        Status::Undoing,
        Status::Failed,
        Status::Waiting,
        Status::Running,
        Status::Aborted,
        Status::Undone,
        Status::Skipped,
        Status::Done,
    ];
    let all_done = branches.iter().all(|branch| branch.status == Status::Done);
    if settled && all_done {
        return "settled";
    }
    let has = |status: &Status| branches.iter().any(|branch| branch.status == *status);
    URGENCY.into_iter().find(has).map_or("nothing to do", Status::as_str)
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands out references
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands out references
const fn is_first_lap(lap: &Lap) -> bool {
    *lap == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands out references
const fn is_false(flag: &bool) -> bool {
    !*flag
}
