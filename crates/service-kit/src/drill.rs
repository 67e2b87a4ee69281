//! Panics on purpose: `HOLDFAST_DRILL=panic:<actor>` makes an actor panic at its first work, so that an operator (and a
//! test) sees the watchdog at work.

/// The variable.
pub const VARIABLE: &str = "HOLDFAST_DRILL";

/// Panics when the drill names `actor`. Every actor calls it where its work begins.
///
/// Panics: that is its purpose.
pub fn maybe_panic(actor: &str) {
    let Ok(drill) = std::env::var(VARIABLE) else { return };
    assert!(drill.strip_prefix("panic:") != Some(actor), "a drill asked the actor {actor} to panic");
}
