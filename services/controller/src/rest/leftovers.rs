//! `/leftovers`, the operator's.

use actix_web::{HttpResponse, web};
use rest_api::{Leftover, LeftoverBody, Leftovers, NewSweepBody, SagaStarted, Unseen, UnseenHost};

use super::asked::Asked;
use super::body::Body;
use super::error::Reply;
use super::path::path_id;
use crate::app::Action;
use crate::app::leftovers::{self, Request, Sweep};
use crate::engine::{HostLeftover, HostReport, LeftoverOrder};

pub(super) async fn start(asked: Asked, body: Body<NewSweepBody>) -> Result<HttpResponse, Reply> {
    let wanted = body.0.leftovers;
    let request = Request { is_removed: wanted.remove, age_min_seconds: wanted.older_than_seconds };
    let saga_id = asked
        .run(Action::LeftoverSweep, move |state, caller| async move {
            leftovers::start(&state, &caller, request).await
        })
        .await?;
    Ok(HttpResponse::Accepted().json(SagaStarted { saga_id, stays: Vec::new() }))
}

pub(super) async fn show(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    let id = path_id(&path.1, "SAGA_NOT_FOUND", "sweep of leftovers")?;
    let sweep = asked
        .run(Action::LeftoverSweep, move |state, _| async move { leftovers::show(&state, id).await })
        .await?;
    Ok(HttpResponse::Ok().json(LeftoverBody { leftovers: render(sweep) }))
}

/// What became of something that was found.
fn outcome(is_removed: bool, kept: Option<&String>, may_be_removed: bool) -> String {
    match kept {
        _ if is_removed => "removed".to_owned(),
        Some(reason) => format!("not removed: {reason}"),
        None if may_be_removed => "may be removed".to_owned(),
        None => "left alone".to_owned(),
    }
}

fn render_host((place, leftover): (usize, HostLeftover), report: &HostReport) -> Leftover {
    let HostLeftover { host, thing, owner, age_seconds, why, may_be_removed } = leftover;
    Leftover {
        kind: thing.kind.as_str().to_owned(),
        id: thing.id(),
        name: thing.name,
        host: host.to_string(),
        project_id: owner.as_ref().map(|owner| owner.project_id.clone()),
        user_id: owner.map(|owner| owner.user_id.to_string()),
        size_bytes: thing.size_bytes,
        tag: String::new(),
        age_seconds,
        reason: why,
        outcome: outcome(report.removed.contains(&place), report.kept.get(&place), may_be_removed),
    }
}

fn render_unseen_hosts(order: &LeftoverOrder, report: &HostReport) -> Vec<UnseenHost> {
    let asked = report.unseen.iter().filter_map(|(branch, reason)| {
        let host = order.hosts.get(usize::from(*branch))?.to_string();
        Some(UnseenHost { host, reason: reason.clone() })
    });
    let silent = order.silent_hosts.iter().map(|host| UnseenHost {
        host: host.to_string(),
        reason: "its datamover gives no sign of life, or is of a version that cannot tell".to_owned(),
    });
    asked.chain(silent).collect()
}

fn render(Sweep { phase, order, report }: Sweep) -> Leftovers {
    let unseen = report.unseen.iter().filter_map(|(branch, reason)| {
        let owner = order.owners.get(usize::from(*branch))?;
        let (project_id, user_id) = (owner.project_id.clone(), owner.user_id.to_string());
        Some(Unseen { project_id, user_id, reason: reason.clone() })
    });
    let unseen = unseen.collect();
    let unseen_hosts = render_unseen_hosts(&order, &report.hosts);
    let of_hosts = report.hosts.leftovers.iter().cloned().enumerate();
    let of_hosts: Vec<Leftover> = of_hosts.map(|found| render_host(found, &report.hosts)).collect();
    let rows = report.leftovers.into_iter().map(|leftover| {
        let tag = &leftover.thing.tag;
        let outcome = outcome(report.removed.contains(tag), report.kept.get(tag), leftover.may_be_removed);
        let kind = serde_json::to_value(leftover.thing.kind).unwrap_or_default();
        Leftover {
            kind: kind.as_str().unwrap_or_default().to_owned(),
            id: leftover.thing.id,
            name: leftover.thing.name,
            host: String::new(),
            project_id: Some(leftover.owner.project_id),
            user_id: Some(leftover.owner.user_id.to_string()),
            size_bytes: None,
            tag: leftover.thing.tag,
            age_seconds: leftover.age_seconds,
            reason: leftover.why,
            outcome,
        }
    });
    Leftovers { phase, leftovers: rows.chain(of_hosts).collect(), unseen, unseen_hosts }
}
