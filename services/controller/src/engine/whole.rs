//! Timers of a saga as a whole: its deadline, and the next try of a stuck one.

use std::time::Duration;

use catalog::{JobDirection, TimerKind, TimerRow};
use model::{SagaId, Timestamp};

/// No step has this number: a saga has at most so many, counted from 0.
const NO_STEP: u16 = u16::MAX;

/// A timer of the whole saga.
pub(super) const fn timer(saga_id: SagaId, kind: TimerKind, due_at: Timestamp) -> TimerRow {
    let (step, branch, attempt) = (NO_STEP, 0, 0);
    TimerRow { saga_id, step, branch, direction: JobDirection::Action, attempt, kind, due_at }
}

/// How long a stuck saga rests before it is tried again: twice as long each time.
pub(super) fn rest(base: Duration, cap: Duration, tries: usize) -> Duration {
    let doubled = u32::try_from(tries).ok().and_then(|tries| 2_u32.checked_pow(tries));
    doubled.and_then(|factor| base.checked_mul(factor)).map_or(cap, |rest| rest.min(cap))
}

/// `72 h`, `5 min`, `40 s`: in the largest unit of which there are two.
pub(super) fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 7200.. => format!("{} h", seconds / 3600),
        seconds @ 120.. => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_saga_rests_twice_as_long_each_time_and_never_longer_than_the_cap() {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        let rests: Vec<_> = (0..5).map(|tries| rest(minutes(5), minutes(60), tries)).collect();
        assert_eq!(rests, [5, 10, 20, 40, 60].map(minutes));
        assert_eq!(rest(minutes(5), minutes(60), 1000), minutes(60));
    }

    #[test]
    fn durations_are_said_in_the_largest_unit_that_fits() {
        let words: Vec<_> = [40, 119, 300, 7199, 259_200].map(|s| in_words(Duration::from_secs(s))).into();
        assert_eq!(words, ["40 s", "119 s", "5 min", "119 min", "72 h"]);
    }
}
