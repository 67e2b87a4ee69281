//! `/leftovers`, the operator's.

use actix_web::{HttpResponse, web};
use rest_api::{Leftover, LeftoverBody, Leftovers, NewSweepBody, SagaStarted, Unseen};

use super::asked::Asked;
use super::body::Body;
use super::error::Reply;
use super::path::path_id;
use crate::app::Action;
use crate::app::leftovers::{self, Request, Sweep};

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

fn render(Sweep { phase, order, report }: Sweep) -> Leftovers {
    let unseen = report.unseen.iter().filter_map(|(branch, reason)| {
        let owner = order.owners.get(usize::from(*branch))?;
        let (project_id, user_id) = (owner.project_id.clone(), owner.user_id.to_string());
        Some(Unseen { project_id, user_id, reason: reason.clone() })
    });
    let unseen = unseen.collect();
    let rows = report.leftovers.into_iter().map(|leftover| {
        let tag = &leftover.thing.tag;
        let outcome = match report.kept.get(tag) {
            _ if report.removed.contains(tag) => "removed".to_owned(),
            Some(reason) => format!("not removed: {reason}"),
            None if leftover.may_be_removed => "may be removed".to_owned(),
            None => "left alone".to_owned(),
        };
        let kind = serde_json::to_value(leftover.thing.kind).unwrap_or_default();
        Leftover {
            kind: kind.as_str().unwrap_or_default().to_owned(),
            id: leftover.thing.id,
            name: leftover.thing.name,
            project_id: leftover.owner.project_id,
            tag: leftover.thing.tag,
            age_seconds: leftover.age_seconds,
            reason: leftover.why,
            outcome,
        }
    });
    Leftovers { phase, leftovers: rows.collect(), unseen }
}
