//! The right to write. A controller lends a job to one worker for a while; the worker's right ends by its own monotonic
//! clock, earlier than the controller counts: from when it *sent* the beat that was answered, less a margin. So no two
//! workers write, without any agreement of clocks, as long as they run at nearly the same rate.
//!
//! A process that was stopped and goes on finds its right gone: it is asked before every put and every write, and the
//! answer is computed from the clock, never remembered.
//!
//! ```text
//!   beat n sent ────────────── ttl ─────────────────────▶│ the controller may lend to another
//!      │◀──────────── may write ──────────▶│◀─ margin ──▶│
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use runtime::Clock;

/// Beats remembered: at one each second, a controller may answer two minutes late.
const BEATS_REMEMBERED: usize = 128;

/// One job's right to write. Shared by the keeper, who extends it, and the pipeline, which asks.
#[derive(Debug)]
pub struct Lease {
    clock: Arc<dyn Clock>,
    origin: Instant,
    /// Microseconds after `origin`; 0: never had the right.
    until: AtomicU64,
    epoch: AtomicU64,
}

impl Lease {
    /// A lease that gives no right yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, epoch: u64) -> Arc<Self> {
        let origin = clock.monotonic();
        Arc::new(Self { clock, origin, until: AtomicU64::new(0), epoch: AtomicU64::new(epoch) })
    }

    /// Whether writing is allowed at this moment.
    #[must_use]
    pub fn may_write(&self) -> bool {
        micros(self.clock.monotonic().saturating_duration_since(self.origin))
            < self.until.load(Ordering::SeqCst)
    }

    /// Takes an extension that answers something sent at `sent_at`. The right never shrinks: an answer to an older beat
    /// may come later.
    pub fn extend(&self, sent_at: Instant, ttl: Duration, margin: Duration) {
        let until = sent_at + ttl.saturating_sub(margin);
        self.until.fetch_max(micros(until.saturating_duration_since(self.origin)), Ordering::SeqCst);
    }

    /// Ends the right now: the controller refused the job, or somebody stops it.
    pub fn revoke(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    /// The epoch under which this worker holds the job.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Notes a newer grant to the same worker.
    pub fn raise_epoch(&self, epoch: u64) {
        self.epoch.fetch_max(epoch, Ordering::SeqCst);
    }
}

/// When which beat was sent. An answer to a beat that is forgotten extends nothing.
#[derive(Debug)]
pub struct SentBeats {
    next: u64,
    sent: VecDeque<(u64, Instant)>,
}

impl SentBeats {
    /// Counts from `first`. Each start of the process takes a number above all before it (wall time in microseconds), so
    /// that an answer to an earlier process matches nothing.
    #[must_use]
    pub const fn starting_at(first: u64) -> Self {
        Self { next: first, sent: VecDeque::new() }
    }

    /// Numbers the beat that is about to be sent at `now`.
    pub fn send(&mut self, now: Instant) -> u64 {
        let sequence = self.next;
        self.next += 1;
        self.sent.push_back((sequence, now));
        if self.sent.len() > BEATS_REMEMBERED {
            self.sent.pop_front();
        }
        sequence
    }

    /// When beat `sequence` was sent.
    #[must_use]
    pub fn sent_at(&self, sequence: u64) -> Option<Instant> {
        self.sent.iter().find(|(sent, _)| *sent == sequence).map(|(_, at)| *at)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use proptest::prelude::*;
    use runtime::ManualClock;

    use super::*;

    const TTL: Duration = Duration::from_millis(90);
    const MARGIN: Duration = Duration::from_millis(20);

    fn make_lease() -> (Arc<ManualClock>, Arc<Lease>) {
        let clock = ManualClock::starting_at(Timestamp(1_000_000));
        let lease = Lease::new(clock.clone(), 1);
        (clock, lease)
    }

    #[test]
    fn a_lease_that_was_never_granted_gives_no_right() {
        let (_, lease) = make_lease();
        assert!(!lease.may_write());
    }

    #[test]
    fn the_right_ends_a_margin_before_the_ttl_after_the_beat_was_sent() {
        let (clock, lease) = make_lease();
        let sent_at = clock.monotonic();
        clock.advance(Duration::from_millis(30)); // the answer takes its time
        lease.extend(sent_at, TTL, MARGIN);
        clock.advance(Duration::from_millis(39));
        assert!(lease.may_write());
        clock.advance(Duration::from_millis(1));
        assert!(!lease.may_write(), "70 ms after the beat was sent");
    }

    #[test]
    fn a_margin_longer_than_the_ttl_gives_no_right() {
        let (clock, lease) = make_lease();
        lease.extend(clock.monotonic(), MARGIN, TTL);
        assert!(!lease.may_write());
    }

    #[test]
    fn a_process_that_was_stopped_past_its_lease_may_not_write() {
        let (clock, lease) = make_lease();
        lease.extend(clock.monotonic(), TTL, MARGIN);
        assert!(lease.may_write());
        clock.advance(Duration::from_secs(3600)); // SIGSTOP … SIGCONT
        assert!(!lease.may_write());
    }

    #[test]
    fn a_revoked_lease_gives_no_right() {
        let (clock, lease) = make_lease();
        lease.extend(clock.monotonic(), TTL, MARGIN);
        lease.revoke();
        assert!(!lease.may_write());
    }

    #[test]
    fn an_answer_to_a_forgotten_or_foreign_beat_matches_nothing() {
        let (clock, _) = make_lease();
        let mut beats = SentBeats::starting_at(1000);
        for _ in 0..=BEATS_REMEMBERED {
            beats.send(clock.monotonic());
        }
        assert_eq!(beats.sent_at(1000), None, "forgotten");
        assert!(beats.sent_at(1001).is_some());
        assert_eq!(beats.sent_at(5), None, "of an earlier process");
    }

    /// What happens to a lease, seen from outside.
    #[derive(Debug, Clone)]
    enum Event {
        Pass(u64),
        Beat,
        /// The controller answers the beat sent so many beats ago.
        Answer(usize),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            (0u64..120).prop_map(Event::Pass),
            Just(Event::Beat),
            (0usize..6).prop_map(Event::Answer),
        ];
        proptest::collection::vec(event, 0..60)
    }

    proptest! {
        /// The controller's clock starts when it answers, which is never before the beat was sent: whoever holds by the
        /// worker's clock holds by the controller's, with the margin to spare.
        #[test]
        fn whoever_may_write_holds_the_lease_by_the_controllers_clock(events in events()) {
            let (clock, lease) = make_lease();
            let mut beats = SentBeats::starting_at(1);
            let mut sequences = Vec::new();
            let mut controller_until = clock.monotonic();
            for event in events {
                match event {
                    Event::Pass(ms) => clock.advance(Duration::from_millis(ms)),
                    Event::Beat => sequences.push(beats.send(clock.monotonic())),
                    Event::Answer(ago) => {
                        let Some(sequence) = sequences.iter().rev().nth(ago) else { continue };
                        controller_until = controller_until.max(clock.monotonic() + TTL);
                        if let Some(sent_at) = beats.sent_at(*sequence) {
                            lease.extend(sent_at, TTL, MARGIN);
                        }
                    }
                }
                if lease.may_write() {
                    prop_assert!(clock.monotonic() + MARGIN < controller_until);
                }
            }
        }

        /// Nothing but an extension gives the right back.
        #[test]
        fn time_alone_never_gives_the_right(steps in proptest::collection::vec(0u64..50, 1..50)) {
            let (clock, lease) = make_lease();
            lease.extend(clock.monotonic(), TTL, MARGIN);
            let mut lost = false;
            for ms in steps {
                clock.advance(Duration::from_millis(ms));
                lost |= !lease.may_write();
                prop_assert!(!(lost && lease.may_write()));
            }
        }
    }
}
