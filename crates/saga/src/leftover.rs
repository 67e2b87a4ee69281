//! What a saga that ends as it lies leaves behind: effects that nothing took back, and work that nobody did.

use crate::event::Direction;
use crate::shape::{Branch, Shape, StepIndex, StepKind};
use crate::state::{BranchState, SagaState, Status};

/// A piece of work that an abandoned saga does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leftover {
    pub step: StepIndex,
    pub branch: Branch,
    /// `Undo`: the step's effect may be there, its compensation did not run. `Action`: the step was not done.
    pub direction: Direction,
}

impl SagaState {
    /// Lists what would be left if the saga ended as it is now. What an operator saw to by hand is not in it.
    ///
    /// Shape: by step, then by branch. `branch_count` is asked for steps that were not entered yet.
    #[must_use]
    pub fn leftovers(&self, shape: &Shape, branch_count: &dyn Fn(StepIndex) -> Branch) -> Vec<Leftover> {
        let at_pivot =
            shape.steps.get(usize::from(self.cursor)).is_some_and(|step| step.kind == StepKind::Pivot);
        // A pivot in doubt leaves both ways open: neither is done.
        let undo = self.heading == Direction::Undo || at_pivot;
        let act = self.heading == Direction::Action;
        let mut all = Vec::new();
        for (step, shape_of_step) in (0..).zip(&shape.steps) {
            let index = usize::from(step);
            let entered = self.steps.get(index).map_or(&[][..], Vec::as_slice);
            if undo && shape_of_step.undo.is_some() {
                let left = |(branch, state): (usize, &BranchState)| {
                    state.may_have_effect()
                        && !matches!(state.status, Status::Undone | Status::Skipped)
                        && !self.is_settled(shape, index, branch)
                };
                all.extend(list(step, entered.iter().enumerate().map(left), Direction::Undo));
            }
            if act && step >= self.cursor && self.is_started() {
                let undone = |branch: &BranchState| !matches!(branch.status, Status::Done | Status::Skipped);
                match self.steps.get(index) {
                    Some(branches) => {
                        all.extend(list(step, branches.iter().map(undone), Direction::Action));
                    }
                    None => {
                        let count = usize::from(branch_count(step));
                        all.extend(list(step, std::iter::repeat_n(true, count), Direction::Action));
                    }
                }
            }
        }
        all
    }
}

fn list(
    step: StepIndex,
    is_left: impl Iterator<Item = bool>,
    direction: Direction,
) -> impl Iterator<Item = Leftover> {
    let branches = (0..).zip(is_left).filter(|(_, is_left)| *is_left);
    branches.map(move |(branch, _)| Leftover { step, branch, direction })
}
