//! Which states a saga can reach: breadth first, from the real machine. Places of the picture are the steps and their
//! compensations; states that differ only in how often something was tried are one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::ErrorClass;

use crate::event::{Direction, Event, OperatorVerb};
use crate::machine::step;
use crate::shape::{Shape, StepIndex};
use crate::state::{Phase, SagaState, Status};

/// Where in the picture a saga can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Start,
    Action(StepIndex),
    Undo(StepIndex),
    End(Phase),
}

/// What leads from one place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    Started,
    Done,
    Failed,
    Cancel,
    Deadline,
    Skip,
    Abandon,
}

/// All that can be reached.
#[derive(Debug, Default)]
pub(super) struct Reached {
    pub(super) edges: BTreeMap<(Place, Place), BTreeSet<Why>>,
    /// Where a saga can get stuck.
    pub(super) stuck: BTreeSet<Place>,
}

/// Explores all states of `shape` with one branch in every step; more branches only wait for each other.
pub(super) fn explore(shape: &Shape) -> Reached {
    let mut reached = Reached::default();
    let mut known = BTreeSet::from([SagaState::new()]);
    let mut queue = VecDeque::from([SagaState::new()]);
    while let Some(state) = queue.pop_front() {
        if state.is_stuck() && state.end.is_none() {
            reached.stuck.insert(place(&state));
        }
        for (event, why) in events(state.cursor) {
            let Ok((next, _)) = step(shape, &state, &event, &|_| 1) else { continue };
            let way = (place(&state), place(&next));
            if way.0 != way.1 {
                reached.edges.entry(way).or_default().insert(why);
            }
            let next = forget_counts(next);
            if known.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }
    reached
}

/// Everything that can happen to the step at work.
fn events(step: StepIndex) -> Vec<(Event, Why)> {
    let (branch, attempt) = (0, 1);
    let mut all = vec![
        (Event::Started, Why::Started),
        (Event::ActionSucceeded { step, branch, attempt }, Why::Done),
        (Event::UndoSucceeded { step, branch, attempt }, Why::Done),
        (Event::CancelRequested, Why::Cancel),
        (Event::DeadlinePassed, Why::Deadline),
        (Event::Operator { verb: OperatorVerb::Retry }, Why::Done),
        (Event::Operator { verb: OperatorVerb::Skip }, Why::Skip),
        (Event::Operator { verb: OperatorVerb::Abandon }, Why::Abandon),
    ];
    for direction in [Direction::Action, Direction::Undo] {
        all.push((Event::RetryDue { step, branch, attempt, direction }, Why::Done));
    }
    for class in [ErrorClass::Transient, ErrorClass::Permanent] {
        for effect_free in [true, false] {
            all.push((Event::ActionFailed { step, branch, attempt, class, effect_free }, Why::Failed));
        }
        all.push((Event::UndoFailed { step, branch, attempt, class }, Why::Failed));
    }
    all
}

fn place(state: &SagaState) -> Place {
    match (state.phase(), state.heading) {
        (phase, _) if phase.is_end() => Place::End(phase),
        _ if !state.is_started() => Place::Start,
        (_, Direction::Action) => Place::Action(state.cursor),
        (_, Direction::Undo) => Place::Undo(state.cursor),
    }
}

/// The state as if everything had been tried once: what may happen next does not depend on it, since a budget that is
/// spent is a failure for good. Nor does it depend on why the saga turned back.
fn forget_counts(mut state: SagaState) -> SagaState {
    state.cause = None;
    for branch in state.steps.iter_mut().flatten() {
        branch.attempt = branch.attempt.min(1);
        branch.undo_attempt = branch.undo_attempt.min(1);
        // What was skipped is as what was done: without this the states double with each step.
        if branch.status == Status::Skipped {
            branch.status = if branch.undo_attempt > 0 { Status::Undone } else { Status::Done };
        }
        // Asked only of branches that may yet prove that they left nothing.
        branch.tainted &=
            matches!(branch.status, Status::Running | Status::Waiting | Status::Failed | Status::Stuck);
    }
    state
}
