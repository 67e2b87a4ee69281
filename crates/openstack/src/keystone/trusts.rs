//! Trusts: a user lets another act for him in a project.

use model::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::Keystone;
use crate::token::parse_time;
use crate::{Error, RoleName, Service};

/// A trust that Keystone keeps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Trust {
    pub id: String,
    pub trustor_user_id: String,
    pub trustee_user_id: String,
    pub project_id: Option<String>,
    #[serde(default)]
    pub impersonation: bool,
    /// Empty in a listing.
    #[serde(default)]
    pub roles: Vec<RoleName>,
    /// None: it does not end by itself.
    #[serde(default, deserialize_with = "optional_time")]
    pub expires_at: Option<Timestamp>,
}

/// A trust to be made: by the trustor's own token, for roles that he has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTrust {
    pub trustor_user_id: String,
    pub trustee_user_id: String,
    pub project_id: String,
    /// By name: a member may not look up ids.
    pub role_names: Vec<String>,
}

#[derive(Deserialize)]
struct One {
    trust: Trust,
}

impl Keystone {
    /// Makes a trust without an end: the trustee acts as the trustor, and may not pass it on.
    ///
    /// Errors: those of the request; its answer lost, a look at `trusts_of_trustor` tells.
    pub async fn create_trust(&self, new: &NewTrust) -> Result<Trust, Error> {
        let roles: Vec<_> = new.role_names.iter().map(|name| json!({ "name": name })).collect();
        let body = json!({ "trust": {
            "trustor_user_id": new.trustor_user_id,
            "trustee_user_id": new.trustee_user_id,
            "project_id": new.project_id,
            "impersonation": true,
            "allow_redelegation": false,
            "roles": roles,
        }});
        let made: One = self.session.post(Service::Identity, "/OS-TRUST/trusts", &body).json().await?;
        Ok(made.trust)
    }

    /// A trust with its roles; none when it is not there. Trustor and trustee may look.
    ///
    /// Errors: those of the request.
    pub async fn trust(&self, id: &str) -> Result<Option<Trust>, Error> {
        let path = format!("/OS-TRUST/trusts/{id}");
        let found: Option<One> = self.session.get(Service::Identity, &path).json_if_found().await?;
        Ok(found.map(|it| it.trust))
    }

    /// The trusts that a user has given; himself may look.
    ///
    /// Errors: those of the request.
    pub async fn trusts_of_trustor(&self, user_id: &str) -> Result<Vec<Trust>, Error> {
        self.trusts(&format!("trustor_user_id={user_id}")).await
    }

    /// The trusts that a user was given; himself may look.
    ///
    /// Errors: those of the request.
    pub async fn trusts_of_trustee(&self, user_id: &str) -> Result<Vec<Trust>, Error> {
        self.trusts(&format!("trustee_user_id={user_id}")).await
    }

    async fn trusts(&self, query: &str) -> Result<Vec<Trust>, Error> {
        self.session.list(Service::Identity, &format!("/OS-TRUST/trusts?{query}"), "trusts").await
    }

    /// Revokes a trust; that it is gone already is as good. Only the trustor may, and an administrator.
    ///
    /// Errors: those of the request.
    pub async fn delete_trust(&self, id: &str) -> Result<(), Error> {
        self.session.delete_if_there(Service::Identity, &format!("/OS-TRUST/trusts/{id}")).await
    }
}

fn optional_time<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let time = |text: String| {
        parse_time(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a time")))
    };
    text.map(time).transpose()
}
