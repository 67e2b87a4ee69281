//! The entries that a service has in Keystone: itself, its endpoints, roles, users, and who has which role where.

use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Keystone;
use crate::{Error, Interface, Service};

/// Anything that Keystone knows by an id and a name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    pub id: String,
    /// Empty for what has none: a region.
    #[serde(default)]
    pub name: String,
    #[serde(default = "yes")]
    pub enabled: bool,
}

const fn yes() -> bool {
    true
}

/// Where a service is reached, as Keystone keeps it: with `$(project_id)s` in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EndpointEntry {
    pub id: String,
    pub url: String,
    pub interface: String,
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// The answer to a create: the entry under its noun.
#[derive(Deserialize)]
struct Made {
    #[serde(alias = "service", alias = "endpoint", alias = "role", alias = "user")]
    entry: Entry,
}

/// Errors of all calls: those of the request.
impl Keystone {
    /// The ids of the regions.
    pub async fn regions(&self) -> Result<Vec<String>, Error> {
        let regions: Vec<Entry> = self.session.list(Service::Identity, "/regions", "regions").await?;
        Ok(regions.into_iter().map(|region| region.id).collect())
    }

    /// All services of a type.
    pub async fn services(&self, kind: &str) -> Result<Vec<Entry>, Error> {
        self.rows("services", &[("type", kind)]).await
    }

    /// Makes a service.
    pub async fn create_service(&self, kind: &str, name: &str, description: &str) -> Result<Entry, Error> {
        self.create("service", json!({ "type": kind, "name": name, "description": description })).await
    }

    /// The endpoints of a service in a region.
    pub async fn endpoints(&self, service_id: &str, region: &str) -> Result<Vec<EndpointEntry>, Error> {
        let query = encode(&[("service_id", service_id), ("region_id", region)]);
        self.session.list(Service::Identity, &format!("/endpoints?{query}"), "endpoints").await
    }

    /// Makes an endpoint.
    pub async fn create_endpoint(
        &self,
        service_id: &str,
        region: &str,
        interface: Interface,
        url: &str,
    ) -> Result<Entry, Error> {
        let interface = interface.as_str();
        let body =
            json!({ "service_id": service_id, "region_id": region, "interface": interface, "url": url });
        self.create("endpoint", body).await
    }

    /// Sets the address of an endpoint, and puts it in use.
    pub async fn change_endpoint(&self, id: &str, url: &str) -> Result<(), Error> {
        self.change(&format!("/endpoints/{id}"), &json!({ "endpoint": { "url": url, "enabled": true } }))
            .await
    }

    /// Removes a service with its endpoints; that it is gone is as good.
    pub async fn delete_service(&self, id: &str) -> Result<(), Error> {
        self.session.delete_if_there(Service::Identity, &format!("/services/{id}")).await
    }

    /// The role of that name, of no domain.
    pub async fn role(&self, name: &str) -> Result<Option<Entry>, Error> {
        self.only("roles", &[("name", name)]).await
    }

    /// Makes a role.
    pub async fn create_role(&self, name: &str) -> Result<Entry, Error> {
        self.create("role", json!({ "name": name })).await
    }

    /// Removes a role; that it is gone is as good.
    pub async fn delete_role(&self, id: &str) -> Result<(), Error> {
        self.session.delete_if_there(Service::Identity, &format!("/roles/{id}")).await
    }

    /// The domain of that name.
    pub async fn domain(&self, name: &str) -> Result<Option<Entry>, Error> {
        self.only("domains", &[("name", name)]).await
    }

    /// The project of that name in a domain.
    pub async fn project(&self, name: &str, domain_id: &str) -> Result<Option<Entry>, Error> {
        self.only("projects", &[("name", name), ("domain_id", domain_id)]).await
    }

    /// The user of that name in a domain.
    pub async fn user(&self, name: &str, domain_id: &str) -> Result<Option<Entry>, Error> {
        self.only("users", &[("name", name), ("domain_id", domain_id)]).await
    }

    /// Makes a user.
    pub async fn create_user(
        &self,
        name: &str,
        domain_id: &str,
        password: &SecretString,
    ) -> Result<Entry, Error> {
        let password = password.expose_secret();
        self.create("user", json!({ "name": name, "domain_id": domain_id, "password": password })).await
    }

    /// Gives a user another password.
    pub async fn change_password(&self, user_id: &str, password: &SecretString) -> Result<(), Error> {
        let body = json!({ "user": { "password": password.expose_secret() } });
        self.change(&format!("/users/{user_id}"), &body).await
    }

    /// Removes a user; that he is gone is as good.
    pub async fn delete_user(&self, id: &str) -> Result<(), Error> {
        self.session.delete_if_there(Service::Identity, &format!("/users/{id}")).await
    }

    /// Whether a user himself, and not a group of his, has a role in a project.
    pub async fn has_role(&self, user_id: &str, project_id: &str, role_id: &str) -> Result<bool, Error> {
        let path = assignment(user_id, project_id, role_id);
        match self.session.request(Method::HEAD, Service::Identity, &path).done().await {
            Err(error) if error.is_not_found() => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// Gives a user a role in a project; that he has it is as good.
    pub async fn grant_role(&self, user_id: &str, project_id: &str, role_id: &str) -> Result<(), Error> {
        let path = assignment(user_id, project_id, role_id);
        self.session.request(Method::PUT, Service::Identity, &path).done().await
    }

    /// The only one of that name.
    async fn only(&self, plural: &str, filters: &[(&str, &str)]) -> Result<Option<Entry>, Error> {
        // Keystone's names are equal whatever their case; its database may think otherwise of a filter, so of several the first.
        Ok(self.rows(plural, filters).await?.into_iter().next())
    }

    async fn rows(&self, plural: &str, filters: &[(&str, &str)]) -> Result<Vec<Entry>, Error> {
        let path = format!("/{plural}?{}", encode(filters));
        self.session.list(Service::Identity, &path, plural).await
    }

    async fn create(&self, noun: &str, fields: Value) -> Result<Entry, Error> {
        let body = json!({ noun: fields });
        let request = self.session.post(Service::Identity, &format!("/{noun}s"), &body);
        request.json::<Made>().await.map(|made| made.entry)
    }

    async fn change(&self, path: &str, body: &Value) -> Result<(), Error> {
        self.session.patch(Service::Identity, path, body).repeatable().done().await
    }
}

fn assignment(user_id: &str, project_id: &str, role_id: &str) -> String {
    format!("/projects/{project_id}/users/{user_id}/roles/{role_id}")
}

fn encode(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}
