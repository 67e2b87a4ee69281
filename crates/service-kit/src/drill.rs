//! Breaking on purpose, so that an operator (and a test) sees that a service resumes from what is durable.
//! `HOLDFAST_DRILL=panic:<actor>` makes an actor panic at its first work; `handler_panic:<actor>` makes each handler of a
//! consumer panic, and `handler_abort:<actor>` kill the process; `kill:<point>:<n>` kills the process when it comes to a
//! point for the n-th time.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// The variable.
pub const VARIABLE: &str = "HOLDFAST_DRILL";

/// Right before a transaction of a saga is committed.
pub const BEFORE_COMMIT: &str = "before_commit";
/// Right after it.
pub const AFTER_COMMIT: &str = "after_commit";

/// Panics when the drill names `actor`. Every actor calls it where its work begins.
///
/// Panics: that is its purpose.
pub fn maybe_panic(actor: &str) {
    let Ok(drill) = std::env::var(VARIABLE) else { return };
    assert!(drill.strip_prefix("panic:") != Some(actor), "a drill asked the actor {actor} to panic");
}

/// Kills this process (SIGKILL) when the drill names `point` and this call's number.
pub fn maybe_kill(point: &str) {
    static CALL_COUNT: AtomicU64 = AtomicU64::new(0);
    let Ok(drill) = std::env::var(VARIABLE) else { return };
    let Some((named, number)) = drill.strip_prefix("kill:").and_then(|rest| rest.split_once(':')) else {
        return;
    };
    if named == point && number.parse() == Ok(CALL_COUNT.fetch_add(1, Ordering::SeqCst) + 1) {
        tracing::info!(point, number, "a drill kills the process");
        if let Err(error) = kill_process(getpid(), Signal::KILL) {
            tracing::error!(%error, "a drill could not kill the process");
        }
    }
}

/// Panics, or ends the process without a chance to clean up, when the drill names the handlers of `actor`.
///
/// Panics: that is its purpose.
pub fn maybe_break_handler(actor: &str) {
    let Ok(drill) = std::env::var(VARIABLE) else { return };
    if drill.strip_prefix("handler_abort:") == Some(actor) {
        tracing::error!(actor, "a drill asked a handler to kill its process");
        std::process::abort();
    }
    assert!(
        drill.strip_prefix("handler_panic:") != Some(actor),
        "a drill asked a handler of {actor} to panic"
    );
}
