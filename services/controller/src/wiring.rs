//! Which drivers there are. The only file of the controller that names one.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use catalog::Catalog;
use cloud::Cloud;
use directory_cloud::DirectoryCloud;
use model::{Check, Failure, Owner};
use openstack::Session;
use openstack_cloud::{OpenStackCloud, Sessions, Settings};
use runtime::{Clock, FaultTable};
use service_kit::telemetry::Chain;
use service_kit::{StartError, checks};

use crate::app::trusts::TrustBook;
use crate::config::{AuthKind, CloudSection, Config};
use crate::doctor::CloudExaminer;
use crate::identity::{Keystone, KeystoneDoor, KeystoneTrusts, open_session};
use crate::rest::{Authenticator, TokensFile};

/// A `[cloud]` that works, for printed configs.
pub const CLOUD_SECTION_EXAMPLE: &str = "[cloud]\nkind = \"directory\"\npath = \"/srv/holdfast/cloud\"\n";

/// Who vouches for users, and where it is kept what they entrusted us with.
#[derive(Debug)]
pub struct Identity {
    pub authenticator: Arc<dyn Authenticator>,
    /// `None`: nobody there who could entrust us with anything.
    pub trusts: Option<KeystoneTrusts>,
}

impl Identity {
    /// The trusts as users see them.
    #[must_use]
    pub fn trust_book(&self) -> Option<Arc<dyn TrustBook>> {
        let trusts = self.trusts.clone()?;
        Some(Arc::new(trusts))
    }
}

/// Opens what `[auth]` names.
///
/// Errors: it cannot be used.
pub fn open_identity(
    config: &Config,
    catalog: &Catalog,
    clock: &Arc<dyn Clock>,
) -> Result<Identity, StartError> {
    let auth = &config.auth;
    match (auth.kind, &auth.tokens_file, &config.openstack) {
        (AuthKind::TokensFile, Some(path), _) => {
            let tokens =
                TokensFile::open(path).map_err(|error| StartError::usage(Chain(&error).to_string()))?;
            Ok(Identity { authenticator: Arc::new(tokens), trusts: None })
        }
        (AuthKind::Keystone, _, Some(section)) => {
            let keystone = Keystone::new(open_session(section).map_err(StartError::usage)?);
            let door = KeystoneDoor::new(keystone.clone(), &auth.keystone, Arc::clone(clock));
            let trusts = KeystoneTrusts::new(keystone, catalog.clone(), Arc::clone(clock), &auth.keystone);
            Ok(Identity { authenticator: Arc::new(door), trusts: Some(trusts) })
        }
        _ => Err(StartError::usage("[auth] is not whole")),
    }
}

/// Opens the cloud of the config.
///
/// Errors: the driver cannot use it.
pub fn open_cloud(
    section: &CloudSection,
    faults: FaultTable,
    identity: &Identity,
) -> Result<Arc<dyn Cloud>, StartError> {
    match section {
        CloudSection::Directory { path } => {
            let cloud = DirectoryCloud::open(path, faults)
                .map_err(|error| StartError::usage(Chain(&error).to_string()))?;
            Ok(Arc::new(cloud))
        }
        CloudSection::Openstack(section) => {
            let Some(trusts) = identity.trusts.clone() else {
                return Err(StartError::usage("cloud.kind = \"openstack\" needs auth.kind = \"keystone\""));
            };
            let settings = Settings {
                calls_max: section.calls_max,
                snapshots_count_gigabytes: section.snapshots_count_gigabytes,
            };
            Ok(Arc::new(OpenStackCloud::new(Arc::new(trusts), settings)))
        }
    }
}

/// Reads what the cloud's services tell. The form is the same whatever the driver.
#[must_use]
pub fn read_notification(body: &[u8]) -> Option<cloud::Notification> {
    match openstack_cloud::notifications::read(body) {
        Ok(notification) => notification,
        Err(error) => {
            tracing::debug!(%error, "something else among the notifications");
            None
        }
    }
}

/// What looks at the cloud of the config; `None`: there is nobody to ask.
#[must_use]
pub fn cloud_examiner(section: &CloudSection, identity: &Identity) -> Option<Arc<dyn CloudExaminer>> {
    match (section, &identity.trusts) {
        (CloudSection::Openstack(_), Some(trusts)) => Some(Arc::new(OpenStackExaminer(trusts.service()))),
        _ => None,
    }
}

/// Looks at the cloud of a config that no controller runs with yet.
pub async fn check_cloud(config: &Config) -> Vec<Check> {
    match (&config.cloud, &config.openstack) {
        (CloudSection::Directory { path }, _) => {
            vec![checks::folder("cloud", "CLOUD_FOLDER_UNUSABLE", path)]
        }
        (CloudSection::Openstack(_), Some(section)) => match open_session(section) {
            Ok(session) => openstack_cloud::examine(&session).await,
            Err(reason) => vec![Check::fail("cloud", "CONFIG_INVALID", reason)],
        },
        (CloudSection::Openstack(_), None) => {
            vec![Check::fail("cloud", "CONFIG_INVALID", "the section [openstack] is missing")]
        }
    }
}

#[derive(Debug)]
struct OpenStackExaminer(Session);

#[async_trait]
impl CloudExaminer for OpenStackExaminer {
    async fn examine(&self) -> Vec<Check> {
        openstack_cloud::examine(&self.0).await
    }
}

/// The sessions of the cloud's driver: each owner's by their trust.
#[async_trait]
impl Sessions for KeystoneTrusts {
    async fn session_for(&self, owner: &Owner) -> Result<Session, Failure> {
        Self::session_for(self, owner).await
    }

    async fn service_session(&self) -> Result<Option<Session>, Failure> {
        Ok(Some(self.service()))
    }
}

/// The faults of a drill: those of the config, else those that lie in the cloud's folder.
#[must_use]
pub fn fault_table(section: &CloudSection, drill_file: Option<&Path>) -> FaultTable {
    match (drill_file, section) {
        (Some(path), _) => FaultTable::from_file(path),
        (None, CloudSection::Directory { path }) => directory_cloud::fault_table(path),
        (None, CloudSection::Openstack(_)) => FaultTable::none(),
    }
}
