//! The questions that every definition is asked in its tests, put to the real machine.
//!
//! A test gives parameters and a [`World`] that carries out requests in memory; each check plays whole sagas in it and
//! panics with what went wrong. The method is omicron's:
//! <https://github.com/oxidecomputer/omicron/blob/main/nexus/src/app/sagas/test_helpers.rs>.

use std::collections::VecDeque;

use model::{ErrorClass, SagaId};

use crate::definition::Saga;
use crate::erased::{Definition, ErasedSaga, Loaded};
use crate::event::{Command, Event, OperatorVerb};
use crate::machine::step;
use crate::shape::{Branch, StepIndex, StepKind};
use crate::state::{Phase, SagaState};

/// A definition has fewer events than this in any check; more means that it never ends.
const EVENT_COUNT_MAX: usize = 100_000;

/// The outside as a test plays it.
pub trait World<S: Saga> {
    /// Carries out the action of a step; once more is as once.
    fn act(&mut self, step: &'static str, branch: Branch, request: S::Request) -> S::Output;
    /// Carries out the compensation of a step, whether or not its action ran.
    fn undo(&mut self, step: &'static str, branch: Branch, request: S::Request);
    /// Names what lies about that was not there at first.
    fn leftovers(&self) -> Vec<String>;
}

/// What a check plays.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a, S: Saga, W> {
    pub saga_id: SagaId,
    pub params: &'a S::Params,
    /// A world before the saga.
    pub make_world: fn() -> W,
}

/// How a played saga ended.
#[derive(Debug)]
pub struct Played<W> {
    pub world: W,
    pub phase: Phase,
    pub facts_json: String,
    /// Every (step, branch) that was dispatched, in order.
    pub dispatched: Vec<(StepIndex, Branch)>,
    pub event_count: usize,
}

impl<S: Saga, W: World<S>> Case<'_, S, W> {
    /// Plays the saga with nothing going wrong. It must succeed.
    #[track_caller]
    pub fn play(&self) -> Played<W> {
        self.play_to(Plan::default(), Phase::Succeeded)
    }

    /// Each branch of each step fails: before its effect, after its effect, and once in a way that passes.
    ///
    /// Before the pivot the saga compensates and leaves nothing; a step behind it gets stuck, and an operator's retry
    /// ends the saga.
    #[track_caller]
    pub fn check_each_step_can_fail(&self) {
        let definition = make_definition::<S>();
        for (step, branch) in self.play().dispatched {
            let kind = definition.shape().steps[usize::from(step)].kind;
            let strike = |how| Plan { strike: Some(Strike { step, branch, how }), ..Plan::default() };
            self.play_to(strike(How::Passing), Phase::Succeeded);
            let (before, after) = match kind {
                StepKind::Compensable => (Phase::Compensated, Phase::Compensated),
                // The answer of the pivot was lost for good: only an operator can know.
                StepKind::Pivot => (Phase::Compensated, Phase::Succeeded),
                StepKind::Forward => (Phase::Succeeded, Phase::Succeeded),
            };
            self.play_to(strike(How::BeforeEffect), before);
            self.play_to(strike(How::AfterEffect), after);
        }
    }

    /// Every action runs twice, and every event comes twice: the saga succeeds all the same.
    #[track_caller]
    pub fn check_steps_can_repeat(&self) {
        let once = self.play().facts_json;
        let twice = self.play_to(Plan { repeat: true, ..Plan::default() }, Phase::Succeeded).facts_json;
        assert_eq!(once, twice, "{}: a step learned something else when it ran twice", S::KIND);
    }

    /// Every compensation runs twice: nothing is left all the same.
    #[track_caller]
    pub fn check_compensations_can_repeat(&self) {
        let definition = make_definition::<S>();
        for (step, branch) in self.play().dispatched {
            if definition.shape().steps[usize::from(step)].kind == StepKind::Compensable {
                let strike = Some(Strike { step, branch, how: How::AfterEffect });
                self.play_to(Plan { strike, repeat: true, ..Plan::default() }, Phase::Compensated);
            }
        }
    }

    /// The engine stops after each event and goes on from what was stored. A cancel, or the saga's deadline, after each
    /// event is obeyed exactly while no step from the pivot on was dispatched, and refused after.
    #[track_caller]
    pub fn check_crash_after_each_event(&self) {
        let definition = make_definition::<S>();
        let count = self.play_to(Plan { reload: true, ..Plan::default() }, Phase::Succeeded).event_count;
        let has_way_back =
            definition.shape().steps.first().is_some_and(|first| first.kind == StepKind::Compensable);
        for stop in [Event::CancelRequested, Event::DeadlinePassed] {
            let mut obeyed = 0;
            for after in 0..count {
                let plan = Plan { reload: true, stop: Some((after, stop)), ..Plan::default() };
                let played = self.play_with(&plan);
                let kind_of = |step: StepIndex| definition.shape().steps[usize::from(step)].kind;
                let has_ended = after + 1 == count;
                let may_turn_back = !has_ended
                    && played.dispatched.iter().all(|(step, _)| kind_of(*step) == StepKind::Compensable);
                let expected = if may_turn_back { Phase::Compensated } else { Phase::Succeeded };
                assert_eq!(played.phase, expected, "{}: {stop:?} followed event {after}", S::KIND);
                obeyed += usize::from(may_turn_back);
            }
            assert!(!has_way_back || obeyed > 0, "{}: no {stop:?} was ever obeyed", S::KIND);
        }
    }

    #[track_caller]
    fn play_to(&self, plan: Plan, expected: Phase) -> Played<W> {
        let played = self.play_with(&plan);
        assert_eq!(played.phase, expected, "{}: ended otherwise with {plan:?}", S::KIND);
        played
    }

    #[track_caller]
    fn play_with(&self, plan: &Plan) -> Played<W> {
        let definition = make_definition::<S>();
        let params_json = serde_json::to_string(self.params).expect("parameters are written as JSON");
        let facts_json = definition.facts_initial_json().expect("facts are written as JSON");
        let mut player = Player {
            definition: &definition,
            saga_id: self.saga_id,
            params_json,
            facts_json,
            state: SagaState::new(),
            world: (self.make_world)(),
            plan,
            outstanding: VecDeque::new(),
            dispatched: Vec::new(),
            event_count: 0,
        };
        player.play();
        let phase = player.state.phase();
        if phase == Phase::Compensated {
            let leftovers = player.world.leftovers();
            assert!(leftovers.is_empty(), "{}: compensated and left {leftovers:?} with {plan:?}", S::KIND);
        }
        let Player { world, facts_json, dispatched, event_count, .. } = player;
        Played { world, phase, facts_json, dispatched, event_count }
    }
}

/// What goes wrong.
#[derive(Debug, Default)]
struct Plan {
    strike: Option<Strike>,
    /// Actions, compensations and events come twice.
    repeat: bool,
    /// State and facts are read back from JSON after each event.
    reload: bool,
    /// Comes after the event of this number.
    stop: Option<(usize, Event)>,
}

#[derive(Debug, Clone, Copy)]
struct Strike {
    step: StepIndex,
    branch: Branch,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    BeforeEffect,
    AfterEffect,
    Passing,
}

struct Player<'a, S: Saga, W> {
    definition: &'a Definition<S>,
    saga_id: SagaId,
    params_json: String,
    facts_json: String,
    state: SagaState,
    world: W,
    plan: &'a Plan,
    outstanding: VecDeque<Command>,
    dispatched: Vec<(StepIndex, Branch)>,
    event_count: usize,
}

impl<S: Saga, W: World<S>> Player<'_, S, W> {
    fn play(&mut self) {
        self.feed(Event::Started);
        while let Some(command) = self.outstanding.pop_front() {
            match command {
                Command::RunAction { step, branch, attempt } => self.act(step, branch, attempt),
                Command::RunUndo { step, branch, attempt } => {
                    for _ in 0..self.times() {
                        let request = self.load().undo(step, branch);
                        self.world.undo(self.name(step), branch, request);
                    }
                    self.feed(Event::UndoSucceeded { step, branch, attempt });
                }
                Command::ScheduleRetry { step, branch, attempt, direction } => {
                    self.feed(Event::RetryDue { step, branch, attempt, direction });
                }
                Command::Finish(Phase::Stuck) => self.feed(Event::Operator { verb: OperatorVerb::Retry }),
                Command::AbortAction { .. } | Command::Finish(_) => {}
            }
        }
    }

    fn act(&mut self, step: StepIndex, branch: Branch, attempt: u32) {
        if attempt == 1 {
            self.dispatched.push((step, branch));
        }
        let struck =
            self.plan.strike.filter(|strike| (strike.step, strike.branch, 1) == (step, branch, attempt));
        if struck.is_some_and(|strike| strike.how == How::BeforeEffect) {
            let class = ErrorClass::Permanent;
            return self.feed(Event::ActionFailed { step, branch, attempt, class, effect_free: true });
        }
        for _ in 0..self.times() {
            let request = self.load().action(step, branch);
            let output = self.world.act(self.name(step), branch, request);
            if struck.is_none() {
                let mut loaded = self.load();
                loaded.learn(step, branch, &output);
                let facts_json = loaded.facts_json().expect("facts are written as JSON");
                drop(loaded);
                self.facts_json = facts_json;
            }
        }
        let class = match struck.map(|strike| strike.how) {
            None => return self.feed(Event::ActionSucceeded { step, branch, attempt }),
            Some(How::Passing) => ErrorClass::Indeterminate,
            Some(How::BeforeEffect | How::AfterEffect) => ErrorClass::Permanent,
        };
        self.feed(Event::ActionFailed { step, branch, attempt, class, effect_free: false });
    }

    fn feed(&mut self, event: Event) {
        self.take(event);
        if self.plan.repeat {
            self.take(event);
        }
        self.event_count += 1;
        assert!(self.event_count < EVENT_COUNT_MAX, "{}: does not end", S::KIND);
        if self.plan.reload {
            let stored = serde_json::to_string(&self.state).expect("a state is written as JSON");
            let read: SagaState = serde_json::from_str(&stored).expect("a state is read back");
            assert_eq!(read, self.state, "{}: a state changed in the catalog: {stored}", S::KIND);
            self.state = read;
        }
        if let Some((after, stop)) = self.plan.stop
            && after == self.event_count - 1
        {
            self.take(stop);
        }
    }

    fn take(&mut self, event: Event) {
        let loaded = self.load();
        let next = step(self.definition.shape(), &self.state, &event, &|step| loaded.branches(step));
        drop(loaded);
        if let Ok((state, commands)) = next {
            self.state = state;
            self.outstanding.extend(commands);
        }
    }

    fn load(&self) -> Box<dyn Loaded<S::Request, S::Output> + '_> {
        let loaded = self.definition.load(self.saga_id, &self.params_json, &self.facts_json);
        loaded.expect("a saga's own data are read back")
    }

    fn name(&self, step: StepIndex) -> &'static str {
        self.definition.shape().step_name(step)
    }

    fn times(&self) -> usize {
        if self.plan.repeat { 2 } else { 1 }
    }
}

fn make_definition<S: Saga>() -> Definition<S> {
    Definition::new().expect("the definition's steps are a saga")
}
