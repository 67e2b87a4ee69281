//! The way to a service and back: connections, time limits, attempts.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use model::{ErrorClass, Timestamp};
use reqwest::header::{HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Response};
use runtime::{Clock, Entropy, RetryPolicy};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Notify;
use url::Url;

use crate::{Answered, Call, Config, Error, Timeouts, envelope};

/// Of an answer that refuses, no more is read.
const REFUSAL_SIZE_MAX: usize = 64 << 10;
/// A whole answer in memory: ten thousand servers in all detail are some 40 MiB.
const ANSWER_SIZE_MAX: usize = 128 << 20;

/// Connections to all services of a cloud. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Keeps connections.
    reusing: Client,
    /// Does not. A request that may not be repeated never meets a connection that the other side has closed meanwhile: its
    /// answer would be lost, and nobody knew whether it was done.
    fresh: Client,
    timeouts: Timeouts,
    retry: RetryPolicy,
    retry_after_max: Duration,
    clock: Arc<dyn Clock>,
}

/// One request, before it is sent.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Payload,
    pub(crate) request_id: String,
    pub(crate) is_repeatable: bool,
    /// None: a stream comes back.
    pub(crate) timeout: Option<Duration>,
}

pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    /// Sent once; it says when a part has left.
    Stream(Option<reqwest::Body>, Arc<Notify>),
}

impl Outgoing {
    /// How it is named.
    pub(crate) fn call(&self) -> Box<Call> {
        let mut url = self.url.clone();
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        Box::new(Call {
            method: self.method.to_string(),
            url: url.to_string(),
            request_id: self.request_id.clone(),
            is_repeatable: self.is_repeatable,
        })
    }
}

/// A name for a request of ours, as services want it.
pub(crate) fn new_request_id() -> String {
    format!("req-{}", Entropy.uuid())
}

impl Transport {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let Config { timeouts, retry, retry_after_max, clock, .. } = config.clone();
        let reusing = build(client(config)?)?;
        let fresh = build(client(config)?.pool_max_idle_per_host(0))?;
        let inner = Inner { reusing, fresh, timeouts, retry, retry_after_max, clock };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.inner.timeouts
    }

    /// Sends it, again when that may help and cannot harm. Gives an answer that is a success.
    pub(crate) async fn send(&self, outgoing: &mut Outgoing) -> Result<Response, Error> {
        let mut attempt = 1;
        loop {
            let error = match self.attempt(outgoing).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let is_sendable = !matches!(outgoing.body, Payload::Stream(None, _));
            let Some(pause) = self.pause(&error, attempt).filter(|_| is_sendable) else { return Err(error) };
            tracing::debug!(attempt, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), error = %error, "request failed, will retry");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// How long to wait before another attempt; none: no other attempt.
    fn pause(&self, error: &Error, attempt: u32) -> Option<Duration> {
        let Inner { retry, retry_after_max, .. } = &*self.inner;
        if !retry.allows_after(attempt) {
            return None;
        }
        let jittered = retry.delay(attempt, Entropy.fraction());
        match (error, error.class()) {
            // Whoever had all his time has made us wait enough.
            (Error::AnswerLost { is_timeout: true, .. }, _) => None,
            // Most likely a kept connection that the other side had closed: uwsgi does so without saying it.
            (Error::AnswerLost { .. }, ErrorClass::Transient) if attempt == 1 => Some(Duration::ZERO),
            (_, ErrorClass::Transient | ErrorClass::Throttled) => {
                let asked = error.answered().and_then(|it| it.retry_after).unwrap_or_default();
                // Everybody who was refused at once was told the same: the jitter goes on top.
                (asked <= *retry_after_max).then(|| asked + jittered)
            }
            _ => None,
        }
    }

    async fn attempt(&self, outgoing: &mut Outgoing) -> Result<Response, Error> {
        let Inner { reusing, fresh, timeouts, clock, .. } = &*self.inner;
        let call = outgoing.call();
        let client = if outgoing.is_repeatable { reusing } else { fresh };
        let mut request =
            client.request(outgoing.method.clone(), outgoing.url.clone()).headers(outgoing.headers.clone());
        let mut progress = None;
        let mut idle_max = outgoing.timeout.is_none().then_some(timeouts.idle);
        match &mut outgoing.body {
            Payload::Empty => {}
            Payload::Bytes(bytes) => request = request.body(bytes.clone()),
            Payload::Stream(stream, parts) => {
                let stream = stream.take().expect("a stream is sent once: `send` looks");
                request = request.body(stream);
                progress = Some(parts.clone());
                idle_max = Some(timeouts.idle);
            }
        }
        if let Some(timeout) = outgoing.timeout.filter(|_| idle_max.is_none()) {
            request = request.timeout(timeout);
        }
        let sent = until_idle(request.send(), progress.as_deref(), idle_max).await;
        let response = match sent {
            Some(Ok(response)) => response,
            Some(Err(source)) => return Err(no_answer(call, source)),
            None => return Err(idle(call, timeouts.idle)),
        };
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(call, response, clock.now(), timeouts.idle).await)
    }
}

/// Waits for `work` as long as something moves; without an `idle_max` it has a limit of its own.
async fn until_idle<T>(
    work: impl Future<Output = T>,
    progress: Option<&Notify>,
    idle_max: Option<Duration>,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        let moved = async {
            match progress {
                Some(parts) => parts.notified().await,
                None => std::future::pending().await,
            }
        };
        // Cancel safe: `work` is kept, and a notification that nobody waits for is kept by `Notify`.
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            () = moved => {}
            () = tokio::time::sleep(idle_max.unwrap_or_default()), if idle_max.is_some() => return None,
        }
    }
}

pub(crate) fn idle(call: Box<Call>, after: Duration) -> Error {
    let what = format!("nothing moved for {} s", after.as_secs());
    Error::AnswerLost { call, what, is_timeout: true, source: None }
}

pub(crate) fn no_answer(call: Box<Call>, source: reqwest::Error) -> Error {
    let source = source.without_url();
    if source.is_connect() {
        return Error::Unreachable { call, source };
    }
    let is_timeout = source.is_timeout();
    let what = if is_timeout { "it took too long" } else { "the connection broke" };
    Error::AnswerLost { call, what: what.to_owned(), is_timeout, source: Some(source) }
}

async fn refusal(call: Box<Call>, response: Response, now: Timestamp, idle: Duration) -> Error {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let request_id = request_id(&headers).unwrap_or_else(|| call.request_id.clone());
    let retry_after =
        headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok()).and_then(|text| retry_after(text, now));
    // The status counts; a sentence that does not come is not waited for.
    let body = read_up_to(response, REFUSAL_SIZE_MAX, idle).await.unwrap_or_default();
    let mut message = envelope::message(&body);
    if let (300..400, Some(place)) = (status, headers.get(LOCATION).and_then(|it| it.to_str().ok())) {
        // The header with our token would go there too.
        message = format!("it is moved to {place}, and we do not follow: correct the address");
    }
    let versions_offered = if status == 406 { envelope::offered_versions(&body) } else { None };
    if let Some(offered) = &versions_offered {
        message = format!("it offers the microversions {offered}");
    }
    let is_api = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
    Error::Answered(Box::new(Answered {
        call,
        status,
        message,
        is_api,
        request_id,
        retry_after,
        versions_offered,
    }))
}

/// Reads what fits.
async fn read_up_to(mut response: Response, size_max: usize, idle: Duration) -> Option<Bytes> {
    let mut body = BytesMut::new();
    while body.len() < size_max {
        match tokio::time::timeout(idle, response.chunk()).await.ok()?.ok()? {
            Some(part) => body.extend_from_slice(&part),
            None => break,
        }
    }
    body.truncate(size_max);
    Some(body.freeze())
}

/// Reads a whole answer.
///
/// Errors: it breaks off, or is larger than `ANSWER_SIZE_MAX`.
pub(crate) async fn read_all(
    call: &Call,
    mut response: Response,
    idle_max: Duration,
) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    let request_id = request_id(response.headers()).unwrap_or_else(|| call.request_id.clone());
    loop {
        let part = tokio::time::timeout(idle_max, response.chunk()).await;
        let part = part
            .map_err(|_| idle(Box::new(call.clone()), idle_max))?
            .map_err(|source| broken(call, source))?;
        let Some(part) = part else { return Ok(body.freeze()) };
        if body.len() + part.len() > ANSWER_SIZE_MAX {
            let reason = format!("more than {ANSWER_SIZE_MAX} bytes");
            return Err(Error::AnswerInvalid { call: Box::new(call.clone()), reason, request_id });
        }
        body.extend_from_slice(&part);
    }
}

/// An answer that broke off under way.
pub(crate) fn broken(call: &Call, source: reqwest::Error) -> Error {
    no_answer(Box::new(call.clone()), source)
}

/// The service's name of a request.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<String> {
    let header = |name| headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
    header("x-openstack-request-id").or_else(|| header("x-compute-request-id"))
}

/// Seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some(Timestamp(date.timestamp_micros()).since(now))
}

/// A header that no log shows.
pub(crate) fn sensitive(token: &SecretString) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(token.expose_secret())
        .map_err(|_| Error::Config { reason: "the token holds bytes that no header may".to_owned() })?;
    value.set_sensitive(true);
    Ok(value)
}

fn client(config: &Config) -> Result<reqwest::ClientBuilder, Error> {
    let mut builder = Client::builder()
        .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(config.timeouts.connect)
        // Shorter than Apache's 5 s, the shortest of the usual servers.
        .pool_idle_timeout(Duration::from_secs(4))
        .redirect(reqwest::redirect::Policy::none())
        // We have our own.
        .retry(reqwest::retry::never());
    if let Some(path) = &config.ca_file {
        let invalid = |error: String| Error::Config { reason: format!("cacert {}: {error}", path.display()) };
        let pem = std::fs::read(path).map_err(|error| invalid(error.to_string()))?;
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| invalid(error.to_string()))?;
        if certificates.is_empty() {
            return Err(invalid("it holds no certificate in PEM".to_owned()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    Ok(builder)
}

fn build(builder: reqwest::ClientBuilder) -> Result<Client, Error> {
    builder
        .build()
        .map_err(|error| Error::Config { reason: format!("no client of HTTP can be made: {error}") })
}
