//! `/doctor`: what is wrong. All of the site for administrators, their own project for others.

use actix_web::{HttpResponse, web};
use rest_api::{DoctorCheck, DoctorReport};
use serde::Deserialize;

use super::asked::Asked;
use super::error::Reply;
use super::path::path_id;
use crate::app::Action;
use crate::doctor::{self, Finding};

#[derive(Debug, Deserialize)]
pub(super) struct Query {
    workload: Option<String>,
}

pub(super) async fn show(asked: Asked, query: web::Query<Query>) -> Result<HttpResponse, Reply> {
    let named = query.workload.as_deref();
    let named = named.map(|text| path_id(text, "WORKLOAD_NOT_FOUND", "workload")).transpose()?;
    let findings = asked
        .run(
            Action::DoctorRead,
            move |state, caller| async move { doctor::examine(&state, &caller, named).await },
        )
        .await?;
    Ok(HttpResponse::Ok().json(DoctorReport { checks: findings.into_iter().map(show_finding).collect() }))
}

fn show_finding(finding: Finding) -> DoctorCheck {
    let Finding { service, host, check } = finding;
    DoctorCheck {
        service: service.to_owned(),
        host,
        check: check.subject,
        result: check.verdict,
        code: check.code,
        message: check.message,
    }
}
