//! `/restores`, and `POST /snapshots/{id}`, which begins one.

use actix_web::{HttpResponse, web};
use model::{RestoreId, SnapshotId};
use rest_api::{
    NewRestore, NewRestoreBody, RestoreBody, RestoreInstanceOptions, RestoreKind, RestoreList, RestoreOptions,
};
use serde::Deserialize;
use serde_json::Value;

use super::asked::Asked;
use super::body::Body;
use super::error::Reply;
use super::path::{body_id, path_id};
use super::view::{show_restore, show_restore_summary};
use crate::app::restores::{self, Chosen, Selection};
use crate::app::{self, Action};

const NOT_FOUND: &str = "RESTORE_NOT_FOUND";
const SNAPSHOT_NOT_FOUND: &str = "SNAPSHOT_NOT_FOUND";

/// `{project}/workloads/{workload}/snapshots/{snapshot}/restores`
type LongPath = web::Path<(String, String, String)>;

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    snapshot_id: Option<String>,
}

pub(super) async fn create(
    asked: Asked,
    path: web::Path<(String, String)>,
    body: Body<NewRestoreBody>,
) -> Result<HttpResponse, Reply> {
    create_of(asked, path_id(&path.1, SNAPSHOT_NOT_FOUND, "snapshot")?, body.0.restore).await
}

pub(super) async fn create_long(
    asked: Asked,
    path: LongPath,
    body: Body<NewRestoreBody>,
) -> Result<HttpResponse, Reply> {
    create_of(asked, path_id(&path.2, SNAPSHOT_NOT_FOUND, "snapshot")?, body.0.restore).await
}

pub(super) async fn list(asked: Asked, query: web::Query<ListQuery>) -> Result<HttpResponse, Reply> {
    let snapshot_id =
        query.snapshot_id.as_deref().filter(|text| !text.is_empty()).map(body_id).transpose()?;
    list_of(asked, snapshot_id).await
}

pub(super) async fn list_long(asked: Asked, path: LongPath) -> Result<HttpResponse, Reply> {
    list_of(asked, Some(path_id(&path.2, SNAPSHOT_NOT_FOUND, "snapshot")?)).await
}

pub(super) async fn show(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    show_id(asked, path_id(&path.1, NOT_FOUND, "restore")?, None).await
}

pub(super) async fn show_long(
    asked: Asked,
    path: web::Path<(String, String, String, String)>,
) -> Result<HttpResponse, Reply> {
    let snapshot_id = path_id(&path.2, SNAPSHOT_NOT_FOUND, "snapshot")?;
    show_id(asked, path_id(&path.3, NOT_FOUND, "restore")?, Some(snapshot_id)).await
}

pub(super) async fn cancel(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    let id = path_id(&path.1, NOT_FOUND, "restore")?;
    let parts = asked
        .run(Action::RestoreCancel, move |state, caller| async move {
            restores::cancel(&state, &caller, id).await
        })
        .await?;
    Ok(HttpResponse::Ok().json(RestoreBody { restore: show_restore(&parts) }))
}

async fn create_of(asked: Asked, snapshot_id: SnapshotId, new: NewRestore) -> Result<HttpResponse, Reply> {
    let request = read_request(snapshot_id, new)?;
    let (parts, warning) = asked
        .run(Action::RestoreCreate, |state, caller| async move {
            let started = restores::create(&state, &caller, &request, None).await?;
            Ok((restores::show(&state, &caller, started.id).await?, started.warning))
        })
        .await?;
    let mut restore = show_restore(&parts);
    restore.summary.warning_msg = warning;
    Ok(HttpResponse::Accepted().json(RestoreBody { restore }))
}

async fn list_of(asked: Asked, snapshot_id: Option<SnapshotId>) -> Result<HttpResponse, Reply> {
    let all = asked
        .run(Action::RestoreRead, move |state, caller| async move {
            restores::list(&state, &caller, snapshot_id).await
        })
        .await?;
    Ok(HttpResponse::Ok().json(RestoreList { restores: all.iter().map(show_restore_summary).collect() }))
}

async fn show_id(asked: Asked, id: RestoreId, of: Option<SnapshotId>) -> Result<HttpResponse, Reply> {
    let parts = asked
        .run(
            Action::RestoreRead,
            move |state, caller| async move { restores::show(&state, &caller, id).await },
        )
        .await?;
    if of.is_some_and(|snapshot_id| snapshot_id != parts.row.snapshot_id) {
        return Err(app::Error::not_found(NOT_FOUND, "restore", &id).into());
    }
    Ok(HttpResponse::Ok().json(RestoreBody { restore: show_restore(&parts) }))
}

fn read_request(snapshot_id: SnapshotId, new: NewRestore) -> Result<restores::Request, Reply> {
    let options = new.options;
    let refuse = |what: &str| Reply::invalid("NOT_SUPPORTED", format!("{what} is not supported yet"));
    let kind = options.kind().map_err(|text| {
        let message = format!("restore_type {text:?} is not known: expected oneclick or selective");
        Reply::invalid("RESTORE_TYPE_INVALID", message)
    })?;
    if options.openstack.restore_topology.0 {
        return Err(refuse("a restore of the network topology (restore_topology)"));
    }
    let selection = match kind {
        RestoreKind::OneClick => Selection::OneClick,
        RestoreKind::Selective => Selection::Chosen(read_chosen(&options.openstack.instances)?),
        RestoreKind::InPlace => return Err(refuse("a restore in place (restore_type inplace)")),
    };
    let options_json = serde_json::to_string(&options)
        .map_err(|error| Reply::invalid("BODY_INVALID", format!("the options cannot be kept: {error}")))?;
    Ok(restores::Request {
        snapshot_id,
        warning: ignored(&options, kind),
        name: new.name.or(options.name),
        description: new.description.or(options.description),
        selection,
        options_json,
    })
}

fn read_chosen(instances: &[RestoreInstanceOptions]) -> Result<Vec<Chosen>, Reply> {
    let included = instances.iter().filter(|instance| instance.include.0);
    let chosen = |one: &RestoreInstanceOptions| {
        Ok(Chosen {
            instance_id: body_id(&one.id)?,
            new_name: one.name.clone().filter(|name| !name.is_empty()),
        })
    };
    included.map(chosen).collect()
}

/// Names the options that say something and change nothing, so that nobody counts on them.
fn ignored(options: &RestoreOptions, kind: RestoreKind) -> Option<String> {
    const WITHOUT_MEANING: [&str; 2] = ["restore_boot_disk", "availability_zone"];
    let says_something = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    };
    let mut names: Vec<&str> = Vec::new();
    if kind == RestoreKind::OneClick && !options.openstack.instances.is_empty() {
        names.push("instances (a one-click restore takes all)");
    }
    if options.openstack.networks_mapping.get("networks").is_some_and(says_something) {
        names.push("networks_mapping");
    }
    for instance in options.openstack.instances.iter().filter(|instance| instance.include.0) {
        let more = instance
            .more
            .iter()
            .filter(|(key, value)| !WITHOUT_MEANING.contains(&key.as_str()) && says_something(value));
        names.extend(more.map(|(key, _)| key.as_str()));
    }
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| format!("these options have no effect yet: {}", names.join(", ")))
}
