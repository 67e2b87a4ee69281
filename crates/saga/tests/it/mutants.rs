//! The exploration has teeth: each way in which the machine could be wrong is found.
//!
//! A mutant is the real machine with one thought missing, made by changing what it is told or what it says.

use std::collections::BTreeSet;

use model::ErrorClass;
use saga::{Branch, Command, Direction, Event, Ignored, Phase, SagaState, StepIndex, StepKind};
use stateright::{Checker, HasDiscoveries, Model};

use crate::model::{System, real};
use crate::outside::Machine;
use crate::shapes::{self, Toy};

/// What a machine answers.
pub(crate) type Moved = Result<(SagaState, Vec<Command>), Ignored>;

#[track_caller]
#[allow(clippy::print_stdout)] // how long a story the catch took
fn check_caught(toy: Toy, mutant: Machine, expected: &'static str) {
    let system = System { toy, machine: mutant, faults: 2, verbs: 0 };
    let caught = HasDiscoveries::AllOf(BTreeSet::from([expected]));
    let checker = system.checker().threads(2).finish_when(caught).spawn_bfs().join();
    let found = checker.discoveries();
    let path =
        found.get(expected).unwrap_or_else(|| panic!("not caught by {expected:?}: {:?}", found.keys()));
    println!("caught by {expected:?} after {} moves", path.clone().into_actions().len());
}

/// Swallows the undo of some branches, and takes them as undone.
fn without_undo(toy: &Toy, moved: Moved, is_forgotten: impl Fn(StepIndex, Branch) -> bool) -> Moved {
    let (mut state, mut commands) = moved?;
    let is_swallowed = |command: &Command| matches!(*command, Command::RunUndo { step, branch, .. } if is_forgotten(step, branch));
    while let Some(index) = commands.iter().position(is_swallowed) {
        let Command::RunUndo { step, branch, attempt } = commands.remove(index) else { unreachable!() };
        let (next, more) = real(toy, &state, &Event::UndoSucceeded { step, branch, attempt })?;
        state = next;
        commands.extend(more);
    }
    Ok((state, commands))
}

/// Steno's rule: an action that failed has done nothing.
fn does_not_undo_the_failed_branch(toy: &Toy, state: &SagaState, event: &Event) -> Moved {
    let moved = real(toy, state, event);
    let Event::ActionFailed { step, branch, .. } = *event else { return moved };
    without_undo(toy, moved, |s, b| (s, b) == (step, branch))
}

fn forgets_siblings(toy: &Toy, state: &SagaState, event: &Event) -> Moved {
    let moved = real(toy, state, event);
    let Event::ActionFailed { step, branch, .. } = *event else { return moved };
    without_undo(toy, moved, |s, b| s == step && b != branch)
}

fn does_not_undo_what_still_runs(toy: &Toy, state: &SagaState, event: &Event) -> Moved {
    let running = |step: StepIndex, branch: Branch| {
        let view = state.view(&toy.shape);
        view.steps[usize::from(step)].branches[usize::from(branch)].status == "running"
    };
    let moved = real(toy, state, event);
    if *event == Event::CancelRequested { without_undo(toy, moved, running) } else { moved }
}

fn takes_the_last_attempt_as_proof(toy: &Toy, state: &SagaState, event: &Event) -> Moved {
    match *event {
        Event::ActionFailed { step, branch, attempt, class, .. } if class.may_pass() => {
            real(toy, state, &Event::ActionFailed { step, branch, attempt, class, effect_free: true })
        }
        _ => real(toy, state, event),
    }
}

fn accepts_a_stale_attempt(toy: &Toy, state: &SagaState, event: &Event) -> Moved {
    match *event {
        Event::ActionFailed { step, branch, class, effect_free, .. } => {
            let attempt = state.attempt(step, branch, Direction::Action);
            real(toy, state, &Event::ActionFailed { step, branch, attempt, class, effect_free })
        }
        Event::UndoSucceeded { step, branch, .. } => {
            let attempt = state.attempt(step, branch, Direction::Undo);
            real(toy, state, &Event::UndoSucceeded { step, branch, attempt })
        }
        _ => real(toy, state, event),
    }
}

fn cancels_after_the_pivot(toy: &Toy, state: &SagaState, event: &Event) -> Moved {
    let moved = real(toy, state, event);
    let Some(step) = state.current_step().filter(|_| moved == Err(Ignored::TooLate)) else { return moved };
    let attempt = state.attempt(step, 0, Direction::Action);
    let class = ErrorClass::Permanent;
    real(toy, state, &Event::ActionFailed { step, branch: 0, attempt, class, effect_free: true })
}

fn gives_up_an_unclear_pivot(toy: &Toy, state: &SagaState, event: &Event) -> Moved {
    match *event {
        Event::ActionFailed { step, branch, attempt, .. }
            if toy.shape.steps[usize::from(step)].kind == StepKind::Pivot =>
        {
            let class = ErrorClass::Permanent;
            real(toy, state, &Event::ActionFailed { step, branch, attempt, class, effect_free: true })
        }
        _ => real(toy, state, event),
    }
}

fn loses_the_timer(toy: &Toy, state: &SagaState, event: &Event) -> Moved {
    let (state, mut commands) = real(toy, state, event)?;
    commands.retain(|command| !matches!(command, Command::ScheduleRetry { .. }));
    Ok((state, commands))
}

fn forgets_to_thaw(toy: &Toy, state: &SagaState, event: &Event) -> Moved {
    without_undo(toy, real(toy, state, event), |step, _| step == 0)
}

fn thaws_what_is_thawed(toy: &Toy, state: &SagaState, event: &Event) -> Moved {
    let mut forgetful = toy.clone();
    forgetful.shape.steps.iter_mut().for_each(|step| step.settles = None);
    real(&forgetful, state, event)
}

fn goes_on_after_the_first_branch(toy: &Toy, state: &SagaState, event: &Event) -> Moved {
    let mut moved = real(toy, state, event)?;
    if let Event::ActionSucceeded { step: 0, branch: 0, .. } = *event {
        let attempt = moved.0.attempt(0, 1, Direction::Action);
        let sibling = Event::ActionSucceeded { step: 0, branch: 1, attempt };
        if let Ok((state, commands)) = real(toy, &moved.0, &sibling) {
            moved.0 = state;
            moved.1.extend(commands);
        }
    }
    Ok(moved)
}

fn undoes_all_steps_at_once(toy: &Toy, state: &SagaState, event: &Event) -> Moved {
    let (mut state, mut commands) = real(toy, state, event)?;
    if *event == Event::CancelRequested {
        while state.phase() == Phase::Backward {
            let Some(step) = state.current_step() else { break };
            for branch in 0..toy.branch_count(&state, step) {
                let undone = Event::UndoSucceeded { step, branch, attempt: 1 };
                let Ok((next, more)) = real(toy, &state, &undone) else { continue };
                state = next;
                commands.extend(more);
            }
        }
    }
    Ok((state, commands))
}

const NO_RULE: &str = "no move breaks a rule";
const CLEAN: &str = "compensated: nothing is left, nor can come";
const DONE: &str = "succeeded: all happened and nothing was undone";
const PIVOT: &str = "the pivot never happens and is taken back";
const GOES_ON: &str = "nobody waits for nothing";

#[test]
fn a_machine_that_does_not_undo_the_failed_branch_is_caught() {
    check_caught(shapes::no_pivot(), does_not_undo_the_failed_branch, CLEAN);
}

#[test]
fn a_machine_that_forgets_siblings_is_caught() {
    check_caught(shapes::fan_out(), forgets_siblings, CLEAN);
}

#[test]
fn a_machine_that_does_not_undo_what_still_runs_is_caught() {
    check_caught(shapes::no_pivot(), does_not_undo_what_still_runs, CLEAN);
}

#[test]
fn a_machine_that_takes_the_last_attempt_as_proof_is_caught() {
    check_caught(shapes::no_pivot(), takes_the_last_attempt_as_proof, CLEAN);
}

#[test]
fn a_machine_that_accepts_a_stale_attempt_is_caught() {
    check_caught(shapes::chain(), accepts_a_stale_attempt, CLEAN);
}

#[test]
fn a_machine_that_cancels_after_the_pivot_is_caught() {
    check_caught(shapes::fan_out(), cancels_after_the_pivot, NO_RULE);
}

#[test]
fn a_machine_that_gives_up_an_unclear_pivot_is_caught() {
    check_caught(shapes::freeze(), gives_up_an_unclear_pivot, PIVOT);
}

#[test]
fn a_machine_that_loses_a_timer_is_caught() {
    check_caught(shapes::no_pivot(), loses_the_timer, GOES_ON);
}

#[test]
fn a_machine_that_forgets_to_thaw_is_caught() {
    check_caught(shapes::freeze(), forgets_to_thaw, CLEAN);
}

#[test]
fn a_machine_that_thaws_what_is_thawed_is_caught() {
    check_caught(shapes::freeze(), thaws_what_is_thawed, NO_RULE);
}

#[test]
fn a_machine_that_goes_on_after_the_first_branch_is_caught() {
    check_caught(shapes::fan_out(), goes_on_after_the_first_branch, DONE);
}

#[test]
fn a_machine_that_undoes_all_steps_at_once_is_caught() {
    check_caught(shapes::no_pivot(), undoes_all_steps_at_once, NO_RULE);
}
