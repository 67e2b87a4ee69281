//! What a consumer does while the database is away: it keeps its message and waits. Giving it back would count as a
//! delivery, and after a few the broker takes it for poison.

use std::time::Duration;

use model::Failure;
use service_kit::Drain;
use service_kit::actors::Handled;

use crate::engine;

/// Long enough not to press a database that comes back, short enough not to be felt.
const PAUSE: Duration = Duration::from_millis(500);

/// Does `work` until it succeeds, fails for good, or a drain begins. `Err` says how the message is to be settled.
pub(super) async fn patiently<T, W>(
    drain: &Drain,
    what: &str,
    mut work: impl FnMut() -> W,
) -> Result<T, Handled>
where
    W: Future<Output = Result<T, engine::Error>>,
{
    loop {
        let error = match work().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let failure: Failure = error.failure();
        if !failure.class.may_pass() {
            return Err(Handled::Dead(format!("{}: {}", failure.code, failure.message)));
        }
        if drain.has_begun() {
            return Err(Handled::Retry);
        }
        tracing::warn!(what, code = failure.code, error = %service_kit::telemetry::Chain(&error), "the catalog does not answer, will try again");
        tokio::time::sleep(PAUSE).await;
    }
}
