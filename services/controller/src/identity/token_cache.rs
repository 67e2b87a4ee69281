//! Tokens that were found good a moment ago. Keyed by a digest under a key of this process: the tokens are not here.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::Timestamp;
use runtime::{Clock, Entropy};

use crate::app::Caller;

/// Some hundred users with several programs each.
const LENGTH_MAX: usize = 4096;

/// Who sent which token. Bounded in number and time.
pub(super) struct TokenCache {
    key: [u8; 32],
    lifetime: Duration,
    clock: Arc<dyn Clock>,
    entries: Mutex<HashMap<blake3::Hash, Entry>>,
}

struct Entry {
    /// Without its token.
    caller: Caller,
    until: Instant,
    /// The token's own end.
    expires_at: Timestamp,
}

impl TokenCache {
    pub(super) fn new(lifetime: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { key: Entropy.key(), lifetime, clock, entries: Mutex::default() }
    }

    /// The caller of a token that was found good lately.
    pub(super) fn get(&self, token: &str) -> Option<Caller> {
        let digest = self.digest(token);
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(&digest).filter(|entry| self.holds(entry)).map(|entry| entry.caller.clone())
    }

    /// Believes `token` for a while, and never beyond its end.
    pub(super) fn put(&self, token: &str, caller: &Caller, expires_at: Timestamp) {
        let entry = Entry {
            caller: Caller { token: None, ..caller.clone() },
            until: self.clock.monotonic() + self.lifetime,
            expires_at,
        };
        let digest = self.digest(token);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= LENGTH_MAX {
            entries.retain(|_, entry| self.holds(entry));
        }
        // All of them hold: Keystone is asked again rather than memory taken.
        if entries.len() >= LENGTH_MAX {
            entries.clear();
        }
        entries.insert(digest, entry);
    }

    fn holds(&self, entry: &Entry) -> bool {
        self.clock.monotonic() < entry.until && self.clock.now() < entry.expires_at
    }

    fn digest(&self, token: &str) -> blake3::Hash {
        blake3::keyed_hash(&self.key, token.as_bytes())
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use runtime::ManualClock;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn make_caller() -> Caller {
        Caller::new("u".parse().unwrap(), "p".parse().unwrap(), BTreeSet::new())
    }

    fn make_cache() -> (TokenCache, Arc<ManualClock>) {
        let clock = ManualClock::starting_at(NOW);
        (TokenCache::new(Duration::from_secs(30), clock.clone()), clock)
    }

    #[test]
    fn a_token_is_believed_for_the_set_time_and_never_beyond_its_end() {
        let (cache, clock) = make_cache();
        cache.put("long", &make_caller(), NOW.after(Duration::from_secs(3600)));
        cache.put("short", &make_caller(), NOW.after(Duration::from_secs(10)));
        assert!(cache.get("long").is_some() && cache.get("short").is_some() && cache.get("other").is_none());
        clock.advance(Duration::from_secs(10));
        assert!(cache.get("long").is_some() && cache.get("short").is_none());
        clock.advance(Duration::from_secs(20));
        assert!(cache.get("long").is_none());
    }

    #[test]
    fn it_is_bounded_and_keeps_no_token() {
        let (cache, _clock) = make_cache();
        let mut caller = make_caller();
        caller.token = Some("secret".to_owned().into());
        for number in 0..3 * LENGTH_MAX {
            cache.put(&format!("token-{number}"), &caller, NOW.after(Duration::from_secs(3600)));
            assert!(cache.entries.lock().unwrap().len() <= LENGTH_MAX);
        }
        let last = cache.get(&format!("token-{}", 3 * LENGTH_MAX - 1)).unwrap();
        assert!(last.token.is_none());
    }
}
