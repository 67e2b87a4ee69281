//! Tells the engine which timers are due. Two controllers may tell the same: the first deletes the row, and the saga's
//! version lets one win. A saga that cannot be told, or whose definition panics, keeps no other's timers.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{Catalog, TimerRow};
use runtime::Clock;
use service_kit::telemetry::Chain;
use service_kit::{Service, drill};

use crate::engine::{self, Engine};

/// Timers per look; more come with the next.
const BATCH: u32 = 500;
/// So many that rest are looked past; more than any site has sagas at once.
const RESTING_MAX: u32 = 100_000;
/// A timer whose handling failed is left alone for so long: it would fail at each look.
const REST: Duration = Duration::from_secs(60);

/// Starts the keeper, which looks every `tick`.
pub fn start(service: &Service, engine: Engine, catalog: Catalog, clock: Arc<dyn Clock>, tick: Duration) {
    let mut drain = service.drain();
    service.supervise("timer_keeper", async move {
        let mut resting = Resting::default();
        while !drain.has_begun() {
            if let Err(error) = look(&engine, &catalog, clock.as_ref(), &mut resting).await {
                tracing::warn!(error = %Chain(&error), "timers could not be looked at, will try again");
            }
            tokio::select! {
                biased; // both are cancel safe
                () = drain.begun() => {}
                () = tokio::time::sleep(tick) => {}
            }
        }
    });
}

async fn look(
    engine: &Engine,
    catalog: &Catalog,
    clock: &dyn Clock,
    resting: &mut Resting,
) -> Result<(), engine::Error> {
    drill::maybe_panic("timer_keeper");
    // Those that rest are the longest due: they must not fill the look.
    let resting_count = u32::try_from(resting.0.len()).unwrap_or(u32::MAX).min(RESTING_MAX);
    let due = catalog.read().await?.due_timers(clock.now(), BATCH + resting_count).await?;
    let tell = |timer| {
        let engine = engine.clone();
        async move { engine.timer_due(timer).await.map(drop) }
    };
    resting.handle(due, clock.monotonic(), tell).await;
    Ok(())
}

/// Timers whose handling failed, until when.
#[derive(Debug, Default)]
struct Resting(HashMap<TimerRow, Instant>);

impl Resting {
    /// Handles each on a task of its own, one after the other, but for those that failed a moment ago.
    async fn handle<F>(&mut self, due: Vec<TimerRow>, now: Instant, tell: impl Fn(TimerRow) -> F)
    where
        F: Future<Output = Result<(), engine::Error>> + Send + 'static,
    {
        self.0.retain(|_, until| *until > now);
        for timer in due {
            if self.0.contains_key(&timer) {
                continue;
            }
            match tokio::spawn(tell(timer)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => {
                    tracing::warn!(saga_id = %timer.saga_id, error = %Chain(&error), "a timer could not be told, will try again");
                }
                Err(error) => {
                    tracing::error!(saga_id = %timer.saga_id, %error, "a saga met a bug when its timer was due; report it. It is tried again");
                }
            }
            self.0.insert(timer, now + REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use catalog::{JobDirection, TimerKind};
    use model::{SagaId, Timestamp};
    use runtime::Entropy;

    use super::*;

    fn make_timer() -> TimerRow {
        TimerRow {
            saga_id: SagaId::from_uuid(Entropy.uuid()),
            step: 0,
            branch: 0,
            direction: JobDirection::Action,
            attempt: 1,
            kind: TimerKind::Retry,
            due_at: Timestamp(1),
        }
    }

    #[tokio::test]
    async fn a_saga_whose_timer_panics_keeps_no_other_and_is_tried_again_after_a_rest() {
        let timers = [make_timer(), make_timer(), make_timer(), make_timer()];
        let (bad, lost) = (timers[0], timers[2]);
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut resting = Resting::default();
        let start = Instant::now();
        for at in [start, start, start + REST] {
            let told = Arc::clone(&told);
            let tell = move |timer: TimerRow| {
                told.lock().unwrap().push(timer.saga_id);
                async move {
                    assert!(timer != bad, "a bug");
                    if timer == lost { Err(engine::Error::NoSuchSaga(timer.saga_id)) } else { Ok(()) }
                }
            };
            resting.handle(timers.to_vec(), at, tell).await;
        }
        let count = |timer: &TimerRow| told.lock().unwrap().iter().filter(|id| **id == timer.saga_id).count();
        assert_eq!(timers.each_ref().map(count), [2, 3, 2, 3]);
    }
}
