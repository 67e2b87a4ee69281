//! The one map from what went wrong to HTTP.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use model::ErrorClass;
use rest_api::{ErrorBody, Fault};
use service_kit::telemetry::Chain;

use crate::app::{self, Refusal};

/// A reply that is no success.
#[derive(Debug)]
pub(super) struct Reply {
    fault: Fault,
    code: String,
    message: String,
}

impl Reply {
    pub(super) fn new(fault: Fault, code: &str, message: impl Into<String>) -> Self {
        Self { fault, code: code.to_owned(), message: message.into() }
    }

    pub(super) fn invalid(code: &str, message: impl Into<String>) -> Self {
        Self::new(Fault::BadRequest, code, message)
    }
}

impl From<app::Error> for Reply {
    fn from(error: app::Error) -> Self {
        let failure = error.failure();
        let fault = match &error {
            app::Error::Refused { refusal: Refusal::Invalid, .. } => Fault::BadRequest,
            app::Error::Refused { refusal: Refusal::Forbidden, .. } => Fault::Forbidden,
            app::Error::Refused { refusal: Refusal::NotFound, .. } => Fault::NotFound,
            app::Error::Refused { refusal: Refusal::Conflict, .. } => Fault::Conflict,
            app::Error::Cloud(failure) => fault_of_cloud(failure.class),
            app::Error::Trust(failure) => fault_of_trust(failure.class),
            app::Error::Catalog(error) => fault_of_catalog(error),
            app::Error::Bus(_) => Fault::Unavailable,
            app::Error::Engine(_) => Fault::Internal,
        };
        let message = match fault {
            // What broke inside is for the log; users get the code and the request's id to quote.
            Fault::Internal => {
                tracing::error!(code = failure.code, error = %Chain(&error), "request failed");
                "something broke inside Holdfast: tell the operator the request id of this reply".to_owned()
            }
            Fault::Unavailable => {
                tracing::warn!(code = failure.code, error = %Chain(&error), "request could not be served");
                format!("{}: try again in a moment", failure.message)
            }
            _ => failure.message,
        };
        Self::new(fault, &failure.code, message)
    }
}

const fn fault_of_cloud(class: ErrorClass) -> Fault {
    match class {
        ErrorClass::Permanent => Fault::BadRequest,
        ErrorClass::Bug => Fault::Internal,
        _ => Fault::Unavailable,
    }
}

/// A trust that does not hold is a state of things; the request was right.
const fn fault_of_trust(class: ErrorClass) -> Fault {
    match class {
        ErrorClass::Permanent => Fault::Conflict,
        class => fault_of_cloud(class),
    }
}

const fn fault_of_catalog(error: &catalog::Error) -> Fault {
    match error {
        catalog::Error::InstanceTaken { .. }
        | catalog::Error::Held { .. }
        | catalog::Error::Pinned { .. }
        | catalog::Error::IllegalTransition(_) => Fault::Conflict,
        catalog::Error::NotFound { .. } => Fault::NotFound,
        catalog::Error::Value { .. } => Fault::BadRequest,
        _ if error.class().may_pass() => Fault::Unavailable,
        _ => Fault::Internal,
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for Reply {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.fault.status()).expect("the statuses of faults are valid")
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status_code()).json(ErrorBody::new(self.fault, &self.code, &self.message))
    }
}
