//! `/workloads`

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use model::{InstanceId, WorkloadId};
use rest_api::{
    LooseBool, NewWorkload, NewWorkloadBody, SagaStarted, WorkloadBody, WorkloadChange, WorkloadChangeBody,
    WorkloadList,
};
use serde::Deserialize;
use serde_json::Value;

use super::asked::Asked;
use super::body::Body;
use super::error::Reply;
use super::path::{body_id, path_id};
use super::view::{show_workload, show_workload_summary};
use crate::app::workloads::Clearing;
use crate::app::{Action, workloads};

#[derive(Debug, Deserialize)]
pub(super) struct DeleteQuery {
    #[serde(default)]
    database_only: Option<String>,
}

pub(super) async fn create(asked: Asked, body: Body<NewWorkloadBody>) -> Result<HttpResponse, Reply> {
    let request = read_request(body.0.workload)?;
    let parts = asked
        .run(Action::WorkloadCreate, |state, caller| async move {
            workloads::create(&state, &caller, &request).await
        })
        .await?;
    Ok(HttpResponse::Accepted().json(WorkloadBody { workload: show_workload(&parts) }))
}

pub(super) async fn list(asked: Asked) -> Result<HttpResponse, Reply> {
    let rows = asked
        .run(Action::WorkloadRead, |state, caller| async move { workloads::list(&state, &caller).await })
        .await?;
    Ok(HttpResponse::Ok().json(WorkloadList { workloads: rows.iter().map(show_workload_summary).collect() }))
}

pub(super) async fn show(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    let id = path_id(&path.1, "WORKLOAD_NOT_FOUND", "workload")?;
    let parts = asked
        .run(
            Action::WorkloadRead,
            move |state, caller| async move { workloads::show(&state, &caller, id).await },
        )
        .await?;
    Ok(HttpResponse::Ok().json(WorkloadBody { workload: show_workload(&parts) }))
}

pub(super) async fn reset(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    clear(asked, &path.1, Action::WorkloadReset, Clearing::Reset).await
}

pub(super) async fn delete(
    asked: Asked,
    path: web::Path<(String, String)>,
    query: web::Query<DeleteQuery>,
) -> Result<HttpResponse, Reply> {
    let database_only = query.database_only.as_deref().unwrap_or_default().parse::<LooseBool>();
    let database_only = database_only
        .map_err(|reason| Reply::invalid("QUERY_INVALID", format!("database_only: {reason}")))?;
    let how = Clearing::Delete { database_only: database_only.0 };
    clear(asked, &path.1, Action::WorkloadDelete, how).await
}

async fn clear(asked: Asked, id: &str, action: Action, how: Clearing) -> Result<HttpResponse, Reply> {
    let id: WorkloadId = path_id(id, "WORKLOAD_NOT_FOUND", "workload")?;
    let workloads::Cleared { saga_id, stays } = asked
        .run(action, move |state, caller| async move { workloads::clear(&state, &caller, id, how).await })
        .await?;
    Ok(HttpResponse::Accepted().json(SagaStarted { saga_id, stays }))
}

pub(super) async fn change(
    asked: Asked,
    path: web::Path<(String, String)>,
    body: Body<WorkloadChangeBody>,
) -> Result<HttpResponse, Reply> {
    let id = path_id(&path.1, "WORKLOAD_NOT_FOUND", "workload")?;
    let change = read_change(body.0.workload)?;
    let parts = asked
        .run(Action::WorkloadModify, move |state, caller| async move {
            workloads::change(&state, &caller, id, &change).await
        })
        .await?;
    Ok(HttpResponse::Accepted().json(WorkloadBody { workload: show_workload(&parts) }))
}

fn read_change(change: WorkloadChange) -> Result<workloads::Change, Reply> {
    if !change.instances.is_empty() {
        return Err(refuse("other instances (instances)"));
    }
    let allow_partial = allow_partial(change.allow_partial, &change.metadata)?;
    let WorkloadChange { name, description, keep_base, workload_type, .. } = change;
    Ok(workloads::Change { name, description, keep_base, allow_partial, workload_type })
}

/// From either place.
fn allow_partial(
    given: Option<LooseBool>,
    metadata: &BTreeMap<String, Value>,
) -> Result<Option<bool>, Reply> {
    let noted = metadata.get("allow_partial").map(|value| serde_json::from_value::<LooseBool>(value.clone()));
    let noted = noted
        .transpose()
        .map_err(|_| Reply::invalid("BODY_INVALID", "allow_partial in metadata is not true or false"))?;
    Ok(given.or(noted).map(|on| on.0))
}

fn refuse(what: &str) -> Reply {
    Reply::invalid(
        "NOT_SUPPORTED",
        format!("{what} is not supported yet: leave it out, and nothing is changed"),
    )
}

/// Takes what a client of T4O sends, and refuses what would be promised and not kept.
fn read_request(new: NewWorkload) -> Result<workloads::Request, Reply> {
    let is_on =
        |value: &Value| serde_json::from_value::<rest_api::LooseBool>(value.clone()).map_or(true, |on| on.0);
    if new.jobschedule.get("enabled").is_some_and(is_on) {
        return Err(refuse("a schedule (jobschedule)"));
    }
    if new.encryption.is_some_and(|on| on.0) {
        return Err(refuse("encryption of a workload"));
    }
    if new.metadata.get("policy_id").is_some_and(|policy| !policy.is_null() && policy != "") {
        return Err(refuse("a policy (policy_id)"));
    }
    let ids: Result<Vec<InstanceId>, Reply> = new.instances.iter().map(|one| body_id(&one.0)).collect();
    let allow_partial = allow_partial(new.allow_partial, &new.metadata)?.unwrap_or_default();
    Ok(workloads::Request {
        workload_type: new.workload_type(),
        allow_partial,
        name: new.name,
        description: new.description,
        instance_ids: ids?,
        target: new.backup_target,
        keep_base: new.keep_base.unwrap_or_default(),
    })
}
