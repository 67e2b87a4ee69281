//! What we ask of Keystone beyond a token of our own: whether somebody else's is good, trusts, and the entries of a service.

mod registry;
mod trusts;
mod validation;

pub use registry::{EndpointEntry, Entry};
pub use trusts::{NewTrust, Trust};

use crate::Session;

/// Keystone, as the user of a session.
#[derive(Debug, Clone)]
pub struct Keystone {
    session: Session,
}

impl Session {
    /// Keystone, as this user.
    #[must_use]
    pub fn keystone(&self) -> Keystone {
        Keystone { session: self.clone() }
    }
}
