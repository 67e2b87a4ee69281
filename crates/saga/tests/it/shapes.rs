//! Small sagas that between them have every feature.

use saga::{Branch, Shape, StepIndex, StepKind, StepShape};

/// A shape with the number of branches of each step.
#[derive(Debug, Clone)]
pub(crate) struct Toy {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) branches: Vec<Branch>,
}

impl Toy {
    pub(crate) fn branch_count(&self, step: StepIndex) -> Branch {
        self.branches[usize::from(step)]
    }
}

const STEP: StepShape =
    StepShape { name: "", kind: StepKind::Compensable, undo: None, attempts_max: 2, settles: None };

pub(crate) fn make_toy(name: &'static str, steps: Vec<(StepShape, Branch)>) -> Toy {
    let (steps, branches) = steps.into_iter().unzip();
    let shape = Shape { kind: name, version: 1, steps };
    shape.check().expect("a toy is a saga");
    Toy { name, shape, branches }
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

/// All can be taken back until the end.
pub(crate) fn no_pivot() -> Toy {
    make_toy("no_pivot", vec![(undoable("create", "delete"), 2), (undoable("attach", "detach"), 1)])
}

pub(crate) fn all() -> Vec<Toy> {
    vec![fan_out(), freeze(), freeze_two(), chain(), no_pivot()]
}
