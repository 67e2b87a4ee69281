//! The door to REST where Keystone vouches for users: a token of a project becomes a caller with roles.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use openstack::TokenInfo;
use runtime::Clock;
use secrecy::SecretString;

use super::Keystone;
use super::token_cache::TokenCache;
use crate::app::{Caller, Error, Named, Profile, Role, RoleNames, shown};
use crate::config::KeystoneSection;
use crate::rest::Authenticator;

/// Names are for messages.
const NAME_LENGTH_MAX: usize = 80;

/// Asks Keystone whose a token is, and believes the answer for a short time.
#[derive(Debug)]
pub struct KeystoneDoor {
    keystone: Keystone,
    role_names: Arc<RoleNames>,
    cache: TokenCache,
}

impl KeystoneDoor {
    /// With the meaning of roles of the config.
    #[must_use]
    pub fn new(keystone: Keystone, section: &KeystoneSection, clock: Arc<dyn Clock>) -> Self {
        let role_names = RoleNames {
            admin: section.admin_role.clone(),
            member: section.trustee_role.clone(),
            readers: section.reader_roles.clone(),
        };
        Self {
            keystone,
            role_names: Arc::new(role_names),
            cache: TokenCache::new(section.token_cache(), clock),
        }
    }

    fn read_caller(&self, info: &TokenInfo) -> Result<Caller, Error> {
        let Some(project) = &info.project else {
            let message = "the token is for no project: ask Keystone for one that is scoped to the project";
            return Err(Error::unscoped(message));
        };
        let foreign = |error: model::InvalidId| {
            Error::Trust(model::Failure::permanent(
                "IDENTITY_INVALID",
                format!("Keystone names what cannot be: {error}"),
            ))
        };
        let names = &self.role_names;
        let mut roles = BTreeSet::new();
        for (role, given_by) in [
            (Role::Admin, std::slice::from_ref(&names.admin)),
            (Role::Member, std::slice::from_ref(&names.member)),
            (Role::Reader, &names.readers),
        ] {
            if given_by.iter().any(|name| info.has_role(name)) {
                roles.insert(role);
            }
        }
        Ok(Caller {
            user: info.user.id.parse().map_err(foreign)?,
            project: project.id.parse().map_err(foreign)?,
            roles,
            role_names: Arc::clone(names),
            profile: Some(Arc::new(Profile {
                user: named(&info.user.name, None),
                project: named(&project.name, None),
                role_names: info.roles.iter().map(|role| role.name.clone()).collect(),
            })),
            token: None,
        })
    }
}

#[async_trait]
impl Authenticator for KeystoneDoor {
    async fn authenticate(&self, token: &str) -> Result<Option<Caller>, Error> {
        let caller = match self.cache.get(token) {
            Some(caller) => caller,
            None => {
                let info = self.keystone.read_token(token).await.map_err(Error::Trust)?;
                let Some(info) = info else { return Ok(None) };
                let caller = self.read_caller(&info)?;
                self.cache.put(token, &caller, info.expires_at);
                caller
            }
        };
        Ok(Some(Caller { token: Some(SecretString::from(token.to_owned())), ..caller }))
    }
}

fn named(name: &str, domain: Option<&str>) -> Named {
    Named { name: shown(name, NAME_LENGTH_MAX), domain: domain.map(|domain| shown(domain, NAME_LENGTH_MAX)) }
}
