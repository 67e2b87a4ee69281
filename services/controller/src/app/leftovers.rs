//! What sagas that are over left in the cloud and on its hosts: looked for, and removed on request, by a saga; here it is started
//! and read. An operator asks for it, and the controllers do by themselves from time to time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use catalog::{ServiceKind, ServiceRow, TrustState, Tx};
use model::{Owner, ProjectId, SagaId, Timestamp};

use super::{Caller, Error};
use crate::engine::{LeftoverOrder, LeftoverReport, LeftoverSweep};
use crate::sagas::uuid_of;
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

/// Who asks.
enum Asker {
    /// Of that project.
    Person(ProjectId),
    Nobody,
}

impl Asker {
    /// A sweep that nobody asked for has one that stands for none.
    fn project(self) -> ProjectId {
        match self {
            Self::Person(project) => project,
            Self::Nobody => "holdfast".parse().expect("it is a plain word"),
        }
    }
}

/// Starts a sweep of all projects that Holdfast has to do with, and of all hosts; gives its saga.
pub async fn start(state: &AppState, caller: &Caller, request: Request) -> Result<SagaId, Error> {
    let mut tx = state.catalog.begin().await?;
    let saga_id = state.engine.new_saga_id();
    start_saga(state, &mut tx, saga_id, Asker::Person(caller.project.clone()), request).await?;
    tx.commit().await?;
    state.engine.wake();
    tracing::info!(%saga_id, user = %caller.user, remove = request.is_removed, "leftovers are looked for");
    Ok(saga_id)
}

/// Starts a sweep that removes what ended so long ago, unless one is under way, or was started for this turn: any controller may
/// try, and the turn's saga has one id. Gives whether it was started.
pub async fn start_by_itself(state: &AppState, interval: Duration, age_min: Duration) -> Result<bool, Error> {
    let saga_id = saga_of(Turn::at(state.clock.now(), interval).number, interval);
    let mut tx = state.catalog.begin().await?;
    let under_way = tx.unfinished_sagas().await?.iter().any(|row| row.kind == LeftoverSweep::KIND);
    if under_way || tx.get_saga(saga_id).await?.is_some() {
        return Ok(false);
    }
    let request = Request { is_removed: true, age_min_seconds: age_min.as_secs() };
    match start_saga(state, &mut tx, saga_id, Asker::Nobody, request).await {
        // Another controller was faster.
        Err(error) if error.failure().code == "DATABASE_DUPLICATE" => return Ok(false),
        started => started?,
    }
    tx.commit().await?;
    state.engine.wake();
    tracing::info!(%saga_id, "leftovers are looked for from time to time");
    Ok(true)
}

/// One of the moments at which sweeps begin by themselves: the same for all controllers, in the middle between whole multiples of
/// the length, where schedules of snapshots begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    pub number: i64,
    pub next_in: Duration,
}

impl Turn {
    /// The one that is on.
    #[must_use]
    pub fn at(now: Timestamp, length: Duration) -> Self {
        let length = i64::try_from(length.as_micros()).unwrap_or(i64::MAX).max(1);
        let since = now.0.saturating_add(length / 2);
        let next_in = length - since.rem_euclid(length);
        let next_in = Duration::from_micros(u64::try_from(next_in).unwrap_or_default());
        Self { number: since.div_euclid(length), next_in }
    }
}

/// One for each turn of that length.
fn saga_of(turn: i64, interval: Duration) -> SagaId {
    let mut hasher = blake3::Hasher::new_derive_key("holdfast leftover sweep v1");
    hasher.update(&turn.to_be_bytes()).update(&interval.as_micros().to_be_bytes());
    SagaId::from_uuid(uuid_of(&hasher))
}

async fn start_saga(
    state: &AppState,
    tx: &mut Tx,
    saga_id: SagaId,
    asker: Asker,
    request: Request,
) -> Result<(), Error> {
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
    let owners = one_of_each_project(tx, owners).await?;
    let (now, silence_max) = (tx.now(), state.engine.lease_ttl());
    let movers = tx.list_services().await?.into_iter().filter(|row| row.kind == ServiceKind::Datamover);
    let answers = |row: &ServiceRow| now.since(row.seen_at) <= silence_max && row.can("list_leftovers");
    let (alive, silent): (Vec<_>, Vec<_>) = movers.partition(answers);
    let is_by_itself = matches!(asker, Asker::Nobody);
    let order = LeftoverOrder {
        project_id: asker.project(),
        is_by_itself,
        owners,
        age_min_seconds: request.age_min_seconds,
        is_removed: request.is_removed,
        hosts: alive.into_iter().map(|row| row.host).collect(),
        silent_hosts: silent.into_iter().map(|row| row.host).collect(),
    };
    Ok(state.engine.start::<LeftoverSweep>(tx, saga_id, &order).await?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_begins_in_the_middle_between_whole_multiples_of_its_length() {
        let hour = Duration::from_secs(3600);
        let at = |seconds: i64| Turn::at(Timestamp(seconds * 1_000_000), hour);
        assert_eq!(at(0), Turn { number: 0, next_in: Duration::from_secs(1800) });
        assert_eq!(at(1799), Turn { number: 0, next_in: Duration::from_secs(1) });
        assert_eq!(at(1800), Turn { number: 1, next_in: hour });
    }
}
