//! With whose rights the cloud is called.

use std::fmt;

use async_trait::async_trait;
use model::{Failure, Owner};
use openstack::Session;

/// Gives sessions to the driver. Implemented over trusts in the controller, and by one session for one project in tests.
#[async_trait]
pub trait Sessions: fmt::Debug + Send + Sync {
    /// A session with the owner's rights, in their project. Errors: why there is none, as a trust that was revoked.
    async fn session_for(&self, owner: &Owner) -> Result<Session, Failure>;
    /// Holdfast's own identity, for what the owner's rights do not show of their own instance: only ever to read a server that was
    /// read with the owner's rights first. `None`: it does without, and the description says what was not shown.
    async fn service_session(&self) -> Result<Option<Session>, Failure> {
        Ok(None)
    }
}

/// One session, for the project that it is scoped to.
#[derive(Debug)]
pub struct OneSession {
    pub session: Session,
    pub service: Option<Session>,
}

#[async_trait]
impl Sessions for OneSession {
    async fn session_for(&self, owner: &Owner) -> Result<Session, Failure> {
        let project = self.session.project_id().await.map_err(|error| error.failure())?;
        if project == owner.project_id.as_str() {
            return Ok(self.session.clone());
        }
        let message = format!("there is no session for project {}, only for {project}", owner.project_id);
        Err(Failure::permanent("OPENSTACK_PROJECT_FOREIGN", message))
    }

    async fn service_session(&self) -> Result<Option<Session>, Failure> {
        Ok(self.service.clone())
    }
}
