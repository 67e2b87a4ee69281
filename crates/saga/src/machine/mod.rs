//! The pure machine: what an event means in a state.
//!
//! One step at a time, all its branches in parallel; a stretch of steps may be walked in laps, each with branches of its own. The rules, each explored by `tests/it/model.rs`:
//!
//! - A result counts only for the current attempt of a branch of the step at work, in the saga's direction.
//! - Turning back, every branch that was dispatched and not proved free of effect is undone: also one that failed, and one
//!   that still runs. Its undo is dispatched at once and waits for nothing: the worker bars what comes after it.
//! - The way back starts when no attempt of the pivot can have had an effect, or never.

mod backward;
mod forward;

use crate::event::{Command, Direction, Event, Ignored, OperatorVerb};
use crate::shape::{Attempt, Branch, Shape, StepIndex, StepShape};
use crate::state::{BranchState, Cause, End, Phase, SagaState, Status};

/// Gives the state after `event` and what to do, or why the event changes nothing.
///
/// Total: any event in any state of `shape`; applying one twice is as applying it once. `branch_count` is asked only for
/// the steps that begin with this event, and for the first of a stretch that ends with it, so what the event taught must be in
/// the facts by then; a pivot is not asked for.
///
/// Panics: never for a `shape` that passes [`Shape::check`] and a state that this function made with it.
pub fn step(
    shape: &Shape,
    state: &SagaState,
    event: &Event,
    branch_count: &dyn Fn(StepIndex) -> Branch,
) -> Result<(SagaState, Vec<Command>), Ignored> {
    let mut machine = Machine { shape, branch_count, state: state.clone(), commands: Vec::new() };
    machine.take(*event)?;
    Ok((machine.state, machine.commands))
}

struct Machine<'a> {
    shape: &'a Shape,
    branch_count: &'a dyn Fn(StepIndex) -> Branch,
    state: SagaState,
    commands: Vec<Command>,
}

/// What an event of a branch names.
#[derive(Clone, Copy)]
struct At {
    step: StepIndex,
    branch: Branch,
    attempt: Attempt,
}

impl Machine<'_> {
    fn take(&mut self, event: Event) -> Result<(), Ignored> {
        if self.state.end.is_some() {
            return Err(Ignored::Ended);
        }
        match event {
            Event::Started => self.start(),
            Event::ActionSucceeded { step, branch, attempt } => {
                self.action_succeeded(At { step, branch, attempt })
            }
            Event::ActionFailed { step, branch, attempt, class, effect_free } => {
                self.action_failed(At { step, branch, attempt }, class, effect_free)
            }
            Event::UndoSucceeded { step, branch, attempt } => {
                self.undo_succeeded(At { step, branch, attempt })
            }
            Event::UndoFailed { step, branch, attempt, class } => {
                self.undo_failed(At { step, branch, attempt }, class)
            }
            Event::RetryDue { step, branch, attempt, direction } => {
                self.retry_due(At { step, branch, attempt }, direction)
            }
            Event::CancelRequested => self.stop(Cause::Cancelled),
            Event::DeadlinePassed => self.stop(Cause::DeadlinePassed),
            Event::StuckRetryDue => self.operate(OperatorVerb::Retry),
            Event::Operator { verb } => self.operate(verb),
        }
    }

    fn retry_due(&mut self, at: At, direction: Direction) -> Result<(), Ignored> {
        let expected = match direction {
            Direction::Action => Status::Waiting,
            Direction::Undo => Status::UndoWaiting,
        };
        let branch = self.expect(at, direction, expected)?;
        let command = run_again(branch, at, direction);
        self.commands.push(command);
        Ok(())
    }

    fn operate(&mut self, verb: OperatorVerb) -> Result<(), Ignored> {
        if !self.state.is_stuck() {
            return Err(Ignored::NotStuck);
        }
        match verb {
            OperatorVerb::Retry => self.retry_stuck(),
            OperatorVerb::Skip => self.skip_stuck(),
            OperatorVerb::Abandon => self.finish(End::Abandoned),
        }
        Ok(())
    }

    fn retry_stuck(&mut self) {
        let (step, direction) = (self.state.cursor, self.state.heading);
        for (index, branch) in (0..).zip(&mut self.state.steps[usize::from(step)]) {
            if matches!(branch.status, Status::Stuck | Status::UndoStuck) {
                self.commands.push(run_again(branch, At { step, branch: index, attempt: 0 }, direction));
            }
        }
    }

    fn skip_stuck(&mut self) {
        for branch in &mut self.state.steps[usize::from(self.state.cursor)] {
            if matches!(branch.status, Status::Stuck | Status::UndoStuck) {
                branch.status = Status::Skipped;
            }
        }
        match self.state.heading {
            Direction::Action => self.advance_when_done(),
            Direction::Undo => self.retreat_when_undone(),
        }
    }

    /// The branch that a result is about, if the result is of its current attempt and it has `status`.
    fn expect(&mut self, at: At, direction: Direction, status: Status) -> Result<&mut BranchState, Ignored> {
        let entered = self.state.steps.get_mut(usize::from(at.step)).ok_or(Ignored::Senseless)?;
        let branch = entered.get_mut(usize::from(at.branch)).ok_or(Ignored::Senseless)?;
        let current = match direction {
            Direction::Action => branch.attempt,
            Direction::Undo => branch.undo_attempt,
        };
        if at.attempt == 0 || at.attempt > current {
            return Err(Ignored::Senseless);
        }
        // Only the step at work has branches that are under way.
        if direction != self.state.heading || at.attempt < current || branch.status != status {
            return Err(Ignored::Stale);
        }
        Ok(branch)
    }

    fn shape_at_cursor(&self) -> &StepShape {
        &self.shape.steps[usize::from(self.state.cursor)]
    }

    /// Marks the branch as stuck and says so once, however many branches get stuck.
    fn get_stuck(&mut self, at: At, status: Status) {
        let was_stuck = self.state.is_stuck();
        self.state.steps[usize::from(at.step)][usize::from(at.branch)].status = status;
        if !was_stuck {
            self.commands.push(Command::Finish(Phase::Stuck));
        }
    }

    fn finish(&mut self, end: End) {
        self.state.end = Some(end);
        self.commands.push(Command::Finish(self.state.phase()));
    }
}

/// Begins the next attempt of a branch.
fn run_again(state: &mut BranchState, At { step, branch, .. }: At, direction: Direction) -> Command {
    match direction {
        Direction::Action => {
            state.status = Status::Running;
            state.attempt = state.attempt.saturating_add(1);
            Command::RunAction { step, branch, attempt: state.attempt }
        }
        Direction::Undo => {
            state.status = Status::Undoing;
            state.undo_attempt = state.undo_attempt.saturating_add(1);
            Command::RunUndo { step, branch, attempt: state.undo_attempt }
        }
    }
}
