//! Every request gets an id: in its reply, and in each line logged for it.

use std::time::Instant;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use rest_api::REQUEST_ID_HEADER;
use runtime::Entropy;
use tracing::Instrument as _;

/// Wraps a request in its span, and puts its id on the reply.
pub(super) async fn name_request<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let id = format!("req-{}", Entropy.uuid());
    let span = tracing::info_span!(
        "request",
        request_id = %id,
        method = %request.method(),
        path = %request.path(),
        project = tracing::field::Empty,
        user = tracing::field::Empty,
    );
    let started_at = Instant::now();
    let mut response = next.call(request).instrument(span.clone()).await?;
    let header = HeaderValue::from_str(&id).expect("a request id is plain text");
    let name = HeaderName::from_bytes(REQUEST_ID_HEADER.as_bytes()).expect("a constant header name is valid");
    response.headers_mut().insert(name, header);
    let duration_ms = started_at.elapsed().as_millis();
    span.in_scope(|| tracing::info!(status = response.status().as_u16(), duration_ms, "request answered"));
    Ok(response)
}
