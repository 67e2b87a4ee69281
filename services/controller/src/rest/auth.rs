//! The door: a token becomes a caller, or nothing happens.

use std::fmt;

use async_trait::async_trait;

use crate::app::{Caller, Error};

/// Tells whose a token is. Tokens are never logged and never part of an error.
#[async_trait]
pub trait Authenticator: fmt::Debug + Send + Sync {
    /// The caller, or `None` for a token that is not valid.
    ///
    /// Errors: the authority does not answer.
    async fn authenticate(&self, token: &str) -> Result<Option<Caller>, Error>;
}
