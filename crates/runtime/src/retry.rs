//! When to try again. How often is the saga's business; how long between is this.

use std::time::Duration;

/// Full-jitter exponential backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    pub base: Duration,
    pub cap: Duration,
    /// Attempts in all, the first included; `None`: without limit.
    pub attempts_max: Option<u32>,
}

impl RetryPolicy {
    /// The pause after failed attempt number `attempt` (from 1): a fraction in `0.0..1.0` of the doubled base, held to the cap.
    ///
    /// Source: <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>, "full jitter".
    #[must_use]
    pub fn delay(&self, attempt: u32, fraction: f64) -> Duration {
        let doubled = self.base.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1).min(30)));
        doubled.min(self.cap).mul_f64(fraction.clamp(0.0, 1.0))
    }

    /// Whether attempt number `attempt + 1` may be made.
    #[must_use]
    pub fn allows_after(&self, attempt: u32) -> bool {
        self.attempts_max.is_none_or(|max| attempt < max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { base: Duration::from_millis(200), cap: Duration::from_secs(30), attempts_max: Some(5) };

    proptest! {
        #[test]
        fn a_pause_is_never_longer_than_the_cap(attempt in 1u32..=u32::MAX, fraction in 0.0f64..1.0) {
            prop_assert!(POLICY.delay(attempt, fraction) <= POLICY.cap);
        }
    }

    #[test]
    fn pauses_double_until_the_cap() {
        let full = |attempt| POLICY.delay(attempt, 1.0);
        assert_eq!(full(1), Duration::from_millis(200));
        assert_eq!(full(3), Duration::from_millis(800));
        assert_eq!(full(20), POLICY.cap);
    }

    #[test]
    fn the_last_attempt_is_the_last() {
        assert!(POLICY.allows_after(4));
        assert!(!POLICY.allows_after(5));
    }
}
