//! An answer that is a success: as a whole, or part by part.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream::try_unfold;
use reqwest::Response;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;

use crate::transport::{broken, idle, read_all, request_id};
use crate::{Call, Error};

/// An answer whose body was not read yet.
#[derive(Debug)]
pub struct Answer {
    call: Box<Call>,
    response: Response,
    idle: Duration,
}

impl Answer {
    pub(crate) const fn new(call: Box<Call>, response: Response, idle: Duration) -> Self {
        Self { call, response, idle }
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The value of a header, if it is a text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// The service's name of the request, else ours.
    #[must_use]
    pub fn request_id(&self) -> String {
        request_id(self.headers()).unwrap_or_else(|| self.call.request_id.clone())
    }

    /// Reads the body, held in memory.
    ///
    /// Errors: `AnswerLost`, `AnswerInvalid`.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        read_all(&self.call, self.response, self.idle).await
    }

    /// Reads the body as JSON.
    ///
    /// Errors: `AnswerLost`, `AnswerInvalid`.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let request_id = self.request_id();
        let call = self.call.clone();
        let body = self.bytes().await?;
        serde_json::from_slice(&body).map_err(|error| Error::AnswerInvalid {
            call,
            reason: error.to_string(),
            request_id,
        })
    }

    /// Reads the body part by part, however long it is; each part must come in `Timeouts::idle`.
    ///
    /// Errors of the stream: `AnswerLost`; nothing comes after it. Where the service told a length, an end before it is an error.
    pub fn stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        try_unfold(self, |mut it| async move {
            match tokio::time::timeout(it.idle, it.response.chunk()).await {
                Err(_) => Err(idle(it.call.clone(), it.idle)),
                Ok(Err(source)) => Err(broken(&it.call, source)),
                Ok(Ok(part)) => Ok(part.map(|part| (part, it))),
            }
        })
    }
}
