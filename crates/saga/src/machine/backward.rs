//! The way back: compensations in reverse order of steps and laps, those of one step and lap in parallel.

use model::ErrorClass;

use super::{At, Machine};
use crate::event::{Command, Direction, Ignored};
use crate::shape::{Branch, StepIndex};
use crate::state::{BranchState, Cause, End, Status};

impl Machine<'_> {
    /// Stops what runs and begins to undo, from the step at work down.
    pub(super) fn turn_back(&mut self, cause: Cause) {
        let step = self.state.cursor;
        self.state.heading = Direction::Undo;
        self.state.cause = Some(cause);
        for (branch, state) in (0..).zip(self.state.current()) {
            if state.status == Status::Running {
                self.commands.push(Command::AbortAction { step, branch, attempt: state.attempt });
            }
        }
        self.undo_from(step);
    }

    pub(super) fn undo_succeeded(&mut self, at: At) -> Result<(), Ignored> {
        self.expect(at, Direction::Undo, Status::Undoing)?.status = Status::Undone;
        self.retreat_when_undone();
        Ok(())
    }

    pub(super) fn undo_failed(&mut self, at: At, class: ErrorClass) -> Result<(), Ignored> {
        let branch = self.expect(at, Direction::Undo, Status::Undoing)?;
        if class.may_pass() {
            branch.status = Status::UndoWaiting;
            let At { step, branch, attempt } = at;
            self.commands.push(Command::ScheduleRetry { step, branch, attempt, direction: Direction::Undo });
        } else {
            self.get_stuck(at, Status::UndoStuck);
        }
        Ok(())
    }

    /// Goes on with the step before once every branch of this one is undone.
    pub(super) fn retreat_when_undone(&mut self) {
        let is_under_way = |branch: &BranchState| {
            matches!(branch.status, Status::Undoing | Status::UndoWaiting | Status::UndoStuck)
        };
        if self.state.current().iter().any(is_under_way) {
            return;
        }
        match self.step_before(self.state.cursor) {
            Some(before) => self.undo_from(before),
            None => self.finish(End::Compensated),
        }
    }

    /// Dispatches the compensations of the last step up to `last` that has anything to undo.
    fn undo_from(&mut self, last: StepIndex) {
        let mut next = Some(last);
        while let Some(step) = next {
            self.state.cursor = step;
            if self.undo_step(step) {
                return;
            }
            next = self.step_before(step);
        }
        self.finish(End::Compensated);
    }

    /// The step that was done before this one, in this lap or the one before.
    fn step_before(&mut self, step: StepIndex) -> Option<StepIndex> {
        if self.state.lap > 0
            && let Some(last) = self.shape.last_of_stretch(step)
        {
            self.state.lap -= 1;
            return Some(last);
        }
        let before = step.checked_sub(1)?;
        if let Some(first) = self.shape.steps[usize::from(before)].repeats_from {
            let stretch = &self.state.steps[usize::from(first)..=usize::from(before)];
            self.state.lap = stretch.iter().flatten().map(|branch| branch.lap).max().unwrap_or(0);
        }
        Some(before)
    }

    /// Whether there was anything to undo of this lap.
    fn undo_step(&mut self, step: StepIndex) -> bool {
        let (index, lap) = (usize::from(step), self.state.lap);
        let has_undo = self.shape.steps[index].undo.is_some();
        let commands_before = self.commands.len();
        for branch in 0..self.state.entered(step) {
            let is_settled = self.state.is_settled(self.shape, index, branch);
            let state = &mut self.state.steps[index][branch];
            if state.lap != lap {
                continue;
            }
            let branch = Branch::try_from(branch).expect("branches are counted as such");
            if has_undo && !is_settled && state.may_have_effect() {
                state.status = Status::Undoing;
                state.undo_attempt = 1;
                self.commands.push(Command::RunUndo { step, branch, attempt: 1 });
            } else {
                match state.status {
                    Status::Running => state.status = Status::Aborted,
                    Status::Waiting => state.status = Status::Failed,
                    _ => {} // done and needs no undo, or failed and left nothing
                }
            }
        }
        self.commands.len() > commands_before
    }
}
