//! The calls of one owner: a session of theirs, with a bound on how many are under way, and failures as the port has them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use model::{ErrorClass, Failure};
use openstack::{Microversion, Service, Session};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Between two looks at something that takes its time. Ceph cuts a volume in less than a second, and a guest is frozen meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(400);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    session: Session,
    under_way: Arc<Semaphore>,
}

impl Calls {
    pub(crate) const fn new(session: Session, under_way: Arc<Semaphore>) -> Self {
        Self { session, under_way }
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        service: Service,
        path: String,
    ) -> Result<T, Failure> {
        let _permit = self.permit().await;
        self.session.get(service, &path).json().await.map_err(|error| error.failure())
    }

    /// `None`: it is not there.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        service: Service,
        path: String,
    ) -> Result<Option<T>, Failure> {
        let _permit = self.permit().await;
        self.session.get(service, &path).json_if_found().await.map_err(|error| error.failure())
    }

    /// All pages of a collection.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        service: Service,
        path: String,
        key: &str,
    ) -> Result<Vec<T>, Failure> {
        let _permit = self.permit().await;
        self.session.list(service, &path, key).await.map_err(|error| error.failure())
    }

    /// Makes something; an answer that was lost is `Indeterminate`.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        service: Service,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, openstack::Error> {
        let _permit = self.permit().await;
        self.session.post(service, path, body).json().await
    }

    /// Asks for something that may be asked for twice, and has no answer that matters.
    pub(crate) async fn act(
        &self,
        service: Service,
        path: String,
        body: &impl Serialize,
    ) -> Result<(), Failure> {
        self.done(self.session.post(service, &path, body).repeatable()).await
    }

    pub(crate) async fn put(
        &self,
        service: Service,
        path: String,
        body: &impl Serialize,
    ) -> Result<(), Failure> {
        self.done(self.session.put(service, &path, body)).await
    }

    /// In a later microversion than the others.
    pub(crate) async fn put_in(
        &self,
        version: Microversion,
        service: Service,
        path: String,
        body: &impl Serialize,
    ) -> Result<(), Failure> {
        self.done(self.session.put(service, &path, body).microversion(version)).await
    }

    /// Succeeds when it is gone already.
    pub(crate) async fn delete(&self, service: Service, path: String) -> Result<(), Failure> {
        let _permit = self.permit().await;
        self.session.delete_if_there(service, &path).await.map_err(|error| error.failure())
    }

    async fn done(&self, request: openstack::Request) -> Result<(), Failure> {
        let _permit = self.permit().await;
        request.done().await.map_err(|error| error.failure())
    }

    async fn permit(&self) -> SemaphorePermit<'_> {
        self.under_way.acquire().await.expect("nobody closes it")
    }
}

/// Looks again and again until there is an answer.
///
/// Errors: what the look says; `Indeterminate` with `code` and `what` when `max` is over: the next attempt finds it by its tag.
pub(crate) async fn wait<T, F: Future<Output = Result<Option<T>, Failure>>>(
    max: Duration,
    code: &str,
    what: &str,
    mut look: impl FnMut() -> F,
) -> Result<T, Failure> {
    let ends_at = Instant::now() + max;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() >= ends_at {
            let message = format!("{what} for {} seconds: the next attempt looks again", max.as_secs());
            return Err(Failure::new(ErrorClass::Indeterminate, code, message));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// A name of a user's as part of a path.
pub(crate) fn segment(name: &str) -> String {
    let mut url = url::Url::parse("http://host/").expect("a constant");
    url.path_segments_mut().expect("it has a path").push(name);
    url.path().rsplit('/').next().unwrap_or_default().to_owned()
}
