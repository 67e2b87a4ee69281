//! Sagas: reading them, drawing them, stopping them, and deciding about stuck ones.

use catalog::{JobRow, SagaEventRow, SagaFilter, SagaRow, TimerKind, TimerRow, Tx};
use model::SagaId;
use saga::render::Format;
use saga::{OperatorVerb, Phase, SagaState, Shape};

use super::text::{check_reason, shown};
use super::{Caller, Error};
use crate::engine::Decision;
use crate::state::AppState;

/// A list shows the newest; older ones are found by their snapshot or restore.
const LIST_LENGTH_MAX: u32 = 1000;

/// Which sagas to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    pub phase: Option<Phase>,
    /// Only the operator's.
    pub all_projects: bool,
}

/// A saga with its history.
#[derive(Debug, Clone)]
pub struct Parts {
    pub row: SagaRow,
    pub events: Vec<SagaEventRow>,
    pub jobs: Vec<JobRow>,
    pub timers: Vec<TimerRow>,
}

/// A picture of a definition or of a saga.
#[derive(Debug, Clone)]
pub struct Picture {
    pub kind: String,
    pub version: u32,
    pub text: String,
}

impl Parts {
    /// When a timer of the whole saga is due.
    #[must_use]
    pub fn due_at(&self, kind: TimerKind) -> Option<model::Timestamp> {
        self.timers.iter().find(|timer| timer.kind == kind).map(|timer| timer.due_at)
    }
}

/// Lists sagas, the newest first: of the caller's project, or of all.
///
/// Errors: `FORBIDDEN`: all projects are the operator's.
pub async fn list(state: &AppState, caller: &Caller, filter: Filter) -> Result<Vec<SagaRow>, Error> {
    if filter.all_projects && !caller.is_admin() {
        return Err(Error::forbidden("only an admin may list the sagas of all projects"));
    }
    let filter = SagaFilter {
        project_id: (!filter.all_projects).then(|| caller.project.clone()),
        phase: filter.phase.map(|phase| phase.as_str().to_owned()),
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
    let row = require(&mut tx, caller, id).await?;
    let events = tx.list_saga_events(id).await?;
    let jobs = tx.jobs_of_saga(id).await?;
    let timers = tx.list_timers(id).await?;
    Ok(Parts { row, events, jobs, timers })
}

/// Draws a saga as it stands, or the definition of that kind.
///
/// Errors: `SAGA_NOT_FOUND` when the name is neither; `SAGA_UNREADABLE` for a saga whose definition is gone.
pub async fn draw(state: &AppState, caller: &Caller, name: &str, format: Format) -> Result<Picture, Error> {
    let picture = |shape: &Shape, standing: Option<&SagaState>| Picture {
        kind: shape.kind.to_owned(),
        version: shape.version,
        text: saga::render::draw(shape, standing, format),
    };
    if let Ok(id) = name.parse::<SagaId>() {
        let row = require(&mut state.catalog.read().await?, caller, id).await?;
        let unreadable = || {
            let message =
                format!("saga {id} was made by another version of the controller and cannot be drawn");
            Error::conflict("SAGA_UNREADABLE", message)
        };
        let shape = shape(state, &row).ok_or_else(unreadable)?;
        let standing = serde_json::from_str(&row.state).map_err(|_| unreadable())?;
        return Ok(picture(shape, Some(&standing)));
    }
    let newest = state.engine.shapes().filter(|shape| shape.kind == name).max_by_key(|shape| shape.version);
    newest.map(|shape| picture(shape, None)).ok_or_else(|| {
        let kinds: Vec<&str> = state.engine.shapes().map(|shape| shape.kind).collect();
        let shown = shown(name, 80);
        let message =
            format!("{shown:?} is neither a saga nor a kind of sagas; kinds are {}", kinds.join(", "));
        Error::Refused { refusal: super::Refusal::NotFound, code: "SAGA_NOT_FOUND", message }
    })
}

/// Asks a running saga to stop and take back what it did. Twice is as once.
///
/// Errors: `SAGA_NOT_FOUND`, `CANCEL_TOO_LATE`.
pub async fn cancel(state: &AppState, caller: &Caller, id: SagaId) -> Result<Parts, Error> {
    let row = require(&mut state.catalog.read().await?, caller, id).await?;
    let was_cancelled = row.error_code.as_deref() == Some(crate::engine::CANCELLED);
    if !was_cancelled {
        state.engine.request_cancel(id, &caller.user).await?;
        tracing::info!(saga_id = %id, user = %caller.user, "saga cancel asked for");
    }
    show(state, caller, id).await
}

/// Settles a stuck saga, on the record. Abandoning twice is as abandoning once.
///
/// Errors: `SAGA_NOT_FOUND`, `SAGA_NOT_STUCK`, `REASON_INVALID`.
pub async fn operate(
    state: &AppState,
    caller: &Caller,
    id: SagaId,
    verb: OperatorVerb,
    reason: &str,
) -> Result<Parts, Error> {
    let reason = check_reason(reason)?;
    require(&mut state.catalog.read().await?, caller, id).await?;
    let decision = Decision { verb, by: caller.user.clone(), reason };
    state.engine.operate(id, decision).await?;
    tracing::info!(saga_id = %id, user = %caller.user, verb = verb.as_str(), "an operator settles a stuck saga");
    show(state, caller, id).await
}

/// The definition a saga was started under; `None` when this program no longer has it.
#[must_use]
pub fn shape<'a>(state: &'a AppState, row: &SagaRow) -> Option<&'a Shape> {
    state.engine.shape(&row.kind, row.definition_version)
}

/// Reads a saga of the caller's project; the operator's are all.
async fn require(tx: &mut Tx, caller: &Caller, id: SagaId) -> Result<SagaRow, Error> {
    tx.get_saga(id)
        .await?
        .filter(|row| row.project_id == caller.project || caller.is_admin())
        .ok_or_else(|| Error::not_found("SAGA_NOT_FOUND", "saga", &id))
}
