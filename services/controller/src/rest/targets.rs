//! `/targets`

use actix_web::HttpResponse;
use rest_api::{Target, TargetList};

use super::asked::Asked;
use super::error::Reply;
use crate::app::Action;
use crate::app::targets::{self, Parts};

pub(super) async fn list(asked: Asked) -> Result<HttpResponse, Reply> {
    let targets = asked
        .run(Action::TargetRead, |state, caller| async move {
            let all = targets::list(&state).await?;
            Ok(all.iter().map(|parts| show_target(parts, caller.is_admin())).collect())
        })
        .await?;
    Ok(HttpResponse::Ok().json(TargetList { targets }))
}

fn show_target(parts: &Parts, with_path: bool) -> Target {
    let space = parts.space.as_ref().ok();
    Target {
        id: parts.info.id,
        name: parts.info.name.clone(),
        kind: "posix".to_owned(),
        status: if space.is_some() { "available" } else { "offline" }.to_owned(),
        capacity: space.map(|space| space.total.0),
        available: space.map(|space| space.free.0),
        error_msg: parts.space.as_ref().err().cloned(),
        path: with_path.then(|| parts.info.path.display().to_string()),
    }
}
