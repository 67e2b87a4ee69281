//! Trusts: with which a cloud lets Holdfast act for a user. Looked at before each job starts, made when the user asks for
//! one, taken back when he says so. Without a cloud that vouches for users there are none.

use std::fmt;

use async_trait::async_trait;
use catalog::{TrustFilter, TrustRow};
use model::{ErrorClass, Failure, Owner, WorkloadId};
use uuid::Uuid;

use super::text::shown;
use super::{Caller, Error, workloads};
use crate::state::AppState;

/// A project has as many as it has users that protect something.
const LIST_LENGTH_MAX: u32 = 1000;
/// T4O's names of trusts begin so.
pub const NAME_PREFIX: &str = "trust-";

/// Keeps the trusts, and asks the cloud whether they hold.
#[async_trait]
pub trait TrustBook: fmt::Debug + Send + Sync {
    /// The role that each trust lends.
    fn role(&self) -> &str;
    /// Sees that the owner's trust can be used at this moment.
    ///
    /// Errors: `TRUST_MISSING`, `TRUST_REVOKED`; transient ones when the cloud does not answer.
    async fn check(&self, owner: &Owner) -> Result<TrustRow, Error>;
    /// Looks whether the owner's trust holds, and notes nothing. The caller's token is used to find out more where it may.
    ///
    /// Errors: `TRUST_MISSING`; `TRUST_GONE`, `TRUST_USER_DISABLED`, `TRUST_ROLE_LOST`, or `TRUST_REVOKED` when nobody says why.
    async fn look(&self, owner: &Owner, caller: &Caller) -> Result<TrustRow, Failure>;
    /// Makes a trust of the caller with the request's token, in the place of the one that was.
    ///
    /// Errors: `TRUST_REFUSED`.
    async fn make(&self, caller: &Caller) -> Result<TrustRow, Error>;
    /// Takes a trust back, here and in the cloud.
    async fn revoke(&self, row: &TrustRow, caller: &Caller) -> Result<(), Error>;
    /// Takes the owner's trust back when no workload of theirs is left in the project; without a trust, nothing is done.
    ///
    /// Errors: `TRUST_NOT_REVOKED`; transient ones when the cloud does not answer.
    async fn release(&self, owner: &Owner) -> Result<(), Error>;
}

/// Whether the scheduled and submitted jobs of a workload could run.
#[derive(Debug)]
pub struct Validity {
    pub trust: Option<TrustRow>,
    /// Why they could not.
    pub reason: Option<String>,
}

/// Sees to it that a job of `owner` can act on their trust. The owner himself gets a new one when there is none that holds.
pub(super) async fn secure(state: &AppState, caller: &Caller, owner: &Owner) -> Result<(), Error> {
    let Some(book) = &state.trusts else { return Ok(()) };
    hold(book.as_ref(), caller, owner).await.map(drop)
}

/// The trust that holds, or a new one.
async fn hold(book: &dyn TrustBook, caller: &Caller, owner: &Owner) -> Result<TrustRow, Error> {
    match book.check(owner).await {
        Err(error) if is_lasting(&error) && caller.can_entrust(owner) => {
            let row = book.make(caller).await?;
            tracing::info!(project = %row.project_id, user = %row.user_id, trust = row.trust_id, "trust made");
            Ok(row)
        }
        outcome => outcome,
    }
}

/// Lists the caller's trusts in the project; an administrator's list is the project's.
pub async fn list(state: &AppState, caller: &Caller) -> Result<Vec<TrustRow>, Error> {
    book(state)?;
    let filter = TrustFilter {
        project_id: Some(caller.project.clone()),
        user_id: (!caller.is_admin()).then(|| caller.user.clone()),
        limit: Some(LIST_LENGTH_MAX),
    };
    Ok(state.catalog.read().await?.list_trusts(&filter).await?)
}

/// Shows a trust.
///
/// Errors: `TRUST_NOT_FOUND`.
pub async fn show(state: &AppState, caller: &Caller, name: &str) -> Result<TrustRow, Error> {
    let none = || Error::not_found("TRUST_NOT_FOUND", "trust", &shown(name, 80));
    let id: Uuid = name.strip_prefix(NAME_PREFIX).unwrap_or(name).parse().map_err(|_| none())?;
    list(state, caller).await?.into_iter().find(|row| row.id == id).ok_or_else(none)
}

/// Makes the caller's trust, or gives the one that holds.
///
/// Errors: `TRUST_ROLE_INVALID` for another role than trusts lend, `TRUST_REFUSED`.
pub async fn create(state: &AppState, caller: &Caller, role_name: Option<&str>) -> Result<TrustRow, Error> {
    let book = book(state)?;
    if let Some(other) = role_name.filter(|name| !name.eq_ignore_ascii_case(book.role())) {
        let message =
            format!("a trust lends role {}, not {:?}: leave the role out", book.role(), shown(other, 80));
        return Err(Error::invalid("TRUST_ROLE_INVALID", message));
    }
    hold(book, caller, &caller.owner()).await
}

/// Takes a trust back. Jobs of the user fail from then on, until he makes another one.
///
/// Errors: `TRUST_NOT_FOUND`.
pub async fn delete(state: &AppState, caller: &Caller, name: &str) -> Result<(), Error> {
    let row = show(state, caller, name).await?;
    book(state)?.revoke(&row, caller).await?;
    tracing::info!(project = %row.project_id, user = %row.user_id, trust = row.trust_id, by = %caller.user, "trust taken back");
    Ok(())
}

/// Tells whether jobs of a workload could run on its user's trust.
///
/// Errors: `WORKLOAD_NOT_FOUND`.
pub async fn validate(state: &AppState, caller: &Caller, id: WorkloadId) -> Result<Validity, Error> {
    let book = book(state)?;
    let owner = workloads::require(&mut state.catalog.read().await?, caller, id).await?.owner();
    match book.check(&owner).await {
        Ok(row) => Ok(Validity { trust: Some(row), reason: None }),
        Err(error) if is_lasting(&error) => {
            let trust = state.catalog.read().await?.get_trust(&owner.project_id, &owner.user_id).await?;
            Ok(Validity { trust, reason: Some(error.to_string()) })
        }
        Err(error) => Err(error),
    }
}

fn book(state: &AppState) -> Result<&dyn TrustBook, Error> {
    let none = || {
        let message = "there are no trusts here: this service's users are not those of a cloud (auth.kind)";
        Error::conflict("TRUSTS_NOT_USED", message)
    };
    state.trusts.as_deref().ok_or_else(none)
}

/// Whether it will not pass by itself: the trust is the trouble, not the way to the cloud.
fn is_lasting(error: &Error) -> bool {
    matches!(error, Error::Trust(failure) if failure.class == ErrorClass::Permanent)
}
