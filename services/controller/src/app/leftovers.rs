//! What sagas that are over left in the cloud: looked for, and removed on request, by a saga; here it is started and read.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{TrustState, Tx};
use model::{Owner, ProjectId, SagaId};

use super::{Caller, Error};
use crate::engine::{LeftoverOrder, LeftoverReport, LeftoverSweep};
use crate::state::AppState;
use saga::Saga as _;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub is_removed: bool,
    /// Since the end of the saga.
    pub age_min_seconds: u64,
}

/// A sweep as it stands.
#[derive(Debug)]
pub struct Sweep {
    pub phase: String,
    pub order: LeftoverOrder,
    pub report: LeftoverReport,
}

/// Starts a sweep of all projects that Holdfast has to do with; gives its saga.
pub async fn start(state: &AppState, caller: &Caller, request: Request) -> Result<SagaId, Error> {
    let mut tx = state.catalog.begin().await?;
    let mut owners: BTreeSet<Owner> = tx.list_owners().await?.into_iter().collect();
    let trusts = tx.list_trusts(&catalog::TrustFilter::default()).await?;
    owners.extend(trusts.into_iter().map(|row| Owner { project_id: row.project_id, user_id: row.user_id }));
    // Without a trust of theirs nothing can be seen; whoever has a workload is told of it.
    if state.trusts.is_some() {
        let mut seen = BTreeSet::new();
        for owner in owners {
            let has_trust = tx.get_trust(&owner.project_id, &owner.user_id).await?.is_some();
            if has_trust || tx.count_workloads_of(&owner).await? > 0 {
                seen.insert(owner);
            }
        }
        owners = seen;
    }
    let owners = one_of_each_project(&mut tx, owners).await?;
    let order = LeftoverOrder {
        project_id: caller.project.clone(),
        owners,
        age_min_seconds: request.age_min_seconds,
        is_removed: request.is_removed,
    };
    let saga_id = state.engine.new_saga_id();
    state.engine.start::<LeftoverSweep>(&mut tx, saga_id, &order).await?;
    tx.commit().await?;
    state.engine.wake();
    tracing::info!(%saga_id, user = %caller.user, remove = request.is_removed, "leftovers are looked for");
    Ok(saga_id)
}

/// Whoever may look sees all of the project: one whose trust is well, if any is.
async fn one_of_each_project(tx: &mut Tx, owners: BTreeSet<Owner>) -> Result<Vec<Owner>, Error> {
    let mut chosen: BTreeMap<ProjectId, (bool, Owner)> = BTreeMap::new();
    for owner in owners {
        let trust = tx.get_trust(&owner.project_id, &owner.user_id).await?;
        let is_well = trust.is_some_and(|row| row.state == TrustState::Available);
        let known = chosen.get(&owner.project_id);
        if known.is_none_or(|(known_is_well, _)| is_well && !known_is_well) {
            chosen.insert(owner.project_id.clone(), (is_well, owner));
        }
    }
    Ok(chosen.into_values().map(|(_, owner)| owner).collect())
}

/// Reads a sweep.
///
/// Errors: `SAGA_NOT_FOUND`.
pub async fn show(state: &AppState, id: SagaId) -> Result<Sweep, Error> {
    let row = state.catalog.read().await?.get_saga(id).await?.filter(|row| row.kind == LeftoverSweep::KIND);
    let row = row.ok_or_else(|| Error::not_found("SAGA_NOT_FOUND", "sweep of leftovers", &id))?;
    let unreadable = |_| {
        let message = format!("saga {id} was made by another version of the controller and cannot be read");
        Error::conflict("SAGA_UNREADABLE", message)
    };
    let order = serde_json::from_str(&row.params).map_err(unreadable)?;
    let report = serde_json::from_str(&row.facts).map_err(unreadable)?;
    Ok(Sweep { phase: row.phase, order, report })
}
