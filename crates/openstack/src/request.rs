//! A request, put together and sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::transport::{Outgoing, Payload, new_request_id, sensitive};
use crate::{Answer, Error, Microversion, Service, Session};

/// A request to a service. Nothing happens before it is sent.
#[must_use = "nothing happens before it is sent"]
pub struct Request {
    session: Session,
    service: Service,
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    secret_headers: Vec<(&'static str, SecretString)>,
    body: Result<Payload, String>,
    content_type: Option<&'static str>,
    microversion: Option<Microversion>,
    is_repeatable: bool,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} {} {})", self.method, self.service, self.path)
    }
}

impl Request {
    pub(crate) fn new(session: &Session, service: Service, method: Method, path: &str) -> Self {
        let is_repeatable = matches!(method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE);
        Self {
            session: session.clone(),
            service,
            method,
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            secret_headers: Vec::new(),
            body: Ok(Payload::Empty),
            content_type: None,
            microversion: session.microversion(service),
            is_repeatable,
        }
    }

    /// With a parameter in its URL.
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// With a header. No secrets: it may be logged.
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// With a header that no log shows.
    pub(crate) fn secret_header(mut self, name: &'static str, value: &SecretString) -> Self {
        self.secret_headers.push((name, value.clone()));
        self
    }

    /// In another microversion than the session's.
    pub const fn microversion(mut self, version: Microversion) -> Self {
        self.microversion = Some(version);
        self
    }

    /// It may be done twice: a POST that changes nothing, or that finds what it did.
    pub const fn repeatable(mut self) -> Self {
        self.is_repeatable = true;
        self
    }

    /// With a body of JSON.
    pub fn body(mut self, body: &(impl Serialize + ?Sized)) -> Self {
        self.body =
            serde_json::to_vec(body).map(|it| Payload::Bytes(it.into())).map_err(|error| error.to_string());
        self.content_type.get_or_insert("application/json");
        self
    }

    /// With another type of body, for example `application/openstack-images-v2.1-json-patch`.
    pub const fn content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = Some(content_type);
        self
    }

    /// With a body that is sent part by part, however long it is; each part must leave in `Timeouts::idle`. It is sent once: never
    /// again after a failure.
    pub fn body_stream(
        mut self,
        parts: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    ) -> Self {
        let progress = Arc::new(Notify::new());
        let moved = progress.clone();
        let parts = parts.inspect(move |_| moved.notify_one());
        self.body = Ok(Payload::Stream(Some(reqwest::Body::wrap_stream(parts)), progress));
        self.content_type.get_or_insert("application/octet-stream");
        self
    }

    /// Sends it; gives the answer when it is a success, its body unread.
    pub async fn send(self) -> Result<Answer, Error> {
        let timeout = self.session.timeouts().request;
        self.send_within(Some(timeout)).await
    }

    /// Sends it; gives the answer to be read as a stream: without a limit on the whole.
    pub async fn send_for_stream(self) -> Result<Answer, Error> {
        self.send_within(None).await
    }

    /// Sends it and reads the answer.
    pub async fn json<T: DeserializeOwned>(mut self) -> Result<T, Error> {
        let session = self.session.clone();
        let attempts_max = session.attempts_max();
        // An answer may also break while it is read; only what can be made again is.
        let Some(mut again) = self.clone_repeatable() else { return self.send().await?.json().await };
        for _ in 1..attempts_max {
            match again.send().await?.json().await {
                Err(Error::AnswerLost { is_timeout: false, .. }) => {}
                outcome => return outcome,
            }
            again = self.clone_repeatable().expect("was so before");
        }
        again.send().await?.json().await
    }

    /// Sends it and reads the answer; none when the thing is not there.
    pub async fn json_if_found<T: DeserializeOwned>(self) -> Result<Option<T>, Error> {
        match self.json().await {
            Err(error) if error.is_gone() => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// Sends it; the answer says no more than that it was done.
    pub async fn done(self) -> Result<(), Error> {
        self.send().await.map(drop)
    }

    /// Sends it; that the thing is not there is as good as done: of deletes.
    pub async fn done_or_gone(self) -> Result<(), Error> {
        match self.done().await {
            Err(error) if error.is_gone() => Ok(()),
            outcome => outcome,
        }
    }

    fn clone_repeatable(&mut self) -> Option<Self> {
        let body = match &self.body {
            Ok(Payload::Empty) => Ok(Payload::Empty),
            Ok(Payload::Bytes(bytes)) => Ok(Payload::Bytes(bytes.clone())),
            Ok(Payload::Stream(..)) => return None,
            Err(error) => Err(error.clone()),
        };
        self.is_repeatable.then(|| Self {
            session: self.session.clone(),
            service: self.service,
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            secret_headers: self.secret_headers.clone(),
            body,
            content_type: self.content_type,
            microversion: self.microversion,
            is_repeatable: true,
        })
    }

    async fn send_within(self, timeout: Option<Duration>) -> Result<Answer, Error> {
        let Self { session, service, microversion, .. } = &self;
        let (session, service, microversion) = (session.clone(), *service, *microversion);
        let mut url = session.endpoint(service).await?;
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let root = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{root}/{}", path.trim_start_matches('/')));
        url.set_query(Some(query).filter(|it| !it.is_empty()));
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        let outgoing = Outgoing {
            headers: self.header_map()?,
            is_repeatable: self.is_repeatable && !matches!(self.body, Ok(Payload::Stream(..))),
            method: self.method,
            url,
            body: self
                .body
                .map_err(|error| Error::Config { reason: format!("a body is no JSON: {error}") })?,
            request_id: new_request_id(),
            timeout,
        };
        match session.send(outgoing).await {
            Err(Error::Answered(answered)) => match (&answered.versions_offered, microversion) {
                (Some(offered), Some(wanted)) => {
                    let offered = offered.clone();
                    Err(Error::VersionUnsupported { service, wanted, offered, call: answered.call })
                }
                _ => Err(Error::Answered(answered)),
            },
            outcome => outcome,
        }
    }

    fn header_map(&self) -> Result<HeaderMap, Error> {
        let mut map = HeaderMap::new();
        let mut insert = |name: &str, value: &str| {
            let invalid = |error: String| Error::Config { reason: format!("header {name}: {error}") };
            let key = HeaderName::try_from(name).map_err(|error| invalid(error.to_string()))?;
            let value = HeaderValue::try_from(value).map_err(|error| invalid(error.to_string()))?;
            map.insert(key, value);
            Ok(())
        };
        insert("accept", "application/json")?;
        if let Some(content_type) = self.content_type {
            insert(CONTENT_TYPE.as_str(), content_type)?;
        }
        for (name, value) in
            self.microversion.into_iter().flat_map(|it| self.service.microversion_headers(it))
        {
            insert(name, &value)?;
        }
        for (name, value) in &self.headers {
            insert(name, value)?;
        }
        for (name, value) in &self.secret_headers {
            map.insert(*name, sensitive(value)?);
        }
        Ok(map)
    }
}
