//! Transactions that the database asks to run again.

use std::future::Future;
use std::time::Duration;

use super::Error;

/// MariaDB picks a victim of a deadlock at random; being it five times in a row means something else is wrong.
const RUNS_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_millis(5);

/// Runs `work`, a whole transaction, again when it lost against another one.
pub(super) async fn retrying<T, F>(work: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut run = 1;
    loop {
        match work().await {
            Err(Error::Catalog(error)) if error.is_retryable() && run < RUNS_MAX => {
                tracing::debug!(run, %error, "transaction runs again");
                tokio::time::sleep(PAUSE * run).await;
                run += 1;
            }
            outcome => return outcome,
        }
    }
}
