//! A user of a test's own on the broker of the cloud's services. It goes with the test.

use anyhow::Result;
use runtime::Entropy;
use secrecy::{ExposeSecret as _, SecretString};

use crate::lab::Broker;

/// What it may do: regular expressions over names.
#[derive(Debug, Clone, Copy)]
pub struct Rights<'a> {
    pub configure: &'a str,
    pub write: &'a str,
    pub read: &'a str,
}

impl Rights<'_> {
    /// All there are.
    pub const ALL: Self = Self { configure: ".*", write: ".*", read: ".*" };
}

/// The user, with its rights on the vhost of the services.
#[derive(Debug)]
pub struct BrokerUser {
    broker: Broker,
    pub name: String,
    pub password: SecretString,
}

impl BrokerUser {
    /// Makes it.
    pub fn create(broker: &Broker, rights: Rights<'_>) -> Result<Self> {
        let user = Self {
            broker: broker.clone(),
            name: format!("holdfast-test-{}", Entropy.uuid().simple()),
            password: SecretString::from(Entropy.uuid().simple().to_string()),
        };
        // It reads the password from its input.
        broker.control(&["add_user", &user.name], &format!("{}\n", user.password.expose_secret()))?;
        broker.control(
            &["set_permissions", "-p", "/", &user.name, rights.configure, rights.write, rights.read],
            "",
        )?;
        Ok(user)
    }
}

impl Drop for BrokerUser {
    fn drop(&mut self) {
        if let Err(error) = self.broker.control(&["delete_user", &self.name], "") {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "the broker's user {} stays: {error:#}", self.name);
        }
    }
}
