//! What a controller finds of itself.

use std::time::Duration;

use backup_target::Owner;
use bus_config::exchange;
use futures::future::join_all;
use model::{Check, MessageId};
use service_kit::checks;
use tokio::time::timeout;

use super::compare::{Own, judge_clock};
use super::{Doctor, Finding, broker};
use crate::app::targets;
use crate::state::AppState;

/// A small read.
const CATALOG_TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// Routing keys that lead to no queue.
const NOWHERE: &str = "examination";

/// Examines this controller. Codes: those of catalog, bus and targets, `CLOCK_SKEWED`, and what broker and cloud are examined
/// for.
pub(super) async fn examine(state: &AppState) -> Vec<Check> {
    let Doctor { monitor, cloud, .. } = &state.doctor;
    let cloud = async {
        match cloud {
            Some(cloud) => checks::bounded("cloud", cloud.examine()).await,
            None => Vec::new(),
        }
    };
    let broker = checks::bounded("broker", broker::examine(monitor.clone(), state.catalog.clone()));
    let (catalog, rights, broker, targets, cloud) =
        tokio::join!(examine_catalog(state), examine_rights(state), broker, examine_targets(state), cloud);
    [catalog, rights, broker, targets, cloud].into_iter().flatten().collect()
}

/// What other services are compared with.
pub(super) async fn see(state: &AppState) -> Own {
    let user = Owner::of_process();
    let look = |target: &crate::state::TargetInfo| {
        let target = target.clone();
        async move {
            let seen = backup_target::examine(&target.path, user).await.seen;
            (target.id, (target.name, seen.map(|seen| seen.owner)))
        }
    };
    let targets = join_all(state.targets.iter().map(look)).await.into_iter().collect();
    Own { version: env!("CARGO_PKG_VERSION").to_owned(), user, targets }
}

async fn examine_catalog(state: &AppState) -> Vec<Check> {
    let before = state.clock.now();
    let read = async { state.catalog.read().await?.database_time().await };
    let subject = "catalog";
    match timeout(CATALOG_TIMEOUT_MAX, read).await {
        Ok(Ok(theirs)) => {
            // Whole seconds: what is left of the second is not known.
            let after = state.clock.now().after(Duration::from_secs(1));
            let before = before.before(Duration::from_secs(1));
            let mut clock = judge_clock(before, theirs, after, "this controller's");
            clock.subject = "clock of the database".to_owned();
            vec![Check::ok(subject, format!("{} answers", state.catalog.place())), clock]
        }
        Ok(Err(error)) => vec![Check::of(subject, Err::<String, _>(error.failure()))],
        Err(_) => {
            let message = format!("{} does not answer: is its server up?", state.catalog.place());
            vec![Check::fail(subject, "DATABASE_UNAVAILABLE", message)]
        }
    }
}

async fn examine_rights(state: &AppState) -> Vec<Check> {
    let publisher = &state.doctor.publisher;
    let look = |exchange: &'static str| {
        let id = MessageId::from_uuid(state.entropy.uuid());
        checks::may_publish(publisher, exchange, NOWHERE, id)
    };
    join_all([look(exchange::CMD), look(exchange::EVT)]).await
}

/// Whether the targets can be used, without where they are.
pub(super) async fn show_targets(state: &AppState) -> Vec<Finding> {
    let show = |parts: targets::Parts| {
        let subject = format!("backup target {}", parts.info.name);
        let check = match parts.space {
            Ok(space) => Check::ok(subject, format!("{} of {} free", space.free, space.total)),
            Err(reason) => Check::fail(subject, "TARGET_OFFLINE", format!("{reason}; tell the operator")),
        };
        Finding { service: "project", host: String::new(), check }
    };
    targets::list(state).await.unwrap_or_default().into_iter().map(show).collect()
}

/// Each: is it the one that was opened at start, is it ours, is there room?
async fn examine_targets(state: &AppState) -> Vec<Check> {
    if state.targets.is_empty() {
        return vec![Check::fail(
            "targets",
            "NO_TARGET",
            "the config has no [[target]]: add one with its path",
        )];
    }
    let look = |target: &crate::state::TargetInfo| {
        let target = target.clone();
        async move {
            let examined = backup_target::examine(&target.path, Owner::of_process()).await;
            match examined.seen {
                Some(seen) if seen.id != target.id => {
                    let message = format!(
                        "another target is mounted at {} than when the controller started: {} and not {}; mount the right one",
                        target.path.display(),
                        seen.id,
                        target.id
                    );
                    Check::fail(format!("target {}", target.name), "TARGET_GONE", message)
                }
                _ => examined.check,
            }
        }
    };
    join_all(state.targets.iter().map(look)).await
}
