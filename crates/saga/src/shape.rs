//! What the machine knows of a definition: names, order, how often, and what takes what back.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Which step, from 0.
pub type StepIndex = u16;
/// Which of the parallel pieces of a step, from 0.
pub type Branch = u16;
/// Which walk through a stretch of steps that is repeated, from 0.
pub type Lap = u16;
/// Which try of one branch in one direction, from 1.
pub type Attempt = u32;

/// What a step means for the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Before the pivot: can be taken back, or leaves nothing.
    Compensable,
    /// The step after which we only go forward. Has exactly one branch.
    Pivot,
    /// After the pivot: retried without limit.
    Forward,
}

/// One step as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StepShape {
    pub name: &'static str,
    pub kind: StepKind,
    /// The compensation's name. A step without one must leave nothing behind, and must bear that its action, told to
    /// stop, still runs while earlier steps are undone; give it a compensation that waits where that matters.
    pub undo: Option<&'static str>,
    /// Of the action; a failure that may pass is retried until then. Compensations and forward steps have no limit.
    pub attempts_max: u32,
    /// The earlier step whose compensation is needless for a branch once the same branch of this one succeeded. For work that
    /// must be done once on either path: `thaw_guests` settles `freeze_guests`, whose compensation is the same thaw.
    pub settles: Option<StepIndex>,
    /// The earlier step with which it goes on, once this one is done, while that one has more branches than before: the
    /// stretch of steps is walked for one part after the other. The way back walks the laps in reverse.
    pub repeats_from: Option<StepIndex>,
}

/// A definition as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    pub kind: &'static str,
    pub version: u32,
    pub steps: Vec<StepShape>,
}

/// A list of steps that is no saga. A bug in a definition, found when the process starts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    #[error("saga {kind} has {count} steps: at most {} are possible", StepIndex::MAX)]
    TooManySteps { kind: &'static str, count: usize },
    #[error("saga {kind} has two steps named {step}")]
    NameTwice { kind: &'static str, step: &'static str },
    #[error(
        "step {step} of saga {kind} is out of order: steps that can be undone, then one pivot, then forward"
    )]
    OutOfOrder { kind: &'static str, step: &'static str },
    #[error("step {step} of saga {kind} is not before the pivot and cannot have a compensation")]
    UndoAfterPivot { kind: &'static str, step: &'static str },
    #[error("step {step} of saga {kind} may make no attempt")]
    NoAttempt { kind: &'static str, step: &'static str },
    #[error("step {step} of saga {kind} has no action")]
    NoAction { kind: &'static str, step: &'static str },
    #[error(
        "step {step} of saga {kind} must itself be compensable and without compensation, and settle an earlier step that has one"
    )]
    Settles { kind: &'static str, step: &'static str },
    #[error(
        "step {step} of saga {kind} must be compensable, and repeat from an earlier step that is in no other stretch"
    )]
    Repeats { kind: &'static str, step: &'static str },
}

impl Shape {
    /// Refuses lists of steps that [`crate::step`] does not mean anything by.
    pub fn check(&self) -> Result<(), ShapeError> {
        let kind = self.kind;
        if StepIndex::try_from(self.steps.len()).is_err() {
            return Err(ShapeError::TooManySteps { kind, count: self.steps.len() });
        }
        let mut names = BTreeSet::new();
        let mut last = StepKind::Compensable;
        let mut free_from = 0;
        for (index, shape) in self.steps.iter().enumerate() {
            let StepShape { name: step, kind: step_kind, undo, attempts_max, settles, repeats_from } = shape;
            let (step, step_kind) = (*step, *step_kind);
            if !names.insert(step) {
                return Err(ShapeError::NameTwice { kind, step });
            }
            if step_kind < last || (step_kind == StepKind::Pivot && last == StepKind::Pivot) {
                return Err(ShapeError::OutOfOrder { kind, step });
            }
            last = step_kind;
            if undo.is_some() && step_kind != StepKind::Compensable {
                return Err(ShapeError::UndoAfterPivot { kind, step });
            }
            if *attempts_max == 0 {
                return Err(ShapeError::NoAttempt { kind, step });
            }
            if settles.is_some_and(|settled| !self.may_settle(index, usize::from(settled))) {
                return Err(ShapeError::Settles { kind, step });
            }
            if let Some(first) = repeats_from.map(usize::from) {
                if step_kind != StepKind::Compensable || first < free_from || first >= index {
                    return Err(ShapeError::Repeats { kind, step });
                }
                free_from = index + 1;
            }
        }
        Ok(())
    }

    /// Names a step, for people.
    #[must_use]
    pub fn step_name(&self, step: StepIndex) -> &'static str {
        self.steps.get(usize::from(step)).map_or("?", |shape| shape.name)
    }

    /// The last step of the stretch that begins with `first`.
    pub(crate) fn last_of_stretch(&self, first: StepIndex) -> Option<StepIndex> {
        (0..).zip(&self.steps).find(|(_, step)| step.repeats_from == Some(first)).map(|(last, _)| last)
    }

    fn may_settle(&self, index: usize, settled: usize) -> bool {
        let settling = &self.steps[index];
        settled < index
            && settling.kind == StepKind::Compensable
            && settling.undo.is_none()
            && self.steps[settled].undo.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: StepShape = StepShape {
        name: "a",
        kind: StepKind::Compensable,
        undo: None,
        attempts_max: 1,
        settles: None,
        repeats_from: None,
    };

    #[track_caller]
    fn check(steps: Vec<StepShape>, expected: Option<&str>) {
        let found = Shape { kind: "toy", version: 1, steps }.check();
        assert_eq!(found.err().map(|error| error.to_string()).as_deref(), expected);
    }

    #[test]
    fn steps_then_pivot_then_forward_is_the_only_order() {
        let pivot = StepShape { name: "p", kind: StepKind::Pivot, ..PLAIN };
        let second = StepShape { name: "q", kind: StepKind::Pivot, ..PLAIN };
        let forward = StepShape { name: "f", kind: StepKind::Forward, ..PLAIN };
        check(vec![PLAIN, pivot.clone(), forward.clone()], None);
        check(vec![], None);
        let words = "is out of order: steps that can be undone, then one pivot, then forward";
        check(vec![pivot.clone(), PLAIN], Some(&format!("step a of saga toy {words}")));
        check(vec![pivot.clone(), second], Some(&format!("step q of saga toy {words}")));
        check(vec![forward, pivot], Some(&format!("step p of saga toy {words}")));
    }

    #[test]
    fn a_name_is_used_once_and_something_is_attempted() {
        check(vec![PLAIN, PLAIN], Some("saga toy has two steps named a"));
        check(vec![StepShape { attempts_max: 0, ..PLAIN }], Some("step a of saga toy may make no attempt"));
    }

    #[test]
    fn only_a_plain_later_step_settles_one_with_a_compensation() {
        let freeze = StepShape { name: "freeze", undo: Some("thaw"), ..PLAIN };
        let thaw = StepShape { name: "thaw_after", settles: Some(0), ..PLAIN };
        check(vec![freeze.clone(), thaw.clone()], None);
        let words = "step thaw_after of saga toy must itself be compensable and without compensation, and settle an earlier step that has one";
        check(vec![PLAIN, thaw.clone()], Some(words));
        check(vec![thaw.clone(), freeze.clone()], Some(words));
        check(vec![freeze, StepShape { undo: Some("x"), ..thaw }], Some(words));
    }

    #[test]
    fn a_stretch_is_repeated_from_an_earlier_step_and_in_no_other() {
        let again = |name, first| StepShape { name, repeats_from: Some(first), ..PLAIN };
        check(vec![PLAIN, again("b", 0)], None);
        let refusal = |step| {
            format!(
                "step {step} of saga toy must be compensable, and repeat from an earlier step that is in no other stretch"
            )
        };
        check(vec![again("b", 0), PLAIN], Some(&refusal("b")));
        check(vec![PLAIN, again("b", 0), again("c", 1)], Some(&refusal("c")));
        let forward = StepShape { kind: StepKind::Forward, ..again("b", 0) };
        check(vec![PLAIN, forward], Some(&refusal("b")));
    }

    #[test]
    fn behind_the_pivot_nothing_is_compensated() {
        check(
            vec![StepShape { kind: StepKind::Forward, undo: Some("x"), ..PLAIN }],
            Some("step a of saga toy is not before the pivot and cannot have a compensation"),
        );
    }
}
