//! Whether a token that somebody showed us is good.

use secrecy::SecretString;

use super::Keystone;
use crate::token::TokenBody;
use crate::{Error, Service, TokenInfo};

impl Keystone {
    /// What a token stands for; none when it is no token, has ended or was revoked. Our own user needs the right to ask (role
    /// `service` or `admin`).
    ///
    /// Errors: those of the request; a 404 that is not Keystone's own is one, or a wrong address would make all tokens invalid.
    pub async fn validate_token(&self, subject: &SecretString) -> Result<Option<TokenInfo>, Error> {
        let request = self.session.get(Service::Identity, "/auth/tokens").query("nocatalog", "");
        match request.secret_header("x-subject-token", subject).json::<TokenBody>().await {
            Ok(body) => Ok(Some(body.token)),
            Err(Error::Answered(answered)) if answered.status == 404 && answered.is_api => Ok(None),
            Err(error) => Err(error),
        }
    }
}
