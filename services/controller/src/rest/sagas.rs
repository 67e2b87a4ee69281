//! `/sagas`

use actix_web::{HttpResponse, web};
use rest_api::{SagaBody, SagaList};

use super::asked::Asked;
use super::error::Reply;
use super::path::path_id;
use super::view::{show_saga, show_saga_summary};
use crate::app::{Action, sagas};

pub(super) async fn list(asked: Asked) -> Result<HttpResponse, Reply> {
    let all = asked
        .run(Action::SagaRead, |state, caller| async move {
            let rows = sagas::list(&state, &caller).await?;
            let show = |row| show_saga_summary(row, sagas::shape(&state, row));
            Ok(rows.iter().map(show).collect())
        })
        .await?;
    Ok(HttpResponse::Ok().json(SagaList { sagas: all }))
}

pub(super) async fn show(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    let id = path_id(&path.1, "SAGA_NOT_FOUND", "saga")?;
    let saga = asked
        .run(Action::SagaRead, move |state, caller| async move {
            let parts = sagas::show(&state, &caller, id).await?;
            Ok(show_saga(&parts, sagas::shape(&state, &parts.row)))
        })
        .await?;
    Ok(HttpResponse::Ok().json(SagaBody { saga }))
}
