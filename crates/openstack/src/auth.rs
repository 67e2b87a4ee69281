//! Who we are towards Keystone, and for what we want a token.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use url::Url;

use crate::catalog::root;
use crate::{Error, Service};

/// Something of a domain, by its id or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    Id(String),
    Name { name: String, domain: Domain },
}

/// A domain, by its id or by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    Id(String),
    Name(String),
}

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Whatever Keystone gives without being asked: of a user his default project; of an application credential its project.
    Default,
    Project(Named),
    Domain(Domain),
    /// The whole cloud.
    System,
    /// What another user entrusted us with, by the trust's id.
    Trust(String),
}

/// A way to get a token. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct Auth {
    url: Url,
    who: Who,
    scope: Scope,
}

#[derive(Clone)]
pub(crate) enum Who {
    Password { user: Named, password: SecretString },
    ApplicationCredential { id: String, secret: SecretString },
    NamedApplicationCredential { name: String, user: Named, secret: SecretString },
    Token(SecretString),
}

impl Auth {
    /// By a user's password.
    ///
    /// Errors: `EndpointInvalid` when `url` is not Keystone's.
    pub fn password(url: &str, user: Named, password: SecretString, scope: Scope) -> Result<Self, Error> {
        Self::new(url, Who::Password { user, password }, scope)
    }

    /// By an application credential, which has its project in itself.
    ///
    /// Errors: `EndpointInvalid` when `url` is not Keystone's.
    pub fn application_credential(url: &str, id: &str, secret: SecretString) -> Result<Self, Error> {
        Self::new(url, Who::ApplicationCredential { id: id.to_owned(), secret }, Scope::Default)
    }

    /// By a token that somebody has. With `Scope::Default` it is used as it is, and cannot be renewed; else Keystone is asked
    /// for another one, which ends when the first does.
    ///
    /// Errors: `EndpointInvalid` when `url` is not Keystone's.
    pub fn token(url: &str, token: SecretString, scope: Scope) -> Result<Self, Error> {
        Self::new(url, Who::Token(token), scope)
    }

    pub(crate) fn new(url: &str, who: Who, scope: Scope) -> Result<Self, Error> {
        Ok(Self { url: root(Service::Identity, url)?, who, scope })
    }

    /// The same user, for another scope.
    #[must_use]
    pub fn with_scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// The same user as trustee.
    #[must_use]
    pub fn with_trust(self, trust_id: &str) -> Self {
        self.with_scope(Scope::Trust(trust_id.to_owned()))
    }

    /// Keystone's address, with its version.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// The token that is to be used as it is.
    pub(crate) fn given_token(&self) -> Option<&SecretString> {
        match (&self.who, &self.scope) {
            (Who::Token(token), Scope::Default) => Some(token),
            _ => None,
        }
    }

    /// Whether Keystone gives us another token when this one ends.
    pub(crate) const fn is_renewable(&self) -> bool {
        !matches!(self.who, Who::Token(_))
    }

    /// The body of `POST /auth/tokens`. Holds the secret.
    pub(crate) fn body(&self) -> Value {
        let mut auth = json!({ "identity": self.who.identity() });
        if let Some(scope) = self.scope.json() {
            auth["scope"] = scope;
        }
        json!({ "auth": auth })
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("url", &self.url.as_str())
            .field("who", &format_args!("{self}"))
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Auth {
    /// For messages: who, and for what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Password { user, .. } => write!(f, "user {user}")?,
            Who::ApplicationCredential { id, .. } => write!(f, "application credential {id}")?,
            Who::NamedApplicationCredential { name, user, .. } => {
                write!(f, "application credential {name} of user {user}")?;
            }
            Who::Token(_) => f.write_str("the given token")?,
        }
        match &self.scope {
            Scope::Default => Ok(()),
            Scope::Project(project) => write!(f, " for project {project}"),
            Scope::Domain(domain) => write!(f, " for domain {domain}"),
            Scope::System => f.write_str(" for the whole cloud"),
            Scope::Trust(id) => write!(f, " by trust {id}"),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::Name { name, domain } => write!(f, "{name} of domain {domain}"),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(text) | Self::Name(text) => f.write_str(text),
        }
    }
}

impl Who {
    fn identity(&self) -> Value {
        let with_secret = |mut object: Map<String, Value>, key: &str, secret: &SecretString| {
            object.insert(key.to_owned(), secret.expose_secret().into());
            object
        };
        match self {
            Self::Password { user, password } => {
                let user = with_secret(user.json(), "password", password);
                json!({ "methods": ["password"], "password": { "user": user } })
            }
            Self::ApplicationCredential { id, secret } => {
                let credential =
                    with_secret(Map::from_iter([("id".to_owned(), id.clone().into())]), "secret", secret);
                json!({ "methods": ["application_credential"], "application_credential": credential })
            }
            Self::NamedApplicationCredential { name, user, secret } => {
                let credential = Map::from_iter([
                    ("name".to_owned(), name.clone().into()),
                    ("user".to_owned(), user.json().into()),
                ]);
                let credential = with_secret(credential, "secret", secret);
                json!({ "methods": ["application_credential"], "application_credential": credential })
            }
            Self::Token(token) => {
                json!({ "methods": ["token"], "token": with_secret(Map::new(), "id", token) })
            }
        }
    }
}

impl Scope {
    fn json(&self) -> Option<Value> {
        match self {
            Self::Default => None,
            Self::Project(project) => Some(json!({ "project": project.json() })),
            Self::Domain(domain) => Some(json!({ "domain": domain.json() })),
            Self::System => Some(json!({ "system": { "all": true } })),
            Self::Trust(id) => Some(json!({ "OS-TRUST:trust": { "id": id } })),
        }
    }
}

impl Named {
    fn json(&self) -> Map<String, Value> {
        match self {
            Self::Id(id) => Map::from_iter([("id".to_owned(), id.clone().into())]),
            Self::Name { name, domain } => Map::from_iter([
                ("name".to_owned(), name.clone().into()),
                ("domain".to_owned(), domain.json().into()),
            ]),
        }
    }
}

impl Domain {
    fn json(&self) -> Map<String, Value> {
        match self {
            Self::Id(id) => Map::from_iter([("id".to_owned(), id.clone().into())]),
            Self::Name(name) => Map::from_iter([("name".to_owned(), name.clone().into())]),
        }
    }
}
