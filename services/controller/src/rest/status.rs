//! `/status`: the whole site's, so for admins only.

use actix_web::HttpResponse;
use rest_api::{Fault, StatusBody};

use super::asked::Asked;
use super::error::Reply;
use crate::app::Action;

pub(super) async fn show(asked: Asked) -> Result<HttpResponse, Reply> {
    let latest = asked.run(Action::StatusRead, |state, _| async move { Ok(state.status.latest()) }).await?;
    let message = "nothing is gathered yet: ask again in a moment";
    let status = latest.ok_or_else(|| Reply::new(Fault::Unavailable, "STATUS_NOT_GATHERED", message))?;
    Ok(HttpResponse::Ok().json(StatusBody { status: status.as_ref().clone() }))
}
