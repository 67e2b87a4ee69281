//! A test's project as the product sees it: by sessions of its own client, and by the controllers' port.

use std::sync::Arc;

use anyhow::Result;
use model::Owner;
use openstack::{Config, Service, Session};
use openstack_cloud::{OneSession, OpenStackCloud, Settings};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::lab::Lab;
use crate::project::Project;

/// A user of the product's client, with a project.
#[derive(Debug, Clone)]
pub struct Account {
    pub session: Session,
    pub owner: Owner,
}

impl Account {
    /// The project's own user.
    pub async fn of(project: &Project) -> Result<Self> {
        Self::new(Config::from_variables(project.environment().clone())?).await
    }

    /// The same user, who reaches a service by another way.
    pub async fn by_way_of(project: &Project, service: Service, port: u16) -> Result<Self> {
        let mut endpoint = Self::of(project).await?.session.endpoint(service).await?;
        endpoint.set_ip_host("127.0.0.1".parse()?).expect("an endpoint has a host");
        endpoint.set_port(Some(port)).expect("an endpoint has a port");
        let mut config = Config::from_variables(project.environment().clone())?;
        config.endpoints.insert(service, endpoint);
        Self::new(config).await
    }

    /// The administrator.
    pub async fn admin(lab: &Lab) -> Result<Self> {
        Self::new(Config::from_variables(lab.admin.clone())?).await
    }

    async fn new(config: Config) -> Result<Self> {
        let session = Session::new(config)?;
        let owner = Owner {
            project_id: session.project_id().await?.parse()?,
            user_id: session.user_id().await?.parse()?,
        };
        Ok(Self { session, owner })
    }

    /// The cloud with this user's rights.
    #[must_use]
    pub fn cloud(&self) -> OpenStackCloud {
        self.cloud_with(None)
    }

    /// The same, where Holdfast has rights of its own as well.
    #[must_use]
    pub fn cloud_with(&self, service: Option<Session>) -> OpenStackCloud {
        let sessions = OneSession { session: self.session.clone(), service };
        OpenStackCloud::new(Arc::new(sessions), Settings::default())
    }

    /// Makes something; gives what is under `key` of the answer.
    pub async fn make(&self, service: Service, path: &str, key: &str, body: Value) -> Result<Value> {
        let mut answer: Value = self.session.post(service, path, &body).json().await?;
        Ok(answer[key].take())
    }

    /// Changes something.
    pub async fn change(&self, service: Service, path: &str, body: Value) -> Result<()> {
        Ok(self.session.put(service, path, &body).done().await?)
    }

    /// Has something done.
    pub async fn act(&self, service: Service, path: &str, body: Value) -> Result<()> {
        Ok(self.session.post(service, path, &body).done().await?)
    }

    /// All of a collection.
    pub async fn list<T: DeserializeOwned>(&self, service: Service, path: &str, key: &str) -> Result<Vec<T>> {
        Ok(self.session.list(service, path, key).await?)
    }

    /// The ids of all of a collection that bear a tag in their metadata.
    pub async fn tagged(&self, service: Service, path: &str, key: &str, tag: &str) -> Result<Vec<Value>> {
        let all: Vec<Value> = self.list(service, path, key).await?;
        Ok(all.into_iter().filter(|row| row["metadata"]["holdfast:tag"] == tag).collect())
    }
}
