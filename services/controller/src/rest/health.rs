//! `/health`: whether requests can be served. Needs no token and tells no secrets.

use actix_web::{HttpResponse, web};
use rest_api::Health;

use super::asked::Door;
use super::error::Reply;
use crate::app::targets;
use crate::state::AppState;

pub(super) async fn show(door: web::Data<Door>) -> Result<HttpResponse, Reply> {
    let state = door.state.clone();
    let problems = door.run(async move { look(&state).await }).await?;
    let status = if problems.is_empty() { "ok" } else { "degraded" }.to_owned();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(HttpResponse::Ok().json(Health { status, version, problems }))
}

async fn look(state: &AppState) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(error) = state.catalog.read().await {
        problems.push(format!("the catalog: {error}"));
    }
    if let Ok(targets) = targets::list(state).await {
        let broken = targets.iter().filter_map(|parts| parts.space.as_ref().err().map(|why| (parts, why)));
        problems.extend(broken.map(|(parts, why)| format!("backup target {}: {why}", parts.info.name)));
    }
    problems
}
