//! Small sagas that between them have every feature.

use saga::{Branch, Direction, SagaState, Shape, StepIndex, StepKind, StepShape};

/// A shape with the number of branches of each step.
#[derive(Debug, Clone)]
pub(crate) struct Toy {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) branches: Vec<Branch>,
    /// Whether all laps of the stretch that is repeated begin at once: then there is but one.
    pub(crate) is_parallel: bool,
}

impl Toy {
    /// How many branches a step has by now: in a stretch that is repeated one for each lap, a lap once the last is done.
    pub(crate) fn branch_count(&self, state: &SagaState, step: StepIndex) -> Branch {
        let total = self.branches[usize::from(step)];
        let Some((first, last)) = self.stretch().filter(|_| !self.is_parallel) else { return total };
        if !(first..=last).contains(&step) {
            return total;
        }
        let dispatched = |branch: &Branch| state.attempt(last, *branch, Direction::Action) > 0;
        let laps = (0..self.branches[usize::from(last)]).take_while(dispatched).count();
        total.min(Branch::try_from(laps).expect("a toy is small") + 1)
    }

    /// The first and the last step of the stretch that is repeated.
    pub(crate) fn stretch(&self) -> Option<(StepIndex, StepIndex)> {
        let mut numbered = (0..).zip(&self.shape.steps);
        numbered.find_map(|(last, step)| step.repeats_from.map(|first| (first, last)))
    }

    /// Where a branch stands in the order of the way forward; what is in parallel stands together.
    pub(crate) fn order(&self, (step, branch): (StepIndex, Branch)) -> (StepIndex, Branch, StepIndex) {
        match self.stretch() {
            Some((first, last)) if !self.is_parallel && (first..=last).contains(&step) => {
                (first, branch, step)
            }
            _ => (step, 0, step),
        }
    }
}

const STEP: StepShape = StepShape {
    name: "",
    kind: StepKind::Compensable,
    undo: None,
    attempts_max: 2,
    settles: None,
    repeats_from: None,
};

pub(crate) fn make_toy(name: &'static str, steps: Vec<(StepShape, Branch)>) -> Toy {
    let (steps, branches) = steps.into_iter().unzip();
    let shape = Shape { kind: name, version: 1, steps };
    shape.check().expect("a toy is a saga");
    Toy { name, shape, branches, is_parallel: false }
}

pub(crate) fn undoable(name: &'static str, undo: &'static str) -> StepShape {
    StepShape { name, undo: Some(undo), ..STEP }
}

pub(crate) fn reading(name: &'static str) -> StepShape {
    StepShape { name, ..STEP }
}

pub(crate) fn settling(name: &'static str, settled: StepIndex) -> StepShape {
    StepShape { name, settles: Some(settled), attempts_max: 1, ..STEP }
}

pub(crate) fn pivot(name: &'static str) -> StepShape {
    StepShape { name, kind: StepKind::Pivot, ..STEP }
}

pub(crate) fn forward(name: &'static str) -> StepShape {
    StepShape { name, kind: StepKind::Forward, ..STEP }
}

/// Two parallel creates, then the pivot, then forward.
pub(crate) fn fan_out() -> Toy {
    make_toy(
        "fan_out",
        vec![
            (undoable("create", "delete"), 2),
            (reading("verify"), 1),
            (pivot("commit"), 1),
            (forward("clean_up"), 1),
        ],
    )
}

/// Freeze, cut, thaw: the thaw settles the freeze.
pub(crate) fn freeze() -> Toy {
    make_toy(
        "freeze",
        vec![
            (undoable("freeze", "thaw"), 1),
            (undoable("cut", "delete_cut"), 1),
            (settling("thaw_after", 0), 1),
            (pivot("commit"), 1),
        ],
    )
}

/// As `freeze`, with two of each.
pub(crate) fn freeze_two() -> Toy {
    make_toy(
        "freeze_two",
        vec![(undoable("freeze", "thaw"), 2), (settling("thaw_after", 0), 2), (pivot("commit"), 1)],
    )
}

/// A chain with an empty step, and two branches behind the pivot.
pub(crate) fn chain() -> Toy {
    make_toy(
        "chain",
        vec![
            (undoable("lock", "unlock"), 1),
            (undoable("nothing", "undo_nothing"), 0),
            (undoable("create", "delete"), 1),
            (pivot("commit"), 1),
            (forward("clean_up"), 2),
        ],
    )
}

/// Freeze, thaw and copy, one guest after the other.
pub(crate) fn laps() -> Toy {
    let copy = StepShape { repeats_from: Some(0), ..undoable("copy", "purge") };
    make_toy(
        "laps",
        vec![
            (undoable("freeze", "thaw"), 2),
            (settling("thaw_after", 0), 2),
            (copy, 2),
            (pivot("commit"), 1),
        ],
    )
}

/// The same, both at once.
pub(crate) fn one_lap() -> Toy {
    Toy { name: "one_lap", is_parallel: true, ..laps() }
}

/// All can be taken back until the end.
pub(crate) fn no_pivot() -> Toy {
    make_toy("no_pivot", vec![(undoable("create", "delete"), 2), (undoable("attach", "detach"), 1)])
}

pub(crate) fn all() -> Vec<Toy> {
    vec![fan_out(), freeze(), freeze_two(), chain(), no_pivot(), laps(), one_lap()]
}
