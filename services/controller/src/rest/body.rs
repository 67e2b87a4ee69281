//! Bodies of requests: bounded, and refused with the place that is wrong.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::{FromRequest, HttpRequest, web};
use rest_api::Fault;
use serde::de::DeserializeOwned;

use super::error::Reply;

/// A restore.json of a few hundred instances with all their ports is some 500 KiB.
pub(super) const BODY_SIZE_MAX: usize = 1 << 20;

/// A JSON body, whatever its content type says; none at all is read as `{}`.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Reply;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Reply>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = web::Bytes::from_request(request, payload);
        Box::pin(async move {
            let bytes = bytes.await.map_err(|error| refuse_payload(&error))?;
            let text: &[u8] = if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes };
            serde_json::from_slice(text).map(Body).map_err(|error| {
                Reply::invalid("BODY_INVALID", format!("the body of the request is not valid: {error}"))
            })
        })
    }
}

fn refuse_payload(error: &actix_web::Error) -> Reply {
    // The limit is met either in the announced length or on the way; only the latter has a type of its own.
    let too_large = matches!(error.as_error(), Some(PayloadError::Overflow))
        || error.as_response_error().status_code() == actix_web::http::StatusCode::PAYLOAD_TOO_LARGE;
    if too_large {
        let message = format!("the body of the request is larger than {BODY_SIZE_MAX} bytes");
        Reply::new(Fault::TooLarge, "REQUEST_TOO_LARGE", message)
    } else {
        Reply::invalid("BODY_INVALID", "the body of the request ended early")
    }
}
