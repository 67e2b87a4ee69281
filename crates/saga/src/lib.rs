//! Durable steps with compensation: a pure machine and the typed definitions that feed it.
//!
//! ```text
//!            Started                 all steps done
//!   (new) ────────────▶ Forward ─────────────────────▶ Succeeded
//!                          │  ▲ Retry, Skip
//!      a step failed for   │  │         Abandon
//!      good, a cancel or   │ Stuck ─────────────────▶ Abandoned
//!      the deadline, all   │  │
//!      before the pivot    │  │
//!                          ▼  ▼ Retry, Skip
//!                       Backward ────────────────────▶ Compensated
//!                                 all undone
//! ```
//!
//! [`step`] takes a state and an event and gives the next state and commands. It knows no clock, no ids, no I/O and no
//! chance; whoever calls it (the engine of the controller) stores the state, carries the commands out and feeds events
//! back. Because the state is small and ordered, the tests explore all that can happen to the real machine.
//!
//! A saga is a list of steps; parallel work is inside a step, as branches. Definitions are typed ([`Saga`]); the engine
//! sees them without their types ([`ErasedSaga`]).

mod shape;

mod event;
mod leftover;
mod state;

mod machine;

mod definition;
mod erased;

pub mod check;
pub mod render;

pub use definition::{ATTEMPTS_MAX_DEFAULT, Ctx, Saga, Step, Steps};
pub use erased::{Definition, ErasedSaga, Error, Loaded, Registry};
pub use event::{Command, Direction, Event, Ignored, OperatorVerb};
pub use leftover::Leftover;
pub use machine::step;
pub use shape::{Attempt, Branch, Lap, Shape, ShapeError, StepIndex, StepKind, StepShape};
pub use state::{BranchView, Cause, Phase, SagaState, SagaView, StepView};
