//! The way forward: from the first step over the pivot to the last.

use model::ErrorClass;

use super::{At, Machine};
use crate::event::{Command, Direction, Ignored};
use crate::shape::{StepIndex, StepKind};
use crate::state::{BranchState, Cause, End, Status};

impl Machine<'_> {
    pub(super) fn start(&mut self) -> Result<(), Ignored> {
        if self.state.is_started() {
            return Err(Ignored::Stale);
        }
        self.enter(0);
        Ok(())
    }

    pub(super) fn action_succeeded(&mut self, at: At) -> Result<(), Ignored> {
        self.expect(at, Direction::Action, Status::Running)?.status = Status::Done;
        self.advance_when_done();
        Ok(())
    }

    pub(super) fn action_failed(
        &mut self,
        at: At,
        class: ErrorClass,
        effect_free: bool,
    ) -> Result<(), Ignored> {
        let branch = self.expect(at, Direction::Action, Status::Running)?;
        branch.tainted |= !effect_free;
        let tainted = branch.tainted;
        let step = self.shape_at_cursor();
        let within_limit = at.attempt < step.attempts_max;
        match step.kind {
            StepKind::Compensable if class.may_pass() && within_limit => self.wait(at),
            StepKind::Compensable => self.fail(at),
            // Whether the pivot happened must become known: it is asked again for as long as that takes.
            StepKind::Pivot if class.may_pass() && (within_limit || tainted) => self.wait(at),
            StepKind::Pivot if tainted => self.get_stuck(at, Status::Stuck),
            StepKind::Pivot => self.fail(at),
            StepKind::Forward if class.may_pass() => self.wait(at),
            StepKind::Forward => self.get_stuck(at, Status::Stuck),
        }
        Ok(())
    }

    /// Turns back for a reason that is no failure, while there is a way back.
    pub(super) fn stop(&mut self, cause: Cause) -> Result<(), Ignored> {
        if self.state.heading == Direction::Undo {
            return Err(Ignored::TurnedBack);
        }
        if !self.state.may_cancel(self.shape) {
            return Err(Ignored::TooLate);
        }
        if self.state.is_started() {
            self.turn_back(cause);
        } else {
            self.state.cause = Some(cause);
            self.finish(End::Compensated);
        }
        Ok(())
    }

    /// Goes on with the next step once every branch of this one is done.
    pub(super) fn advance_when_done(&mut self) {
        let is_done = |branch: &BranchState| matches!(branch.status, Status::Done | Status::Skipped);
        if self.state.current().iter().all(is_done) {
            let next = self.step_after(self.state.cursor);
            self.enter(next);
        }
    }

    /// Dispatches the new branches of the first step from `first` on that has any.
    fn enter(&mut self, first: StepIndex) {
        let mut step = first;
        while usize::from(step) < self.shape.steps.len() {
            self.state.cursor = step;
            if self.begin(step) {
                return;
            }
            step = self.step_after(step);
        }
        self.finish(End::Succeeded);
    }

    /// Whether the step has branches that were not there in an earlier lap: all of them in the first.
    fn begin(&mut self, step: StepIndex) -> bool {
        let index = usize::from(step);
        let is_pivot = self.shape.steps[index].kind == StepKind::Pivot;
        let count = if is_pivot { 1 } else { (self.branch_count)(step) };
        if self.state.steps.len() == index {
            self.state.steps.push(Vec::new());
        }
        let entered = self.state.steps[index].len();
        for branch in (0..count).skip(entered) {
            self.state.steps[index].push(BranchState::first_attempt(self.state.lap));
            self.commands.push(Command::RunAction { step, branch, attempt: 1 });
        }
        usize::from(count) > entered
    }

    /// The next step, or the first of the stretch that ends here while there is more to do for it.
    fn step_after(&mut self, step: StepIndex) -> StepIndex {
        if let Some(first) = self.shape.steps[usize::from(step)].repeats_from {
            if usize::from((self.branch_count)(first)) > self.state.entered(first) {
                self.state.lap = self.state.lap.saturating_add(1);
                return first;
            }
            self.state.lap = 0;
        }
        step.saturating_add(1)
    }

    fn wait(&mut self, At { step, branch, attempt }: At) {
        self.state.steps[usize::from(step)][usize::from(branch)].status = Status::Waiting;
        self.commands.push(Command::ScheduleRetry { step, branch, attempt, direction: Direction::Action });
    }

    fn fail(&mut self, at: At) {
        self.state.steps[usize::from(at.step)][usize::from(at.branch)].status = Status::Failed;
        self.turn_back(Cause::Failed { step: at.step, branch: at.branch });
    }
}
