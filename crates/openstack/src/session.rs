//! A user at a cloud: logs in by itself, finds the services, renews the token before it ends.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::SecretString;
use serde::Serialize;
use tokio::sync::Mutex;
use url::Url;

use crate::catalog::root;
use crate::token::TokenBody;
use crate::transport::{Outgoing, Payload, Transport, new_request_id, read_all, sensitive};
use crate::{Answer, Auth, Config, Error, Microversion, Request, Service, Timeouts, Token};

/// A token that ends this soon is renewed: what a request does with it behind the API takes a moment too. Of a life that is short,
/// a quarter.
const RENEWAL_MARGIN_MAX: Duration = Duration::from_secs(120);

/// A user at a cloud. Cheap to clone; all clones share token and connections.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    transport: Transport,
    /// Held while Keystone is asked, so that it is asked once.
    token: Mutex<Option<Held>>,
}

struct Held {
    token: Arc<Token>,
    /// By our own clock: Keystone's may be another.
    renew_at: Instant,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("auth", &self.inner.config.auth).finish_non_exhaustive()
    }
}

impl Session {
    /// A session that logs in when it is needed.
    ///
    /// Errors: `Config` when the certificates cannot be read.
    pub fn new(config: Config) -> Result<Self, Error> {
        let transport = Transport::new(&config)?;
        Ok(Self::over(transport, config))
    }

    /// Another user at the same cloud, over the same connections.
    #[must_use]
    pub fn with_auth(&self, auth: Auth) -> Self {
        let config = Config { auth, ..self.inner.config.clone() };
        Self::over(self.inner.transport.clone(), config)
    }

    /// The same user as trustee.
    #[must_use]
    pub fn with_trust(&self, trust_id: &str) -> Self {
        self.with_auth(self.inner.config.auth.clone().with_trust(trust_id))
    }

    fn over(transport: Transport, config: Config) -> Self {
        Self { inner: Arc::new(Inner { config, transport, token: Mutex::new(None) }) }
    }

    /// Who it is.
    #[must_use]
    pub fn auth(&self) -> &Auth {
        &self.inner.config.auth
    }

    /// A token that is good for a while.
    ///
    /// Errors: `LoginRefused`, or those of the way to Keystone.
    pub async fn token(&self) -> Result<Arc<Token>, Error> {
        let mut held = self.inner.token.lock().await;
        let asked_at = self.inner.config.clock.monotonic();
        if let Some(Held { token, renew_at }) = &*held
            && (asked_at < *renew_at || !self.auth().is_renewable())
        {
            return Ok(token.clone());
        }
        let token = Arc::new(self.log_in().await?);
        let life = token.info.expires_at.since(token.info.issued_at);
        let renew_at = asked_at + life.saturating_sub(RENEWAL_MARGIN_MAX.min(life / 4));
        *held = Some(Held { token: token.clone(), renew_at });
        Ok(token)
    }

    /// The project that the token is scoped to.
    ///
    /// Errors: as `token`; `Config` when it is scoped to none.
    pub async fn project_id(&self) -> Result<String, Error> {
        let project = self.token().await?.info.project.as_ref().map(|project| project.id.clone());
        project
            .ok_or_else(|| Error::Config { reason: format!("the token of {} has no project", self.auth()) })
    }

    /// The user that the token stands for.
    ///
    /// Errors: as `token`.
    pub async fn user_id(&self) -> Result<String, Error> {
        Ok(self.token().await?.info.user.id.clone())
    }

    /// The names of the token's roles.
    ///
    /// Errors: as `token`.
    pub async fn roles(&self) -> Result<Vec<String>, Error> {
        Ok(self.token().await?.info.roles.iter().map(|role| role.name.clone()).collect())
    }

    /// The root of a service's API.
    ///
    /// Errors: as `token`; the catalog has no such endpoint.
    pub async fn endpoint(&self, service: Service) -> Result<Url, Error> {
        let Config { interface, region, endpoints, .. } = &self.inner.config;
        if let Some(url) = endpoints.get(&service) {
            return root(service, url.as_str());
        }
        let token = self.token().await?;
        match token.info.catalog.endpoint(service, *interface, region.as_deref()) {
            // Clouds of several regions have one Keystone, which not each of them lists.
            Err(Error::EndpointMissing { service: Service::Identity, .. }) => Ok(self.auth().url().clone()),
            found => found,
        }
    }

    /// Reads. `path` is below the service's root and may have a query; whatever comes into it must be an id or escaped.
    pub fn get(&self, service: Service, path: &str) -> Request {
        Request::new(self, service, Method::GET, path)
    }

    /// Makes or does. Its answer lost, nobody knows whether it was done: `ErrorClass::Indeterminate`.
    pub fn post(&self, service: Service, path: &str, body: &(impl Serialize + ?Sized)) -> Request {
        Request::new(self, service, Method::POST, path).body(body)
    }

    /// Makes it so.
    pub fn put(&self, service: Service, path: &str, body: &(impl Serialize + ?Sized)) -> Request {
        Request::new(self, service, Method::PUT, path).body(body)
    }

    /// Changes. Its answer lost, nobody knows whether it was done, unless it is `repeatable`.
    pub fn patch(&self, service: Service, path: &str, body: &(impl Serialize + ?Sized)) -> Request {
        Request::new(self, service, Method::PATCH, path).body(body)
    }

    /// Removes.
    pub fn delete(&self, service: Service, path: &str) -> Request {
        Request::new(self, service, Method::DELETE, path)
    }

    /// Any other request, without a body: `PUT` of a stream, `HEAD`.
    pub fn request(&self, method: Method, service: Service, path: &str) -> Request {
        Request::new(self, service, method, path)
    }

    /// Removes; that it is gone already is as good.
    ///
    /// Errors: those of the request.
    pub async fn delete_if_there(&self, service: Service, path: &str) -> Result<(), Error> {
        self.delete(service, path).done_or_gone().await
    }

    pub(crate) fn microversion(&self, service: Service) -> Option<Microversion> {
        self.inner.config.microversions.get(&service).copied().or_else(|| service.microversion())
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.inner.transport.timeouts()
    }

    pub(crate) fn attempts_max(&self) -> u32 {
        self.inner.config.retry.attempts_max.unwrap_or(u32::MAX)
    }

    /// Sends with our token; once again with a new one when the service does not take it.
    pub(crate) async fn send(&self, mut outgoing: Outgoing) -> Result<Answer, Error> {
        let Inner { transport, config, .. } = &*self.inner;
        let token = self.token().await?;
        outgoing.headers.insert("x-auth-token", sensitive(token.secret())?);
        name_request(&mut outgoing)?;
        let outcome = match transport.send(&mut outgoing).await {
            // The service did nothing: any method may be sent again. A stream is gone.
            Err(Error::Answered(answered))
                if answered.status == 401 && !matches!(outgoing.body, Payload::Stream(..)) =>
            {
                if !config.auth.is_renewable() {
                    return Err(Error::TokenEnded { answered });
                }
                self.forget(&token).await;
                outgoing.headers.insert("x-auth-token", sensitive(self.token().await?.secret())?);
                transport.send(&mut outgoing).await
            }
            outcome => outcome,
        };
        if let Err(Error::Answered(answered)) = &outcome
            && answered.status == 401
        {
            self.forget(&token).await;
        }
        outcome.map(|response| Answer::new(outgoing.call(), response, transport.timeouts().idle))
    }

    /// Takes no more of a token that was refused; one that somebody renewed meanwhile stays.
    async fn forget(&self, token: &Token) {
        let mut held = self.inner.token.lock().await;
        if held.as_ref().is_some_and(|it| it.token.is(token)) {
            *held = None;
        }
    }

    async fn log_in(&self) -> Result<Token, Error> {
        let Inner { transport, config, .. } = &*self.inner;
        let auth = &config.auth;
        let mut url = auth.url().clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(["auth", "tokens"]);
        }
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        let (method, body) = match auth.given_token() {
            Some(token) => {
                headers.insert("x-auth-token", sensitive(token)?);
                headers.insert("x-subject-token", sensitive(token)?);
                (Method::GET, Payload::Empty)
            }
            None => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                (Method::POST, Payload::Bytes(auth.body().to_string().into()))
            }
        };
        // Two tokens are as good as one.
        let (request_id, timeout) = (new_request_id(), Some(config.timeouts.request));
        let mut outgoing = Outgoing { method, url, headers, body, request_id, is_repeatable: true, timeout };
        name_request(&mut outgoing)?;
        let response = match transport.send(&mut outgoing).await {
            // Keystone says 404 of an application credential, a trust or a token that it does not know.
            Err(Error::Answered(answered)) if matches!(answered.status, 401 | 403 | 404) => {
                return Err(Error::LoginRefused { who: auth.to_string(), answered });
            }
            outcome => outcome?,
        };
        let call = outgoing.call();
        let given = response.headers().get("x-subject-token").and_then(|it| it.to_str().ok());
        let given = given.map(|it| SecretString::from(it.to_owned())).or_else(|| auth.given_token().cloned());
        let body = read_all(&call, response, config.timeouts.idle).await?;
        let invalid = |reason: String| Error::AnswerInvalid {
            request_id: call.request_id.clone(),
            call: call.clone(),
            reason,
        };
        let TokenBody { token: info } =
            serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))?;
        let secret = given.ok_or_else(|| invalid("there is no X-Subject-Token".to_owned()))?;
        Ok(Token::new(secret, info))
    }
}

fn name_request(outgoing: &mut Outgoing) -> Result<(), Error> {
    let id = HeaderValue::try_from(&outgoing.request_id)
        .map_err(|error| Error::Config { reason: format!("a request id is no header: {error}") })?;
    outgoing.headers.insert("x-openstack-request-id", id);
    Ok(())
}
