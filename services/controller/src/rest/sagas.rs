//! `/sagas`

use std::future::Future;

use actix_web::{HttpResponse, web};
use rest_api::{LooseBool, NewDecision, SagaBody, SagaGraph, SagaGraphBody, SagaList};
use saga::OperatorVerb;
use saga::render::Format;
use serde::Deserialize;

use super::asked::Asked;
use super::body::Body;
use super::error::Reply;
use super::path::path_id;
use super::view::{show_saga, show_saga_summary};
use crate::app::{self, Action, Caller, sagas};
use crate::state::AppState;

const NOT_FOUND: &str = "SAGA_NOT_FOUND";

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    phase: Option<String>,
    #[serde(default)]
    all_projects: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct GraphQuery {
    #[serde(default)]
    format: Option<String>,
}

pub(super) async fn list(asked: Asked, query: web::Query<ListQuery>) -> Result<HttpResponse, Reply> {
    let filter = read_filter(&query)?;
    let all = asked
        .run(Action::SagaRead, move |state, caller| async move {
            let rows = sagas::list(&state, &caller, filter).await?;
            let show = |row| show_saga_summary(row, sagas::shape(&state, row));
            Ok(rows.iter().map(show).collect())
        })
        .await?;
    Ok(HttpResponse::Ok().json(SagaList { sagas: all }))
}

pub(super) async fn show(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    let id = path_id(&path.1, NOT_FOUND, "saga")?;
    reply(asked, Action::SagaRead, move |state, caller| async move { sagas::show(&state, &caller, id).await })
        .await
}

/// Of a saga as it stands, or of a kind of sagas.
pub(super) async fn draw(
    asked: Asked,
    path: web::Path<(String, String)>,
    query: web::Query<GraphQuery>,
) -> Result<HttpResponse, Reply> {
    let format = query.format.as_deref().filter(|text| !text.is_empty()).map(str::parse::<Format>);
    let format = format.transpose().map_err(|reason| Reply::invalid("QUERY_INVALID", reason))?;
    let format = format.unwrap_or(Format::Mermaid);
    let name = path.1.clone();
    let picture = asked
        .run(Action::SagaRead, move |state, caller| async move {
            sagas::draw(&state, &caller, &name, format).await
        })
        .await?;
    let graph = SagaGraph {
        kind: picture.kind,
        definition_version: picture.version,
        format: format.as_str().to_owned(),
        text: picture.text,
    };
    Ok(HttpResponse::Ok().json(SagaGraphBody { graph }))
}

pub(super) async fn cancel(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    let id = path_id(&path.1, NOT_FOUND, "saga")?;
    reply(
        asked,
        Action::SagaCancel,
        move |state, caller| async move { sagas::cancel(&state, &caller, id).await },
    )
    .await
}

pub(super) async fn retry(
    asked: Asked,
    path: web::Path<(String, String)>,
    body: Body<NewDecision>,
) -> Result<HttpResponse, Reply> {
    operate(asked, &path.1, OperatorVerb::Retry, body).await
}

pub(super) async fn skip(
    asked: Asked,
    path: web::Path<(String, String)>,
    body: Body<NewDecision>,
) -> Result<HttpResponse, Reply> {
    operate(asked, &path.1, OperatorVerb::Skip, body).await
}

pub(super) async fn abandon(
    asked: Asked,
    path: web::Path<(String, String)>,
    body: Body<NewDecision>,
) -> Result<HttpResponse, Reply> {
    operate(asked, &path.1, OperatorVerb::Abandon, body).await
}

async fn operate(
    asked: Asked,
    id: &str,
    verb: OperatorVerb,
    body: Body<NewDecision>,
) -> Result<HttpResponse, Reply> {
    let id = path_id(id, NOT_FOUND, "saga")?;
    let reason = body.0.reason;
    reply(asked, Action::SagaOperate, move |state, caller| async move {
        sagas::operate(&state, &caller, id, verb, &reason).await
    })
    .await
}

/// Replies with the saga that `work` gives.
async fn reply<F, W>(asked: Asked, action: Action, work: F) -> Result<HttpResponse, Reply>
where
    F: FnOnce(AppState, Caller) -> W + Send + 'static,
    W: Future<Output = Result<sagas::Parts, app::Error>> + Send + 'static,
{
    let saga = asked
        .run(action, move |state, caller| async move {
            let parts = work(state.clone(), caller).await?;
            Ok(show_saga(&parts, sagas::shape(&state, &parts.row)))
        })
        .await?;
    Ok(HttpResponse::Ok().json(SagaBody { saga }))
}

fn read_filter(query: &ListQuery) -> Result<sagas::Filter, Reply> {
    let invalid = |key: &str, reason: String| Reply::invalid("QUERY_INVALID", format!("{key}: {reason}"));
    let phase = query.phase.as_deref().filter(|text| !text.is_empty()).map(str::parse);
    let phase =
        phase.transpose().map_err(|error: model::InvalidState| invalid("phase", error.to_string()))?;
    let all = query.all_projects.as_deref().unwrap_or_default().parse::<LooseBool>();
    let all = all.map_err(|reason| invalid("all_projects", reason.to_string()))?;
    Ok(sagas::Filter { phase, all_projects: all.0 })
}
