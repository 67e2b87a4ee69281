//! Definitions without their types: what the engine holds. Parameters and facts cross this line as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use model::SagaId;

use crate::definition::{Ctx, Saga, Steps};
use crate::shape::{Branch, Shape, ShapeError, StepIndex};

/// A saga's kept data do not fit its definition.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the {what} of a saga {kind} version {version} cannot be read")]
    Decode {
        what: &'static str,
        kind: &'static str,
        version: u32,
        #[source]
        source: serde_json::Error,
    },
    #[error("the facts of a saga {kind} cannot be written")]
    Encode {
        kind: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

/// A definition of any saga that asks for `Request`s and learns from `Output`s.
pub trait ErasedSaga<Request, Output>: fmt::Debug + Send + Sync {
    fn kind(&self) -> &'static str;
    fn version(&self) -> u32;
    fn shape(&self) -> &Shape;
    /// How long an attempt of the step's action may take before it is lost; compensations have the same.
    fn step_deadline(&self, step: StepIndex) -> Option<Duration>;
    /// The facts of a saga that has learned nothing.
    fn facts_initial_json(&self) -> Result<String, Error>;
    /// Brings a saga's data together with its definition.
    fn load<'a>(
        &'a self,
        saga_id: SagaId,
        params_json: &str,
        facts_json: &str,
    ) -> Result<Box<dyn Loaded<Request, Output> + 'a>, Error>;
}

/// A definition with the data of one saga.
///
/// Panics: for a step that the shape does not have; the machine names no other.
pub trait Loaded<Request, Output>: Send + Sync {
    /// How many branches a step has, as far as the facts know.
    fn branches(&self, step: StepIndex) -> Branch;
    /// What the action of a branch asks for.
    fn action(&self, step: StepIndex, branch: Branch) -> Request;
    /// What the compensation of a branch asks for. Panics: the step has none; the machine asks for no other.
    fn undo(&self, step: StepIndex, branch: Branch) -> Request;
    /// Remembers what the action answered. Twice is as once, if the definition assigns and does not count.
    fn learn(&mut self, step: StepIndex, branch: Branch, output: &Output);
    /// The facts to keep.
    fn facts_json(&self) -> Result<String, Error>;
}

/// A typed definition, ready for use.
pub struct Definition<S: Saga> {
    shape: Shape,
    steps: Steps<S>,
}

/// The definitions that a process knows, by kind and version.
pub struct Registry<Request, Output> {
    definitions: BTreeMap<(String, u32), Box<dyn ErasedSaga<Request, Output>>>,
}

impl<S: Saga> Definition<S> {
    /// Checks the steps of `S`.
    pub fn new() -> Result<Self, ShapeError> {
        let steps = S::steps();
        Ok(Self { shape: steps.shape()?, steps })
    }
}

impl<S: Saga> ErasedSaga<S::Request, S::Output> for Definition<S> {
    fn kind(&self) -> &'static str {
        S::KIND
    }

    fn version(&self) -> u32 {
        S::VERSION
    }

    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn step_deadline(&self, step: StepIndex) -> Option<Duration> {
        self.steps.steps[usize::from(step)].1.deadline
    }

    fn facts_initial_json(&self) -> Result<String, Error> {
        encode::<S>(&S::Facts::default())
    }

    fn load<'a>(
        &'a self,
        saga_id: SagaId,
        params_json: &str,
        facts_json: &str,
    ) -> Result<Box<dyn Loaded<S::Request, S::Output> + 'a>, Error> {
        let refuse = |what| move |source| Error::Decode { what, kind: S::KIND, version: S::VERSION, source };
        let params = serde_json::from_str(params_json).map_err(refuse("parameters"))?;
        let facts = serde_json::from_str(facts_json).map_err(refuse("facts"))?;
        Ok(Box::new(LoadedSaga { definition: self, saga_id, params, facts }))
    }
}

struct LoadedSaga<'a, S: Saga> {
    definition: &'a Definition<S>,
    saga_id: SagaId,
    params: S::Params,
    facts: S::Facts,
}

impl<S: Saga> LoadedSaga<'_, S> {
    fn step(&self, step: StepIndex) -> &crate::Step<S> {
        &self.definition.steps.steps[usize::from(step)].1
    }

    fn ctx(&self, step: StepIndex) -> Ctx<'_, S> {
        Ctx { saga_id: self.saga_id, step: self.step(step).name, params: &self.params, facts: &self.facts }
    }
}

impl<S: Saga> Loaded<S::Request, S::Output> for LoadedSaga<'_, S> {
    fn branches(&self, step: StepIndex) -> Branch {
        self.step(step).branches.as_ref().map_or(1, |count| count(&self.params, &self.facts))
    }

    fn action(&self, step: StepIndex, branch: Branch) -> S::Request {
        let action = self.step(step).action.as_ref().expect("`Steps::shape` refuses a step without action");
        action(&self.ctx(step), branch)
    }

    fn undo(&self, step: StepIndex, branch: Branch) -> S::Request {
        let (_, undo) = self.step(step).undo.as_ref().expect("only steps with a compensation are undone");
        undo(&self.ctx(step), branch)
    }

    fn learn(&mut self, step: StepIndex, branch: Branch, output: &S::Output) {
        if let Some(learn) = &self.definition.steps.steps[usize::from(step)].1.learn {
            learn(&mut self.facts, branch, output);
        }
    }

    fn facts_json(&self) -> Result<String, Error> {
        encode::<S>(&self.facts)
    }
}

impl<Request: 'static, Output: 'static> Registry<Request, Output> {
    /// Knows nothing.
    #[must_use]
    #[allow(clippy::new_without_default)] // a registry without definitions is not a sensible default
    pub const fn new() -> Self {
        Self { definitions: BTreeMap::new() }
    }

    /// Adds a definition.
    ///
    /// Errors: its steps are no saga.
    pub fn with<S: Saga<Request = Request, Output = Output>>(mut self) -> Result<Self, ShapeError> {
        let definition = Definition::<S>::new()?;
        self.definitions.insert((S::KIND.to_owned(), S::VERSION), Box::new(definition));
        Ok(self)
    }

    /// Finds a definition.
    #[must_use]
    pub fn get(&self, kind: &str, version: u32) -> Option<&dyn ErasedSaga<Request, Output>> {
        self.definitions.get(&(kind.to_owned(), version)).map(AsRef::as_ref)
    }

    /// All definitions, by kind and version.
    pub fn iter(&self) -> impl Iterator<Item = &dyn ErasedSaga<Request, Output>> {
        self.definitions.values().map(AsRef::as_ref)
    }
}

impl<S: Saga> fmt::Debug for Definition<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition")
            .field("kind", &S::KIND)
            .field("version", &S::VERSION)
            .finish_non_exhaustive()
    }
}

impl<Request, Output> fmt::Debug for Registry<Request, Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.definitions.keys()).finish()
    }
}

fn encode<S: Saga>(facts: &S::Facts) -> Result<String, Error> {
    serde_json::to_string(facts).map_err(|source| Error::Encode { kind: S::KIND, source })
}
