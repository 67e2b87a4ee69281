//! `/snapshots`, and `POST /workloads/{id}`, which takes one.

use actix_web::{HttpResponse, web};
use model::{SnapshotId, SnapshotKind, WorkloadId};
use rest_api::{LooseBool, NewSnapshotBody, SnapshotBody, SnapshotList};
use serde::Deserialize;

use super::asked::Asked;
use super::body::Body;
use super::error::Reply;
use super::path::{body_id, path_id};
use super::view::{show_snapshot, show_snapshot_summary};
use crate::app::{self, Action, snapshots};

const NOT_FOUND: &str = "SNAPSHOT_NOT_FOUND";

#[derive(Debug, Deserialize)]
pub(super) struct CreateQuery {
    /// The only say in it: T4O's clients put `full` into the body of incrementals too.
    #[serde(default)]
    full: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    workload_id: Option<String>,
}

pub(super) async fn create(
    asked: Asked,
    path: web::Path<(String, String)>,
    query: web::Query<CreateQuery>,
    body: Body<NewSnapshotBody>,
) -> Result<HttpResponse, Reply> {
    let workload_id = path_id(&path.1, "WORKLOAD_NOT_FOUND", "workload")?;
    let request = read_request(workload_id, &query, body.0)?;
    let (parts, warning) = asked
        .run(Action::SnapshotCreate, |state, caller| async move {
            let started = snapshots::create(&state, &caller, &request, None).await?;
            Ok((snapshots::show(&state, &caller, started.id).await?, started.warning))
        })
        .await?;
    let mut snapshot = show_snapshot(&parts);
    snapshot.summary.warning_msg = warning;
    Ok(HttpResponse::Ok().json(SnapshotBody { snapshot }))
}

pub(super) async fn list(asked: Asked, query: web::Query<ListQuery>) -> Result<HttpResponse, Reply> {
    let workload_id =
        query.workload_id.as_deref().filter(|text| !text.is_empty()).map(body_id).transpose()?;
    let all = asked
        .run(Action::SnapshotRead, move |state, caller| async move {
            snapshots::list(&state, &caller, snapshots::Filter { workload_id }).await
        })
        .await?;
    Ok(HttpResponse::Ok().json(SnapshotList { snapshots: all.iter().map(show_snapshot_summary).collect() }))
}

pub(super) async fn show(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    let id = path_id(&path.1, NOT_FOUND, "snapshot")?;
    show_id(asked, id, None).await
}

pub(super) async fn show_long(
    asked: Asked,
    path: web::Path<(String, String, String)>,
) -> Result<HttpResponse, Reply> {
    let workload_id = path_id(&path.1, "WORKLOAD_NOT_FOUND", "workload")?;
    let id = path_id(&path.2, NOT_FOUND, "snapshot")?;
    show_id(asked, id, Some(workload_id)).await
}

pub(super) async fn cancel(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    let id = path_id(&path.1, NOT_FOUND, "snapshot")?;
    let parts = asked
        .run(Action::SnapshotCancel, move |state, caller| async move {
            snapshots::cancel(&state, &caller, id).await
        })
        .await?;
    Ok(HttpResponse::Ok().json(SnapshotBody { snapshot: show_snapshot(&parts) }))
}

async fn show_id(asked: Asked, id: SnapshotId, of: Option<WorkloadId>) -> Result<HttpResponse, Reply> {
    let parts = asked
        .run(
            Action::SnapshotRead,
            move |state, caller| async move { snapshots::show(&state, &caller, id).await },
        )
        .await?;
    if of.is_some_and(|workload_id| workload_id != parts.row.workload_id) {
        return Err(app::Error::not_found(NOT_FOUND, "snapshot", &id).into());
    }
    Ok(HttpResponse::Ok().json(SnapshotBody { snapshot: show_snapshot(&parts) }))
}

fn read_request(
    workload_id: WorkloadId,
    query: &CreateQuery,
    body: NewSnapshotBody,
) -> Result<snapshots::Request, Reply> {
    let full = query.full.as_deref().unwrap_or_default().parse::<LooseBool>();
    let full = full.map_err(|reason| Reply::invalid("QUERY_INVALID", format!("full: {reason}")))?;
    Ok(snapshots::Request {
        workload_id,
        kind: if full.0 { SnapshotKind::Full } else { SnapshotKind::Incremental },
        name: body.snapshot.name,
        description: body.snapshot.description,
    })
}
