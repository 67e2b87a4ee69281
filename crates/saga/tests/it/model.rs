//! Exhaustive exploration of the real machine: every order of every message, every fault, a cancel or the saga's deadline, and
//! an operator at every moment, within the stated bounds.

use std::time::Instant;

use saga::{Cause, Event, Phase, SagaState, StepKind};
use stateright::{Checker, Model, Property};

use crate::outside::{Happening, Machine, World};
use crate::shapes::{self, Toy};

/// Faults per run. With attempts_max = 2 this spends a step's budget, and then strikes once more on the way back.
const FAULTS: u8 = 3;

/// A saga with its outside.
#[derive(Debug, Clone)]
pub(crate) struct System {
    pub(crate) toy: Toy,
    pub(crate) machine: Machine,
    pub(crate) faults: u8,
    /// Decisions of the operator per run.
    pub(crate) verbs: u8,
}

impl Model for System {
    type State = World;
    type Action = Happening;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.faults, self.verbs)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Happening>) {
        actions.extend(world.happenings());
    }

    fn next_state(&self, world: &World, happening: Happening) -> Option<World> {
        world.after(&self.toy, self.machine, happening)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("no move breaks a rule", |_, world| world.flaw.is_none()),
            Property::<Self>::always("compensated: nothing is left, nor can come", |system, world| {
                world.saga.phase() != Phase::Compensated
                    || !world.sent().into_iter().any(|at| world.is_left(&system.toy, at))
            }),
            Property::<Self>::always("succeeded: all happened and nothing was undone", |system, world| {
                world.saga.phase() != Phase::Succeeded || system.all_is_done(world)
            }),
            Property::<Self>::always("the pivot never happens and is taken back", |system, world| {
                !system.pivot_happened(world) || world.works.values().all(|work| work.undo_handled == 0)
            }),
            Property::<Self>::always("nobody waits for nothing", |system, world| system.goes_on(world)),
            Property::<Self>::sometimes("succeeds", |_, world| world.saga.phase() == Phase::Succeeded),
            Property::<Self>::sometimes("compensates after a cancel", |_, world| {
                world.saga.phase() == Phase::Compensated && world.saga.cause() == Some(Cause::Cancelled)
            }),
            Property::<Self>::sometimes("compensates what failed with an effect", |_, world| {
                world.saga.phase() == Phase::Compensated
                    && matches!(world.saga.cause(), Some(Cause::Failed { .. }))
                    && world.works.values().any(|work| work.ever && work.undo_handled > 0)
            }),
            Property::<Self>::sometimes("gets stuck", |_, world| world.saga.phase() == Phase::Stuck),
        ];
        if self.verbs > 0 {
            properties.push(Property::<Self>::sometimes("is abandoned", |_, world| {
                world.saga.phase() == Phase::Abandoned
            }));
            properties.push(Property::<Self>::sometimes("compensates after its deadline", |_, world| {
                world.saga.phase() == Phase::Compensated && world.saga.cause() == Some(Cause::DeadlinePassed)
            }));
        }
        properties
    }
}

impl System {
    fn all_is_done(&self, world: &World) -> bool {
        let settled = |step: usize| {
            self.toy.shape.steps.iter().any(|later| later.settles.map(usize::from) == Some(step))
        };
        (0..).zip(&self.toy.branches).all(|(step, count)| {
            (0..*count)
                .map(|branch| world.work((step, branch)))
                .all(|work| work.ever && work.undo_handled == 0 && work.effect != settled(usize::from(step)))
        })
    }

    fn pivot_happened(&self, world: &World) -> bool {
        let pivot = self.toy.shape.steps.iter().position(|step| step.kind == StepKind::Pivot);
        world.works.iter().any(|((step, _), work)| Some(usize::from(*step)) == pivot && work.ever)
    }

    /// Unless it rests, somebody will hear of some branch; and of every branch that looks as if it were under way.
    fn goes_on(&self, world: &World) -> bool {
        let phase = world.saga.phase();
        if phase.is_end() || world.saga == SagaState::new() {
            return true;
        }
        let mut under_way = 0;
        for (index, step) in (0..).zip(world.saga.view(&self.toy.shape).steps) {
            for branch in &step.branches {
                if branch.status.starts_with("waiting") || ["running", "undoing"].contains(&branch.status) {
                    under_way += 1;
                    if !world.is_awaited(index, branch.branch, branch.status) {
                        return false;
                    }
                }
            }
        }
        under_way > 0 || phase == Phase::Stuck
    }
}

/// The machine as it is; what it keeps is read back from JSON each time, as after a crash.
pub(crate) fn real(toy: &Toy, state: &SagaState, event: &Event) -> crate::mutants::Moved {
    saga::step(&toy.shape, state, event, &|step| toy.branch_count(state, step))
}

/// As [`real`], through a crash after every event.
fn crashing(toy: &Toy, state: &SagaState, event: &Event) -> crate::mutants::Moved {
    let stored = serde_json::to_string(state).expect("a state is written as JSON");
    real(toy, &serde_json::from_str(&stored).expect("a state is read back"), event)
}

#[track_caller]
#[allow(clippy::print_stdout)] // the bounds and the number of states are part of the proof
fn check(toy: Toy, machine: Machine, faults: u8, verbs: u8) {
    let (name, start) = (toy.name, Instant::now());
    let system = System { toy, machine, faults, verbs };
    let checker = system.checker().threads(2).spawn_bfs().join();
    println!(
        "{name}: {} states, {} moves, at most {faults} faults, 1 cancel (with decisions: or deadline), {verbs} decisions, attempts_max 2: {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        start.elapsed().as_secs_f64(),
    );
    checker.assert_properties();
}

#[test]
fn parallel_branches_hold_in_every_order() {
    check(shapes::fan_out(), real, FAULTS, 0);
    check(shapes::fan_out(), real, 2, 1);
}

#[test]
fn a_freeze_is_thawed_once_in_every_order() {
    check(shapes::freeze(), real, FAULTS, 1);
    check(shapes::freeze_two(), real, 2, 1);
}

#[test]
fn laps_hold_in_every_order() {
    check(shapes::laps(), real, 2, 1);
    check(shapes::one_lap(), real, 1, 1);
}

#[test]
fn a_chain_with_an_empty_step_holds_in_every_order() {
    check(shapes::chain(), real, FAULTS, 1);
}

#[test]
fn a_saga_without_a_pivot_holds_in_every_order() {
    check(shapes::no_pivot(), real, FAULTS, 0);
    check(shapes::no_pivot(), real, 2, 1);
}

#[test]
fn a_crash_after_every_event_changes_nothing() {
    check(shapes::freeze(), crashing, 2, 1);
}
