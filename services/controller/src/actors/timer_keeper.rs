//! Tells the engine which timers are due. Two controllers may tell the same: the first deletes the row, and the saga's
//! version lets one win.

use std::sync::Arc;
use std::time::Duration;

use catalog::Catalog;
use runtime::Clock;
use service_kit::telemetry::Chain;
use service_kit::{Service, drill};

use crate::engine::{self, Engine};

/// Timers per look; more come with the next.
const BATCH: u32 = 500;

/// Starts the keeper, which looks every `tick`.
pub fn start(service: &Service, engine: Engine, catalog: Catalog, clock: Arc<dyn Clock>, tick: Duration) {
    let mut drain = service.drain();
    service.supervise("timer_keeper", async move {
        while !drain.has_begun() {
            if let Err(error) = look(&engine, &catalog, clock.as_ref()).await {
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

async fn look(engine: &Engine, catalog: &Catalog, clock: &dyn Clock) -> Result<(), engine::Error> {
    drill::maybe_panic("timer_keeper");
    let due = catalog.read().await?.due_timers(clock.now(), BATCH).await?;
    for timer in due {
        engine.timer_due(timer).await?;
    }
    Ok(())
}
