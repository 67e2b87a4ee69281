//! Where the token of a request comes from: it may be another one after an hour.

use std::fmt;

use async_trait::async_trait;
use secrecy::SecretString;

/// Gives the token for a request, each time anew. Its `Debug` shows none.
#[async_trait]
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// A token that is good now.
    ///
    /// Errors: a sentence for the user.
    async fn token(&self) -> Result<SecretString, String>;
}

/// The same token for ever.
#[derive(Debug)]
pub(crate) struct Given(pub(crate) SecretString);

#[async_trait]
impl TokenSource for Given {
    async fn token(&self) -> Result<SecretString, String> {
        Ok(self.0.clone())
    }
}
