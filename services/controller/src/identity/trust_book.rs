//! The trusts of the catalog, held against Keystone.
//!
//! A user has one trust in a project. Two controllers that make one at the same time both ask Keystone; the catalog takes
//! the first, and the other is deleted again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use catalog::{Catalog, TrustRow, TrustState};
use model::{Failure, Owner};
use openstack::Session;
use runtime::{Clock, Entropy};
use secrecy::SecretString;
use service_kit::telemetry::Chain;

use super::keystone::Unusable;
use super::{Keystone, trust_look};
use crate::app::trusts::TrustBook;
use crate::app::{Caller, Error, Profile};
use crate::config::KeystoneSection;

/// Owners whose jobs run at about the same time; more are opened anew.
const SESSIONS_MAX: usize = 1024;

/// Makes trusts, looks at them, and acts on them.
#[derive(Clone)]
pub struct KeystoneTrusts {
    inner: Arc<Inner>,
}

struct Inner {
    keystone: Keystone,
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    section: KeystoneSection,
    /// By the trust's id. A session renews its token by itself.
    sessions: Mutex<BTreeMap<String, Session>>,
}

impl KeystoneTrusts {
    /// With the roles of the config.
    #[must_use]
    pub fn new(
        keystone: Keystone,
        catalog: Catalog,
        clock: Arc<dyn Clock>,
        section: &KeystoneSection,
    ) -> Self {
        let inner = Inner { keystone, catalog, clock, section: section.clone(), sessions: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// A session that acts for the owner, on their trust. Its token is kept until it ends.
    ///
    /// Errors: `TRUST_MISSING`, `TRUST_REVOKED`; `KEYSTONE_UNAVAILABLE`, `SERVICE_IDENTITY_REFUSED`, which may pass.
    pub async fn session_for(&self, owner: &Owner) -> Result<Session, Failure> {
        let row = self.find(owner).await.map_err(|error| error.failure())?;
        let held = self.sessions().get(&row.trust_id).cloned();
        match held {
            // Whoever asks has a request to send; a token that Keystone took back is seen then, and by the next look.
            Some(session) if row.state == TrustState::Available => Ok(session),
            _ => self.open(&row).await.map_err(|error| error.failure()),
        }
    }

    /// The service identity, for the few things that are nobody's.
    #[must_use]
    pub fn service(&self) -> Session {
        self.inner.keystone.service().clone()
    }

    async fn find(&self, owner: &Owner) -> Result<TrustRow, Error> {
        let mut tx = self.inner.catalog.read().await?;
        let row = tx.get_trust(&owner.project_id, &owner.user_id).await?;
        row.ok_or_else(|| {
            let message = format!(
                "user {} has not let Holdfast act for them in project {}: they make a trust by holdfast trust create, or by \
                 asking for the job themselves",
                owner.user_id, owner.project_id
            );
            Error::Trust(Failure::permanent("TRUST_MISSING", message))
        })
    }

    /// Asks Keystone for a token of the trust, and notes what came of it.
    async fn open(&self, row: &TrustRow) -> Result<Session, Error> {
        let owner = Owner { project_id: row.project_id.clone(), user_id: row.user_id.clone() };
        let opened = self.inner.keystone.open_trust(&row.trust_id, &owner, self.role()).await;
        let opened = opened.map_err(Error::Trust)?;
        match opened.map_err(|why| self.explain(row, why)) {
            Ok(session) => {
                self.keep(&row.trust_id, &session);
                if row.state != TrustState::Available {
                    self.note(row, TrustState::Available, None).await?;
                }
                Ok(session)
            }
            Err(reason) => {
                self.sessions().remove(&row.trust_id);
                if row.reason.as_deref() != Some(&reason) {
                    self.note(row, TrustState::Error, Some(&reason)).await?;
                }
                let message = format!(
                    "Holdfast cannot act for user {} ({}) in project {} ({}): {reason}; once that is right, they run holdfast \
                     trust create or ask for the job themselves",
                    row.user_name, row.user_id, row.project_name, row.project_id
                );
                Err(Error::Trust(Failure::permanent("TRUST_REVOKED", message)))
            }
        }
    }

    fn explain(&self, row: &TrustRow, why: Unusable) -> String {
        let TrustRow { trust_id, .. } = row;
        match why {
            Unusable::Gone => format!(
                "Keystone knows no trust {trust_id} any more: it was revoked, or the user or the project was deleted"
            ),
            Unusable::Refused => format!(
                "Keystone refuses trust {trust_id}: the user was disabled or lost a role that it lends ({}), or the project was \
                 disabled",
                row.roles.join(", ")
            ),
            Unusable::OfAnother => format!("trust {trust_id} is of another user or project"),
            Unusable::LacksRole => format!("trust {trust_id} does not lend role {}", self.role()),
        }
    }

    async fn note(&self, row: &TrustRow, state: TrustState, reason: Option<&str>) -> Result<(), Error> {
        let mut tx = self.inner.catalog.begin().await?;
        tx.update_trust_state(row, state, reason).await?;
        Ok(tx.commit().await?)
    }

    /// The roles of the caller that a trust lends: the one that it must, and those that the cloud's services ask for.
    fn lent_roles(&self, profile: &Profile) -> Vec<String> {
        let KeystoneSection { trustee_role, delegated_roles, .. } = &self.inner.section;
        let wanted = |name: &&String| {
            let is = |other: &String| other.to_lowercase() == name.to_lowercase();
            is(trustee_role) || delegated_roles.iter().any(is)
        };
        profile.role_names.iter().filter(wanted).cloned().collect()
    }

    async fn take_back(&self, row: &TrustRow, token: Option<&SecretString>) -> Result<(), Error> {
        self.inner.keystone.delete_trust(&row.trust_id, token).await.map_err(Error::Trust)?;
        self.sessions().remove(&row.trust_id);
        let mut tx = self.inner.catalog.begin().await?;
        // Another one that was put in its place meanwhile is the user's newer wish.
        tx.delete_trust(row).await?;
        Ok(tx.commit().await?)
    }

    /// Puts the new trust into the catalog; false when somebody else was faster.
    async fn write(&self, known: Option<&TrustRow>, row: &TrustRow) -> Result<bool, Error> {
        let mut tx = self.inner.catalog.begin().await?;
        let is_written = match known {
            Some(known) => tx.swap_trust(&known.trust_id, row).await?,
            None => tx.insert_trust(row).await?,
        };
        tx.commit().await?;
        Ok(is_written)
    }

    /// Deletes a trust that nothing needs any more. What stays in Keystone by that lends the service identity what the user
    /// wanted to lend, so the request goes on.
    async fn drop_unneeded(&self, trust_id: &str, caller: &Caller) {
        self.sessions().remove(trust_id);
        if let Err(failure) = self.inner.keystone.delete_trust(trust_id, caller.token.as_ref()).await {
            tracing::warn!(trust = trust_id, error = %Chain(&failure), "a trust that is not needed stays in Keystone");
        }
    }

    fn keep(&self, trust_id: &str, session: &Session) {
        let mut sessions = self.sessions();
        if sessions.len() >= SESSIONS_MAX {
            sessions.clear();
        }
        sessions.insert(trust_id.to_owned(), session.clone());
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Session>> {
        self.inner.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl TrustBook for KeystoneTrusts {
    fn role(&self) -> &str {
        &self.inner.section.trustee_role
    }

    async fn check(&self, owner: &Owner) -> Result<TrustRow, Error> {
        let row = self.find(owner).await?;
        self.open(&row).await?;
        Ok(TrustRow { state: TrustState::Available, reason: None, ..row })
    }

    async fn look(&self, owner: &Owner, caller: &Caller) -> Result<TrustRow, Failure> {
        let row = self.find(owner).await.map_err(|error| error.failure())?;
        trust_look::look(&self.inner.keystone, row, self.role(), caller).await
    }

    async fn make(&self, caller: &Caller) -> Result<TrustRow, Error> {
        let Inner { keystone, catalog, clock, .. } = &*self.inner;
        let (Some(token), Some(profile)) = (&caller.token, &caller.profile) else {
            let message = "a trust is made with the user's own token only";
            return Err(Error::Trust(Failure::permanent("TRUST_REFUSED", message)));
        };
        let owner = caller.owner();
        let known = catalog.read().await?.get_trust(&caller.project, &caller.user).await?;
        let roles = self.lent_roles(profile);
        let held = known.as_ref().map(|known| known.trust_id.as_str());
        let trust_id =
            keystone.make_trust(&owner, roles.clone(), (token, held)).await.map_err(Error::Trust)?;
        let now = clock.now();
        let row = TrustRow {
            id: known.as_ref().map_or_else(|| Entropy.uuid(), |known| known.id),
            project_id: caller.project.clone(),
            user_id: caller.user.clone(),
            project_name: profile.project.to_string(),
            user_name: profile.user.to_string(),
            trust_id,
            roles,
            state: TrustState::Available,
            reason: None,
            created_at: now,
            updated_at: now,
        };
        let written = self.write(known.as_ref(), &row).await;
        if !matches!(written, Ok(true)) {
            // Whoever was faster may have found the same one.
            let held = catalog.read().await?.get_trust(&caller.project, &caller.user).await?;
            if held.is_none_or(|held| held.trust_id != row.trust_id) {
                self.drop_unneeded(&row.trust_id, caller).await;
            }
            written?;
            return self.check(&owner).await;
        }
        if let Some(known) = known {
            self.drop_unneeded(&known.trust_id, caller).await;
        }
        Ok(row)
    }

    async fn revoke(&self, row: &TrustRow, caller: &Caller) -> Result<(), Error> {
        self.take_back(row, caller.token.as_ref()).await
    }

    async fn release(&self, owner: &Owner) -> Result<(), Error> {
        let mut tx = self.inner.catalog.read().await?;
        let count = tx.count_workloads_of(owner).await?;
        let row = tx.get_trust(&owner.project_id, &owner.user_id).await?;
        drop(tx);
        let Some(row) = row.filter(|_| count == 0) else { return Ok(()) };
        let taken_back = self.take_back(&row, None).await;
        match &taken_back {
            Ok(()) => {
                tracing::info!(project = %row.project_id, user = %row.user_id, trust = row.trust_id, "trust taken back with the last workload");
            }
            Err(Error::Trust(failure)) if failure.class == model::ErrorClass::Permanent => {
                tracing::warn!(trust = row.trust_id, error = %Chain(failure), "a trust that is not needed stays in Keystone");
            }
            Err(_) => {}
        }
        taken_back
    }
}

impl fmt::Debug for KeystoneTrusts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeystoneTrusts").field("keystone", &self.inner.keystone).finish_non_exhaustive()
    }
}
