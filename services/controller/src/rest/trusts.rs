//! `/trusts`

use actix_web::{HttpResponse, web};
use rest_api::{NewTrustBody, TrustList, TrustValidity};

use super::asked::Asked;
use super::body::Body;
use super::error::Reply;
use super::path::path_id;
use super::view::show_trust;
use crate::app::{Action, trusts};

pub(super) async fn list(asked: Asked) -> Result<HttpResponse, Reply> {
    let rows = asked
        .run(Action::TrustRead, |state, caller| async move { trusts::list(&state, &caller).await })
        .await?;
    Ok(HttpResponse::Ok().json(TrustList { trusts: rows.iter().map(show_trust).collect() }))
}

/// T4O's clients expect a list of one.
pub(super) async fn create(asked: Asked, body: Body<NewTrustBody>) -> Result<HttpResponse, Reply> {
    let wanted = body.0.trusts;
    if wanted.is_cloud_trust.is_some_and(|on| on.0) {
        let message = "a trust of the whole cloud is not made here: leave is_cloud_trust out";
        return Err(Reply::invalid("NOT_SUPPORTED", message));
    }
    let row = asked
        .run(Action::TrustCreate, move |state, caller| async move {
            trusts::create(&state, &caller, wanted.role_name.as_deref()).await
        })
        .await?;
    Ok(HttpResponse::Ok().json(TrustList { trusts: vec![show_trust(&row)] }))
}

pub(super) async fn show(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    let name = path.into_inner().1;
    let row = asked
        .run(
            Action::TrustRead,
            move |state, caller| async move { trusts::show(&state, &caller, &name).await },
        )
        .await?;
    Ok(HttpResponse::Ok().json(TrustList { trusts: vec![show_trust(&row)] }))
}

pub(super) async fn delete(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    let name = path.into_inner().1;
    asked
        .run(
            Action::TrustDelete,
            move |state, caller| async move { trusts::delete(&state, &caller, &name).await },
        )
        .await?;
    Ok(HttpResponse::Ok().json(TrustList { trusts: Vec::new() }))
}

/// Whether jobs of a workload could run.
pub(super) async fn validate(asked: Asked, path: web::Path<(String, String)>) -> Result<HttpResponse, Reply> {
    let id = path_id(&path.1, "WORKLOAD_NOT_FOUND", "workload")?;
    let validity = asked
        .run(
            Action::TrustRead,
            move |state, caller| async move { trusts::validate(&state, &caller, id).await },
        )
        .await?;
    Ok(HttpResponse::Ok().json(TrustValidity {
        scheduler_enabled: false,
        is_valid: validity.reason.is_none(),
        trust: validity.trust.as_ref().map(show_trust),
        scheduler_obj: None,
        reason: validity.reason,
    }))
}
