//! Keystone in front of REST: whose a token is, and the trusts on which jobs run. The only part of the controller, beside
//! wiring, that knows OpenStack.
//!
//! ```text
//!  request's token ──▶ KeystoneDoor ──▶ Caller                   (believed for a short time, by a digest of the token)
//!                 └──▶ TrustBook.make ──▶ Keystone ──▶ catalog   (the trust's id and roles; never the token)
//!  owner of a job ───▶ TrustBook.session_for ──▶ a session of the service identity, scoped by the owner's trust
//! ```
//!
//! Which call runs as whom: a token is read with itself; a trust is made, and its predecessor deleted, with the user's token;
//! it is used and looked at by the service identity, the trustee.

mod keystone;
mod settings;

mod token_cache;

mod door;
mod trust_book;
mod trust_look;

pub use door::KeystoneDoor;
pub use keystone::Keystone;
pub use settings::open_session;
pub use trust_book::KeystoneTrusts;
