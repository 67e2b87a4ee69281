//! What is asked of Keystone, and what its answers mean. It keeps nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{ErrorClass, Failure, Owner};
use openstack::{Auth, Error, NewTrust, Scope, Service, Session, TokenInfo};
use secrecy::SecretString;
use serde::Deserialize;
use service_kit::telemetry::Chain;
use tokio::time::timeout;

/// A user waits behind each of these questions; what takes longer does not come.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Trusts of one user for us in one project: more than one is left of a lost answer.
const SAME_TRUSTS_MAX: usize = 8;
/// No token of Keystone is longer; a header of this length is refused elsewhere.
const TOKEN_LENGTH_MAX: usize = 8192;

/// Keystone, asked by the service identity or by users.
#[derive(Debug, Clone)]
pub struct Keystone {
    service: Session,
}

/// Why a trust cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Keystone does not know it (any more).
    Gone,
    /// Keystone knows it, and does not let us act on it.
    Refused,
    /// It stands for another user or project than the catalog says.
    OfAnother,
    /// It lends other roles than the one we need.
    LacksRole,
}

/// A user, as administrators see them.
#[derive(Debug)]
pub(super) struct UserState {
    pub(super) is_enabled: bool,
    /// In the project that was asked for.
    pub(super) roles: Vec<String>,
}

#[derive(Deserialize)]
struct UserBody {
    user: UserRow,
}

#[derive(Deserialize)]
struct UserRow {
    enabled: bool,
}

#[derive(Deserialize)]
struct AssignmentsBody {
    role_assignments: Vec<AssignmentRow>,
}

#[derive(Deserialize)]
struct AssignmentRow {
    role: RoleRow,
}

#[derive(Deserialize)]
struct RoleRow {
    name: Option<String>,
}

impl Keystone {
    /// Asks with the service identity of `service`.
    #[must_use]
    pub const fn new(service: Session) -> Self {
        Self { service }
    }

    /// The service identity.
    #[must_use]
    pub const fn service(&self) -> &Session {
        &self.service
    }

    /// Reads a token of a user; `None` when it is none that holds.
    ///
    /// Errors: `KEYSTONE_UNAVAILABLE`, `SERVICE_IDENTITY_REFUSED`.
    pub(super) async fn read_token(&self, token: &str) -> Result<Option<TokenInfo>, Failure> {
        let can_be_sent = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if token.len() > TOKEN_LENGTH_MAX || !can_be_sent(token) {
            return Ok(None);
        }
        let subject = SecretString::from(token.to_owned());
        let keystone = self.service.keystone();
        self.patiently(keystone.validate_token(&subject)).await?.map_err(|error| of_service(&error))
    }

    /// Lets the service identity act for `owner`, with a token of theirs; gives the trust's id. One that is `useless` is not taken
    /// for it.
    ///
    /// Errors: `TRUST_REFUSED`, `KEYSTONE_UNAVAILABLE`, `SERVICE_IDENTITY_REFUSED`.
    pub(super) async fn make_trust(
        &self,
        owner: &Owner,
        role_names: Vec<String>,
        (token, useless): (&SecretString, Option<&str>),
    ) -> Result<String, Failure> {
        let trustee = self.patiently(self.service.user_id()).await?.map_err(|error| of_service(&error))?;
        let wanted = NewTrust {
            trustor_user_id: owner.user_id.to_string(),
            trustee_user_id: trustee,
            project_id: owner.project_id.to_string(),
            role_names,
        };
        let keystone = self.user_session(token)?.keystone();
        // The answer to an earlier request may have been lost: what it made is found, and nothing is made twice.
        if let Some(id) = self.find_trust(&keystone, &wanted, useless).await? {
            return Ok(id);
        }
        match self.patiently(keystone.create_trust(&wanted)).await? {
            Ok(made) => Ok(made.id),
            Err(error) if is_refusal(&error) => {
                let message = format!(
                    "Keystone refuses to make a trust that lends {} to Holdfast ({}): ask with a token that you got by your \
                     password, since a token of a trust or of a restricted application credential makes none",
                    wanted.role_names.join(", "),
                    words(&error)
                );
                Err(Failure::permanent("TRUST_REFUSED", message))
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// A trust that is as wanted. A listing tells no roles, so each that may be it is looked at.
    async fn find_trust(
        &self,
        keystone: &openstack::Keystone,
        wanted: &NewTrust,
        useless: Option<&str>,
    ) -> Result<Option<String>, Failure> {
        let listed = match self.patiently(keystone.trusts_of_trustor(&wanted.trustor_user_id)).await? {
            Ok(listed) => listed,
            // Whoever may not list may not make any either: that refusal says why.
            Err(error) if is_refusal(&error) => return Ok(None),
            Err(error) => return Err(unavailable(&error)),
        };
        let is_it = |trust: &openstack::Trust| {
            Some(trust.id.as_str()) != useless
                && trust.trustee_user_id == wanted.trustee_user_id
                && trust.project_id.as_deref() == Some(&wanted.project_id)
                && trust.impersonation
                && trust.expires_at.is_none()
        };
        for trust in listed.iter().filter(|trust| is_it(trust)).take(SAME_TRUSTS_MAX) {
            let shown = self.patiently(keystone.trust(&trust.id)).await?;
            let roles: BTreeSet<String> = match shown {
                Ok(Some(shown)) => shown.roles.into_iter().map(|role| role.name.to_lowercase()).collect(),
                _ => continue,
            };
            if roles == wanted.role_names.iter().map(|name| name.to_lowercase()).collect() {
                return Ok(Some(trust.id.clone()));
            }
        }
        Ok(None)
    }

    /// A session that acts on a trust, with a token that was given for it just now.
    ///
    /// Errors: `KEYSTONE_UNAVAILABLE`, `SERVICE_IDENTITY_REFUSED`.
    pub(super) async fn open_trust(
        &self,
        id: &str,
        owner: &Owner,
        role: &str,
    ) -> Result<Result<Session, Unusable>, Failure> {
        let session = self.service.with_trust(id);
        let is_theirs = |info: &TokenInfo| {
            let project = info.project.as_ref().is_some_and(|it| it.id == owner.project_id.as_str());
            project && info.user.id == owner.user_id.as_str()
        };
        match self.patiently(session.token()).await? {
            Ok(token) if !is_theirs(&token.info) => Ok(Err(Unusable::OfAnother)),
            Ok(token) if token.info.has_role(role) => Ok(Ok(session)),
            Ok(_) => Ok(Err(Unusable::LacksRole)),
            Err(error @ Error::LoginRefused { .. }) => self.explain(id, &error).await.map(Err),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// What Keystone shows of a user to whoever has `token`; `None`: it may not be seen.
    ///
    /// Errors: `KEYSTONE_UNAVAILABLE`.
    pub(super) async fn user_state(
        &self,
        user: &str,
        project: &str,
        token: &SecretString,
    ) -> Result<Option<UserState>, Failure> {
        let session = self.user_session(token)?;
        let path = format!("/users/{user}");
        let asked = session.get(Service::Identity, &path).json_if_found::<UserBody>();
        let is_enabled = match self.patiently(asked).await? {
            Ok(Some(body)) => body.user.enabled,
            Ok(None) => return Ok(None),
            Err(error) if is_refusal(&error) => return Ok(None),
            Err(error) => return Err(unavailable(&error)),
        };
        let asked = session
            .get(Service::Identity, "/role_assignments")
            .query("user.id", user)
            .query("scope.project.id", project)
            .query("effective", "true")
            .query("include_names", "true")
            .json::<AssignmentsBody>();
        match self.patiently(asked).await? {
            Ok(body) => {
                let roles = body.role_assignments.into_iter().filter_map(|assignment| assignment.role.name);
                Ok(Some(UserState { is_enabled, roles: roles.collect() }))
            }
            Err(error) if is_refusal(&error) => Ok(None),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Deletes a trust with the caller's token where that suffices, else with the trust's own: it stands for its user.
    ///
    /// Errors: `TRUST_NOT_REVOKED`, `KEYSTONE_UNAVAILABLE`, `SERVICE_IDENTITY_REFUSED`.
    pub(super) async fn delete_trust(&self, id: &str, token: Option<&SecretString>) -> Result<(), Failure> {
        let of_caller = token.map(|token| self.user_session(token)).transpose()?;
        let mut refusal = String::new();
        for session in of_caller.into_iter().chain([self.service.with_trust(id)]) {
            match self.patiently(session.keystone().delete_trust(id)).await? {
                Ok(()) => return Ok(()),
                Err(error) if is_refusal(&error) => refusal = words(&error),
                Err(error) => return Err(unavailable(&error)),
            }
        }
        if !self.knows_trust(id).await? {
            return Ok(());
        }
        let message = format!(
            "Keystone refuses to delete trust {id} ({refusal}): its user or an administrator can, by openstack trust delete {id}"
        );
        Err(Failure::permanent("TRUST_NOT_REVOKED", message))
    }

    /// Keystone answers alike for a trust that is gone and for a password of ours that is wrong.
    async fn explain(&self, id: &str, refusal: &Error) -> Result<Unusable, Failure> {
        let anew = self.service.with_auth(self.service.auth().clone());
        self.patiently(anew.token()).await?.map_err(|error| of_service(&error))?;
        let is_known = self.knows_trust(id).await?;
        tracing::debug!(trust = id, is_known, error = %Chain(refusal), "a trust cannot be used");
        Ok(if is_known { Unusable::Refused } else { Unusable::Gone })
    }

    async fn knows_trust(&self, id: &str) -> Result<bool, Failure> {
        let keystone = self.service.keystone();
        Ok(self.patiently(keystone.trust(id)).await?.map_err(|error| of_service(&error))?.is_some())
    }

    fn user_session(&self, token: &SecretString) -> Result<Session, Failure> {
        let auth = Auth::token(self.service.auth().url().as_str(), token.clone(), Scope::Default);
        Ok(self.service.with_auth(auth.map_err(|error| unavailable(&error))?))
    }

    async fn patiently<T>(&self, question: impl Future<Output = T>) -> Result<T, Failure> {
        timeout(ANSWER_MAX, question).await.map_err(|_| {
            tracing::info!(url = %self.service.auth().url(), "Keystone does not answer in time");
            keystone_unavailable()
        })
    }
}

/// Whether Keystone understood, and said no.
fn is_refusal(error: &Error) -> bool {
    matches!(error.status(), Some(400..=499)) && error.class() == ErrorClass::Permanent
}

/// Keystone's own.
fn words(error: &Error) -> String {
    error.answered().map(|answered| answered.message.clone()).unwrap_or_default()
}

/// The service identity itself was refused: an operator must look, and jobs wait.
fn of_service(error: &Error) -> Failure {
    if !is_refusal(error) {
        return unavailable(error);
    }
    tracing::warn!(error = %Chain(error), "Keystone refuses Holdfast itself");
    let message = "Keystone refuses Holdfast's own user: an operator must look at [openstack] in the controller's config and at \
                   the user's role in its project";
    Failure::new(ErrorClass::Transient, "SERVICE_IDENTITY_REFUSED", message)
}

/// Users are not told where Keystone is; the log is.
fn unavailable(error: &Error) -> Failure {
    tracing::info!(error = %Chain(error), "Keystone does not answer as it should");
    keystone_unavailable()
}

fn keystone_unavailable() -> Failure {
    let message = "Keystone cannot be asked at present, so nobody knows whether this is allowed";
    Failure::new(ErrorClass::Transient, "KEYSTONE_UNAVAILABLE", message)
}
