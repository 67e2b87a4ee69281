//! The refusals shared by all state machines.

/// A state change that the table does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {noun} that is {state} cannot take {event}")]
pub struct IllegalTransition {
    pub noun: &'static str,
    pub state: &'static str,
    pub event: &'static str,
}

/// A word that names no state of `noun`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {noun} state")]
pub struct InvalidState {
    pub noun: &'static str,
    pub text: String,
}
