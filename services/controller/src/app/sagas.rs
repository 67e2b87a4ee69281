//! Sagas, for reading.

use catalog::{JobRow, SagaEventRow, SagaFilter, SagaRow};
use model::SagaId;

use super::{Caller, Error};
use crate::state::AppState;

/// A list shows the newest; older ones are found by their snapshot or restore.
const LIST_LENGTH_MAX: u32 = 1000;

/// A saga with its history.
#[derive(Debug, Clone)]
pub struct Parts {
    pub row: SagaRow,
    pub events: Vec<SagaEventRow>,
    pub jobs: Vec<JobRow>,
}

/// Lists the sagas of the caller's project, the newest first.
pub async fn list(state: &AppState, caller: &Caller) -> Result<Vec<SagaRow>, Error> {
    let filter = SagaFilter {
        project_id: Some(caller.project.clone()),
        limit: Some(LIST_LENGTH_MAX),
        ..SagaFilter::default()
    };
    Ok(state.catalog.read().await?.list_sagas(&filter).await?)
}

/// Shows a saga.
///
/// Errors: `SAGA_NOT_FOUND`.
pub async fn show(state: &AppState, caller: &Caller, id: SagaId) -> Result<Parts, Error> {
    let mut tx = state.catalog.read().await?;
    let row = tx
        .get_saga(id)
        .await?
        .filter(|row| row.project_id == caller.project)
        .ok_or_else(|| Error::not_found("SAGA_NOT_FOUND", "saga", &id))?;
    let events = tx.list_saga_events(id).await?;
    let jobs = tx.jobs_of_saga(id).await?;
    Ok(Parts { row, events, jobs })
}

/// The definition a saga was started under; `None` when this program no longer has it.
#[must_use]
pub fn shape<'a>(state: &'a AppState, row: &SagaRow) -> Option<&'a saga::Shape> {
    state.engine.shape(&row.kind, row.definition_version)
}
