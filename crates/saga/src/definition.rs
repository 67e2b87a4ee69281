//! Typed definitions: what each step asks for, what it learns, and what takes it back.

use std::fmt;
use std::time::Duration;

use model::SagaId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::shape::{Branch, Shape, ShapeError, StepIndex, StepKind, StepShape};

/// How often a step is tried when its definition does not say.
pub const ATTEMPTS_MAX_DEFAULT: u32 = 5;

/// A definition. One file each; names of steps are forever, since they are in the log.
pub trait Saga: Send + Sync + Sized + 'static {
    const KIND: &'static str;
    /// Grows when the steps change; old versions stay compiled while sagas of theirs run.
    const VERSION: u32;
    /// How long the whole may take. A saga past it turns back before the pivot; behind it, it is only reported.
    const DEADLINE: Duration;
    /// What was asked for. Does not change.
    type Params: Serialize + DeserializeOwned + Clone + Send + Sync;
    /// What the steps learned. Grows.
    type Facts: Default + Serialize + DeserializeOwned + Clone + Send + Sync;
    /// What a step asks the world for.
    type Request: 'static;
    /// What the world answers.
    type Output: 'static;

    /// The steps, in order.
    fn steps() -> Steps<Self>;
}

/// What a step may look at.
pub struct Ctx<'a, S: Saga> {
    pub saga_id: SagaId,
    /// The name of the step, also for its compensation: so both make the same tags.
    pub step: &'static str,
    pub params: &'a S::Params,
    pub facts: &'a S::Facts,
}

/// One step with its compensation.
pub struct Step<S: Saga> {
    pub(crate) name: &'static str,
    pub(crate) branches: Option<BranchesFn<S>>,
    pub(crate) action: Option<RequestFn<S>>,
    pub(crate) learn: Option<LearnFn<S>>,
    pub(crate) undo: Option<(&'static str, RequestFn<S>)>,
    pub(crate) attempts_max: u32,
    pub(crate) deadline: Option<Duration>,
    pub(crate) settles: Option<&'static str>,
    pub(crate) repeats_from: Option<&'static str>,
}

/// The list of steps.
pub struct Steps<S: Saga> {
    pub(crate) steps: Vec<(StepKind, Step<S>)>,
}

pub(crate) type BranchesFn<S> =
    Box<dyn Fn(&<S as Saga>::Params, &<S as Saga>::Facts) -> Branch + Send + Sync>;
pub(crate) type RequestFn<S> = Box<dyn Fn(&Ctx<'_, S>, Branch) -> <S as Saga>::Request + Send + Sync>;
pub(crate) type LearnFn<S> = Box<dyn Fn(&mut <S as Saga>::Facts, Branch, &<S as Saga>::Output) + Send + Sync>;

impl<S: Saga> Step<S> {
    /// A step with one branch; it needs an action.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            branches: None,
            action: None,
            learn: None,
            undo: None,
            attempts_max: ATTEMPTS_MAX_DEFAULT,
            deadline: None,
            settles: None,
            repeats_from: None,
        }
    }

    /// How many branches run in parallel; asked when the step begins. None: the step is passed. Not for pivots. Of a step that is
    /// repeated: how many by this lap, those of earlier laps first.
    #[must_use]
    pub fn branches(
        mut self,
        count: impl Fn(&S::Params, &S::Facts) -> Branch + Send + Sync + 'static,
    ) -> Self {
        self.branches = Some(Box::new(count));
        self
    }

    /// What the step asks for. May be asked for again, for every attempt.
    #[must_use]
    pub fn action(
        mut self,
        request: impl Fn(&Ctx<'_, S>, Branch) -> S::Request + Send + Sync + 'static,
    ) -> Self {
        self.action = Some(Box::new(request));
        self
    }

    /// What to remember of the action's answer.
    #[must_use]
    pub fn learn(
        mut self,
        learn: impl Fn(&mut S::Facts, Branch, &S::Output) + Send + Sync + 'static,
    ) -> Self {
        self.learn = Some(Box::new(learn));
        self
    }

    /// What takes the action back: works when the action ran, half ran, still runs, or never did; bars what comes late.
    #[must_use]
    pub fn undo(
        mut self,
        name: &'static str,
        request: impl Fn(&Ctx<'_, S>, Branch) -> S::Request + Send + Sync + 'static,
    ) -> Self {
        self.undo = Some((name, Box::new(request)));
        self
    }

    /// How often the action is tried while its failures may pass. Forward steps and compensations have no limit.
    #[must_use]
    pub const fn attempts_max(mut self, attempts_max: u32) -> Self {
        self.attempts_max = attempts_max;
        self
    }

    /// How long an attempt may take before the engine calls it lost.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The earlier step whose compensation is needless for a branch once the same branch of this one succeeded.
    #[must_use]
    pub const fn settles(mut self, step: &'static str) -> Self {
        self.settles = Some(step);
        self
    }

    /// The earlier step from which it goes on after this one, while that has more branches than before: one lap after the other.
    #[must_use]
    pub const fn repeats_from(mut self, step: &'static str) -> Self {
        self.repeats_from = Some(step);
        self
    }
}

impl<S: Saga> Steps<S> {
    /// No steps yet.
    #[must_use]
    #[allow(clippy::new_without_default)] // a saga without steps is not a sensible default
    pub const fn new() -> Self {
        Self { steps: Vec::new() }
    }

    /// Adds a step that can be undone.
    #[must_use]
    pub fn step(self, step: Step<S>) -> Self {
        self.add(StepKind::Compensable, step)
    }

    /// Adds the step behind which we only go forward.
    #[must_use]
    pub fn pivot(self, step: Step<S>) -> Self {
        self.add(StepKind::Pivot, step)
    }

    /// Adds a step after the pivot.
    #[must_use]
    pub fn forward(self, step: Step<S>) -> Self {
        self.add(StepKind::Forward, step)
    }

    /// What the machine needs to know.
    ///
    /// Errors: the list is no saga.
    pub fn shape(&self) -> Result<Shape, ShapeError> {
        let kind = S::KIND;
        let mut steps = Vec::new();
        for (step_kind, step) in &self.steps {
            if step.action.is_none() {
                return Err(ShapeError::NoAction { kind, step: step.name });
            }
            steps.push(StepShape {
                name: step.name,
                kind: *step_kind,
                undo: step.undo.as_ref().map(|(name, _)| *name),
                attempts_max: step.attempts_max,
                settles: step
                    .settles
                    .map(|name| self.index_of(name).ok_or(ShapeError::Settles { kind, step: step.name }))
                    .transpose()?,
                repeats_from: step
                    .repeats_from
                    .map(|name| self.index_of(name).ok_or(ShapeError::Repeats { kind, step: step.name }))
                    .transpose()?,
            });
        }
        let shape = Shape { kind, version: S::VERSION, steps };
        shape.check()?;
        Ok(shape)
    }

    fn add(mut self, kind: StepKind, step: Step<S>) -> Self {
        self.steps.push((kind, step));
        self
    }

    fn index_of(&self, name: &str) -> Option<StepIndex> {
        let found = self.steps.iter().position(|(_, step)| step.name == name);
        found.and_then(|index| StepIndex::try_from(index).ok())
    }
}

impl<S: Saga> fmt::Debug for Ctx<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("saga_id", &self.saga_id)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

impl<S: Saga> fmt::Debug for Step<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<S: Saga> fmt::Debug for Steps<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|(kind, step)| (kind, step.name))).finish()
    }
}
