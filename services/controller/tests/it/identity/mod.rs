//! Users of a cloud: the door, and the trusts, against a Keystone in memory that answers as a real one was seen to.

mod fake_keystone;

mod doctor;
mod door;
mod trusts;

use std::sync::Arc;

use controller::app::trusts::TrustBook;
use controller::config::{KeystoneSection, OpenstackSection};
use controller::identity::{Keystone, KeystoneDoor, KeystoneTrusts, open_session};
use rest_api::Client;
use runtime::SystemClock;

use crate::rest::fixture::{Service, write_secret};
use fake_keystone::{FakeKeystone, PASSWORD};

/// The role that writes.
const TRUSTEE: &str = "backup";
const ALICE: &[&str] = &["member", "reader", TRUSTEE];

/// A service whose users are those of a fake Keystone.
struct Site {
    service: Service,
    keystone: FakeKeystone,
    trusts: KeystoneTrusts,
    _dir: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        let keystone = FakeKeystone::start();
        Self::start_at(&keystone.url.clone(), keystone).await
    }

    async fn start_at(url: &str, keystone: FakeKeystone) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let password_file = dir.path().join("password");
        write_secret(&password_file, PASSWORD);
        let text = format!("auth_url = \"{url}\"\npassword_file = {password_file:?}\n");
        let section: OpenstackSection = toml::from_str(&text).unwrap();
        let asked = Keystone::new(open_session(&section).unwrap());
        let section = KeystoneSection { trustee_role: TRUSTEE.to_owned(), ..KeystoneSection::default() };
        let door = KeystoneDoor::new(asked.clone(), &section, SystemClock::shared());
        let mut kept = None;
        let service = Service::start_behind(|catalog| {
            let trusts = KeystoneTrusts::new(asked, catalog.clone(), SystemClock::shared(), &section);
            kept = Some(trusts.clone());
            (Arc::new(door), Some(Arc::new(trusts) as Arc<dyn TrustBook>))
        })
        .await;
        Self { service, keystone, trusts: kept.unwrap(), _dir: dir }
    }

    /// A user of the project `acme` with these roles, and a token of theirs.
    fn user(&self, name: &str, roles: &[&str]) -> Client {
        self.service.client_of("acme", &self.keystone.log_in(name, Some("acme"), roles))
    }
}
