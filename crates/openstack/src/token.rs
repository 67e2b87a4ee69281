//! What Keystone tells of a token.

use std::fmt;

use chrono::DateTime;
use model::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::Catalog;

/// A token, and what it stands for.
#[derive(Clone)]
pub struct Token {
    secret: SecretString,
    /// What Keystone said of it.
    pub info: TokenInfo,
}

impl Token {
    pub(crate) const fn new(secret: SecretString, info: TokenInfo) -> Self {
        Self { secret, info }
    }

    /// The token itself, for a header.
    #[must_use]
    pub const fn secret(&self) -> &SecretString {
        &self.secret
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.secret.expose_secret() == other.secret.expose_secret()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("user", &self.info.user.id).finish_non_exhaustive()
    }
}

/// Who may do what, where, until when.
#[derive(Debug, Clone, Deserialize)]
pub struct TokenInfo {
    pub user: Actor,
    /// The project that it is scoped to.
    pub project: Option<Project>,
    /// The domain that it is scoped to, if it is scoped to a domain.
    pub domain: Option<Project>,
    #[serde(default)]
    pub roles: Vec<RoleName>,
    #[serde(deserialize_with = "timestamp")]
    pub expires_at: Timestamp,
    #[serde(deserialize_with = "timestamp")]
    pub issued_at: Timestamp,
    #[serde(default)]
    pub methods: Vec<String>,
    /// When it was given for a trust.
    #[serde(rename = "OS-TRUST:trust")]
    pub trust: Option<TrustOfToken>,
    #[serde(default)]
    pub catalog: Catalog,
}

impl TokenInfo {
    /// Whether it carries the role of that name. Keystone's role names are equal whatever their case.
    #[must_use]
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.iter().any(|role| role.name.to_lowercase() == name.to_lowercase())
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Actor {
    pub id: String,
    #[serde(default)]
    pub name: String,
}

/// A project, or a domain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Project {
    pub id: String,
    #[serde(default)]
    pub name: String,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RoleName {
    #[serde(default)]
    pub id: String,
    pub name: String,
}

/// The trust that a token was given for: its `user` is the trustor when it impersonates.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TrustOfToken {
    pub id: String,
    #[serde(default)]
    pub impersonation: bool,
    pub trustor_user: TrustParty,
    pub trustee_user: TrustParty,
}

/// One side of a trust.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TrustParty {
    pub id: String,
}

/// The body of an answer about a token.
#[derive(Deserialize)]
pub(crate) struct TokenBody {
    pub(crate) token: TokenInfo,
}

/// Reads a time as OpenStack writes it: `2026-11-27T21:43:19.000000Z`, or without an offset, which is UTC too.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let aware = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_micros());
    let naive = || text.parse::<chrono::NaiveDateTime>().map(|time| time.and_utc().timestamp_micros());
    aware.or_else(|_| naive()).ok().map(Timestamp)
}

pub(crate) fn timestamp<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_time(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a time")))
}
