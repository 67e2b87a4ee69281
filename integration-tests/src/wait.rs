//! Waiting on a state, with a deadline that names what was waited for.

use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Asks `probe` until it gives something.
///
/// Errors: the probe's own, or the deadline passed; the text says what was waited for.
pub fn until<T>(deadline: Duration, what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if start.elapsed() > deadline {
            return Err(in_vain(deadline, what));
        }
        std::thread::park_timeout(POLL_INTERVAL);
    }
}

/// The same of a probe that waits itself.
pub async fn until_async<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = probe().await? {
            return Ok(found);
        }
        if start.elapsed() > deadline {
            return Err(in_vain(deadline, what));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn in_vain(deadline: Duration, what: &str) -> Error {
    anyhow!("waited {} s in vain until {what}", deadline.as_secs())
}
