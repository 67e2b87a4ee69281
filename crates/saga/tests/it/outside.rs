//! The outside of a saga, as bad as it may be: whatever was sent may arrive at any time, in any order, any number of
//! times; workers fail before and after their effect, and answers get lost. Workers keep the three promises that they
//! keep in the real world: an attempt is carried out at most once, none after a later one, and none after its undo.

use std::collections::{BTreeMap, BTreeSet};

use model::ErrorClass;
use saga::{
    Attempt, Branch, Command, Direction, Event, Ignored, OperatorVerb, Phase, SagaState, StepIndex, StepKind,
};

use crate::shapes::Toy;

/// The machine under test: the real one, or a mutant.
pub(crate) type Machine = fn(&Toy, &SagaState, &Event) -> Result<(SagaState, Vec<Command>), Ignored>;

/// Everything there is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) saga: SagaState,
    /// All that were ever sent.
    pub(crate) commands: BTreeSet<Command>,
    /// All answers and timers that ever were.
    pub(crate) replies: BTreeSet<Event>,
    pub(crate) works: BTreeMap<(StepIndex, Branch), Work>,
    pub(crate) faults_left: u8,
    pub(crate) stops_left: u8,
    pub(crate) verbs_left: u8,
    /// The machine takes a deadline as it takes a cancel, so the largest runs go without.
    pub(crate) explores_deadlines: bool,
    /// A rule that the machine broke.
    pub(crate) flaw: Option<&'static str>,
}

/// One branch at its worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Work {
    /// The latest attempt that was carried out.
    pub(crate) handled: Attempt,
    pub(crate) undo_handled: Attempt,
    pub(crate) barred: bool,
    /// What the action leaves is there.
    pub(crate) effect: bool,
    pub(crate) ever: bool,
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Happening {
    Deliver(Command, Outcome),
    /// Nothing is heard of a command: the engine gives it up, and it may still arrive.
    Lapse(Command),
    Hear(Event),
    /// A cancel or the saga's deadline.
    Stop(Event),
    Operate(OperatorVerb),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Success,
    /// Nothing happened, and that is known.
    Clean(ErrorClass),
    /// It failed; `effect` happened or not; nobody knows.
    Unclear {
        class: ErrorClass,
        effect: bool,
    },
}

impl World {
    pub(crate) fn new(faults: u8, verbs: u8) -> Self {
        Self {
            saga: SagaState::new(),
            commands: BTreeSet::new(),
            replies: BTreeSet::from([Event::Started]),
            works: BTreeMap::new(),
            faults_left: faults,
            stops_left: 1,
            verbs_left: verbs,
            explores_deadlines: verbs > 0,
            flaw: None,
        }
    }

    pub(crate) fn happenings(&self) -> Vec<Happening> {
        let mut all: Vec<_> = self.replies.iter().copied().map(Happening::Hear).collect();
        for command in &self.commands {
            if self.is_news(command) {
                all.push(Happening::Deliver(*command, Outcome::Success));
                if self.faults_left > 0 {
                    all.extend(
                        faults(command).into_iter().map(|outcome| Happening::Deliver(*command, outcome)),
                    );
                    all.push(Happening::Lapse(*command));
                }
            }
        }
        if self.stops_left > 0 {
            all.push(Happening::Stop(Event::CancelRequested));
            if self.explores_deadlines {
                all.push(Happening::Stop(Event::DeadlinePassed));
            }
        }
        if self.verbs_left > 0 && self.saga.phase() == Phase::Stuck {
            all.extend(OperatorVerb::ALL.map(Happening::Operate));
        }
        all
    }

    /// What comes of it; `None`: nothing changes.
    pub(crate) fn after(&self, toy: &Toy, machine: Machine, happening: Happening) -> Option<Self> {
        let mut next = self.clone();
        match happening {
            Happening::Hear(event) => next.feed(toy, machine, event)?,
            Happening::Stop(event) => {
                next.stops_left -= 1;
                next.feed(toy, machine, event)?;
            }
            Happening::Operate(verb) => {
                next.verbs_left -= 1;
                next.operator_sees_to_it(toy, verb);
                next.feed(toy, machine, Event::Operator { verb })?;
            }
            Happening::Deliver(command, outcome) => {
                next.faults_left -= u8::from(outcome != Outcome::Success);
                let reply = next.carry_out(toy, command, outcome)?;
                next.replies.insert(reply);
            }
            Happening::Lapse(command) => {
                next.faults_left -= 1;
                if !next.replies.insert(failure(&command, ErrorClass::Fenced, false)?) {
                    return None;
                }
            }
        }
        Some(next)
    }

    /// Whether an attempt that was sent may yet have its effect.
    pub(crate) fn may_yet_happen(&self, at: (StepIndex, Branch)) -> bool {
        self.commands.iter().any(|command| {
            matches!(*command, Command::RunAction { step, branch, .. } if (step, branch) == at && self.is_news(command))
        })
    }

    pub(crate) fn work(&self, at: (StepIndex, Branch)) -> Work {
        self.works.get(&at).copied().unwrap_or_default()
    }

    pub(crate) fn was_dispatched(&self, at: (StepIndex, Branch)) -> bool {
        self.commands.iter().any(
            |command| matches!(*command, Command::RunAction { step, branch, .. } if (step, branch) == at),
        )
    }

    /// Whether there is a way for the branch to be heard of again.
    pub(crate) fn is_awaited(&self, step: StepIndex, branch: Branch, status: &str) -> bool {
        let direction = if status.contains("undo") { Direction::Undo } else { Direction::Action };
        let attempt = self.saga.attempt(step, branch, direction);
        if status.starts_with("waiting") {
            return self.replies.contains(&Event::RetryDue { step, branch, attempt, direction });
        }
        let command = match direction {
            Direction::Action => Command::RunAction { step, branch, attempt },
            Direction::Undo => Command::RunUndo { step, branch, attempt },
        };
        self.commands.contains(&command) && (self.is_news(&command) || self.was_answered(&command))
    }

    fn was_answered(&self, command: &Command) -> bool {
        self.replies.iter().any(|reply| match (*reply, *command) {
            (
                Event::ActionSucceeded { step, branch, attempt }
                | Event::ActionFailed { step, branch, attempt, .. },
                Command::RunAction { step: s, branch: b, attempt: a },
            )
            | (
                Event::UndoSucceeded { step, branch, attempt }
                | Event::UndoFailed { step, branch, attempt, .. },
                Command::RunUndo { step: s, branch: b, attempt: a },
            ) => (step, branch, attempt) == (s, b, a),
            _ => false,
        })
    }

    /// Whether its worker would do anything about the command.
    fn is_news(&self, command: &Command) -> bool {
        match *command {
            Command::RunAction { step, branch, attempt } => {
                let work = self.work((step, branch));
                attempt > work.handled && !work.barred
            }
            Command::RunUndo { step, branch, attempt } => attempt > self.work((step, branch)).undo_handled,
            _ => false,
        }
    }

    fn carry_out(&mut self, toy: &Toy, command: Command, outcome: Outcome) -> Option<Event> {
        let happens = match outcome {
            Outcome::Success => true,
            Outcome::Clean(_) => false,
            Outcome::Unclear { effect, .. } => effect,
        };
        match command {
            Command::RunAction { step, branch, attempt } => {
                let work = self.works.entry((step, branch)).or_default();
                work.handled = attempt;
                if happens {
                    work.effect = true;
                    work.ever = true;
                    if let Some(settled) = toy.shape.steps[usize::from(step)].settles {
                        self.works.entry((settled, branch)).or_default().effect = false;
                    }
                }
                match outcome {
                    Outcome::Success => Some(Event::ActionSucceeded { step, branch, attempt }),
                    Outcome::Clean(class) => failure(&command, class, true),
                    Outcome::Unclear { class, .. } => failure(&command, class, false),
                }
            }
            Command::RunUndo { step, branch, attempt } => {
                let work = self.works.entry((step, branch)).or_default();
                work.undo_handled = attempt;
                if happens {
                    work.effect = false;
                    work.barred = true;
                }
                match outcome {
                    Outcome::Success => Some(Event::UndoSucceeded { step, branch, attempt }),
                    Outcome::Clean(class) | Outcome::Unclear { class, .. } => failure(&command, class, true),
                }
            }
            _ => None,
        }
    }

    fn feed(&mut self, toy: &Toy, machine: Machine, event: Event) -> Option<()> {
        let (state, commands) = machine(toy, &self.saga, &event).ok()?;
        self.flaw = self.flaw.or_else(|| self.find_flaw(toy, event, &commands));
        self.saga = state;
        for command in commands {
            match command {
                Command::RunAction { .. } | Command::RunUndo { .. } => {
                    self.commands.insert(command);
                }
                Command::ScheduleRetry { step, branch, attempt, direction } => {
                    self.replies.insert(Event::RetryDue { step, branch, attempt, direction });
                }
                Command::AbortAction { .. } => {}
                Command::Finish(phase) => {
                    if phase != self.saga.phase() {
                        self.flaw = Some("said to have finished otherwise than it did");
                    }
                }
            }
        }
        Some(())
    }

    /// The rules about single moves.
    fn find_flaw(&self, toy: &Toy, event: Event, commands: &[Command]) -> Option<&'static str> {
        let is_undo = |command: &Command| matches!(command, Command::RunUndo { .. });
        let pivot_sent = self.works.keys().chain(self.sent().iter()).any(|(step, _)| {
            toy.shape.steps[usize::from(*step)].kind != StepKind::Compensable
                && self.was_dispatched((*step, 0))
        });
        if matches!(event, Event::CancelRequested | Event::DeadlinePassed) && pivot_sent {
            return Some("stopped after the pivot was dispatched");
        }
        let went_back = self.commands.iter().chain(commands).any(is_undo);
        if went_back && commands.iter().any(|command| matches!(command, Command::RunAction { .. })) {
            return Some("went forward after it had turned back");
        }
        for command in commands {
            let Command::RunUndo { step, branch, .. } = *command else { continue };
            if !self.was_dispatched((step, branch)) {
                return Some("undid what was never dispatched");
            }
            let order = toy.order((step, branch));
            if self.sent().iter().any(|at| toy.order(*at) > order && self.is_left(toy, *at)) {
                return Some("undid a step before a later one was undone");
            }
            let view = self.saga.view(&toy.shape);
            let is_done = |later: &saga::StepView| {
                later.branches.get(usize::from(branch)).is_some_and(|branch| branch.status == "done")
            };
            let mut later = toy.shape.steps.iter().zip(&view.steps);
            if later.any(|(shape, view)| shape.settles == Some(step) && is_done(view)) {
                return Some("undid what was settled");
            }
        }
        None
    }

    /// Whether a branch has left something, or may yet, that the way back must remove.
    pub(crate) fn is_left(&self, toy: &Toy, at: (StepIndex, Branch)) -> bool {
        let step = &toy.shape.steps[usize::from(at.0)];
        let must_not_be = step.undo.is_some() || step.kind != StepKind::Compensable;
        must_not_be && (self.work(at).effect || self.may_yet_happen(at))
    }

    pub(crate) fn sent(&self) -> BTreeSet<(StepIndex, Branch)> {
        let at = |command: &Command| match *command {
            Command::RunAction { step, branch, .. } => Some((step, branch)),
            _ => None,
        };
        self.commands.iter().filter_map(at).collect()
    }

    /// Who says "skip" has done it by hand.
    fn operator_sees_to_it(&mut self, toy: &Toy, verb: OperatorVerb) {
        let Some(step) = self.saga.current_step().filter(|_| verb == OperatorVerb::Skip) else { return };
        let view = self.saga.view(&toy.shape);
        for branch in view.steps[usize::from(step)].branches.iter().filter(|branch| branch.status == "stuck")
        {
            let going_back = self.saga.attempt(step, branch.branch, Direction::Undo) > 0;
            let work = self.works.entry((step, branch.branch)).or_default();
            work.effect = !going_back;
            work.ever |= !going_back;
            work.barred = true;
        }
    }
}

fn faults(command: &Command) -> Vec<Outcome> {
    let lost = |effect| Outcome::Unclear { class: ErrorClass::Indeterminate, effect };
    let mut all =
        vec![lost(true), Outcome::Clean(ErrorClass::Transient), Outcome::Clean(ErrorClass::Permanent)];
    if matches!(command, Command::RunAction { .. }) {
        all.push(lost(false));
        all.push(Outcome::Unclear { class: ErrorClass::Permanent, effect: true });
    }
    all
}

fn failure(command: &Command, class: ErrorClass, effect_free: bool) -> Option<Event> {
    match *command {
        Command::RunAction { step, branch, attempt } => {
            Some(Event::ActionFailed { step, branch, attempt, class, effect_free })
        }
        Command::RunUndo { step, branch, attempt } => {
            Some(Event::UndoFailed { step, branch, attempt, class })
        }
        _ => None,
    }
}
