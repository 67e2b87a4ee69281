//! A request whose caller is known, and the way from actix's threads to the runtime where the database lives.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use rest_api::{Fault, TOKEN_HEADER};
use tokio::runtime::Handle;
use tracing::Instrument as _;

use super::Authenticator;
use super::error::Reply;
use crate::app::{Action, Caller, Error};
use crate::state::AppState;

/// What all requests share.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) state: AppState,
    pub(super) authenticator: Arc<dyn Authenticator>,
    /// Multi-threaded: a slow query holds no arbiter, and a panic ends one request.
    pub(super) runtime: Handle,
}

impl Door {
    /// Runs `work` on the runtime of the database.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Reply> {
        self.runtime.spawn(work.in_current_span()).await.map_err(|error| {
            tracing::error!(%error, "a request ended without an answer");
            let message = "something broke inside Holdfast: tell the operator the request id of this reply";
            Reply::new(Fault::Internal, "INTERNAL", message)
        })
    }
}

/// A request whose token is valid for the project in its path.
#[derive(Debug)]
pub(super) struct Asked {
    door: web::Data<Door>,
    caller: Caller,
}

impl Asked {
    /// Checks the caller's right to `action`, then runs `work` with it.
    pub(super) async fn run<T, F, W>(self, action: Action, work: F) -> Result<T, Reply>
    where
        T: Send + 'static,
        F: FnOnce(AppState, Caller) -> W,
        W: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.caller.check(action)?;
        let work = work(self.door.state.clone(), self.caller);
        Ok(self.door.run(work).await??)
    }
}

impl FromRequest for Asked {
    type Error = Reply;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Reply>>>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let door =
                request.app_data::<web::Data<Door>>().expect("the server is built with a door").clone();
            let caller = identify(&request, &door).await?;
            Ok(Self { door, caller })
        })
    }
}

async fn identify(request: &HttpRequest, door: &Door) -> Result<Caller, Reply> {
    let refuse = |message: &str| Reply::new(Fault::Unauthorized, "TOKEN_REFUSED", message);
    let header = request
        .headers()
        .get(TOKEN_HEADER)
        .ok_or_else(|| refuse("the request has no X-Auth-Token header"))?;
    let token = header.to_str().map_err(|_| refuse("the token is not valid"))?.to_owned();
    let authenticator = Arc::clone(&door.authenticator);
    let caller = door.run(async move { authenticator.authenticate(&token).await }).await??;
    let caller = caller.ok_or_else(|| refuse("the token is not valid, or it has expired"))?;
    if request.match_info().get("project") != Some(caller.project.as_str()) {
        let message = format!("the token is for project {}, not for the one in the path", caller.project);
        return Err(Reply::new(Fault::Forbidden, "PROJECT_MISMATCH", message));
    }
    tracing::Span::current().record("project", caller.project.as_str()).record("user", caller.user.as_str());
    Ok(caller)
}
