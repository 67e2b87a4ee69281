//! All that a session needs to know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runtime::{Clock, RetryPolicy, SystemClock};
use url::Url;

use crate::settings::{self, Environment};
use crate::{Auth, Error, Interface, Microversion, Service};

/// How long what may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until a connection stands.
    pub connect: Duration,
    /// A whole request with its answer; not of streams.
    pub request: Duration,
    /// Between two parts of a stream.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        // Nova's own calls to Cinder and Neutron, behind one request of ours, wait for up to 60 s.
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(90),
            idle: Duration::from_secs(90),
        }
    }
}

/// Who, where and how.
#[derive(Debug, Clone)]
pub struct Config {
    pub auth: Auth,
    /// None: the only one there is.
    pub region: Option<String>,
    pub interface: Interface,
    /// Certificates (PEM) to believe besides those of the system.
    pub ca_file: Option<PathBuf>,
    pub timeouts: Timeouts,
    pub retry: RetryPolicy,
    /// A service that asks for more patience than this gets its answer from our caller.
    pub retry_after_max: Duration,
    /// In place of `Service::microversion`.
    pub microversions: BTreeMap<Service, Microversion>,
    /// In place of the catalog's.
    pub endpoints: BTreeMap<Service, Url>,
    pub clock: Arc<dyn Clock>,
}

impl Config {
    /// What is usual, for `auth`.
    #[must_use]
    pub fn new(auth: Auth) -> Self {
        let retry = RetryPolicy {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(8),
            attempts_max: Some(4),
        };
        Self {
            auth,
            region: None,
            interface: Interface::Public,
            ca_file: None,
            timeouts: Timeouts::default(),
            retry,
            retry_after_max: Duration::from_secs(30),
            microversions: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            clock: SystemClock::shared(),
        }
    }

    /// As the shell says: the cloud `cloud` of `clouds.yaml`, else the one named by `OS_CLOUD`, else `OS_*`.
    ///
    /// Errors: `Config`, naming what is missing.
    pub fn find(cloud: Option<&str>) -> Result<Self, Error> {
        settings::find(cloud, &Environment::of_process())
    }

    /// As the variables `OS_*` say.
    ///
    /// Errors: `Config`, naming the variable.
    pub fn from_env() -> Result<Self, Error> {
        Self::find(None)
    }

    /// As `find`, with these variables in place of the process's.
    ///
    /// Errors: `Config`, naming what is missing.
    pub fn from_variables(variables: BTreeMap<String, String>) -> Result<Self, Error> {
        settings::find(None, &Environment::of_variables(variables))
    }

    /// A cloud of this `clouds.yaml`, and of a `secure.yaml` beside it.
    ///
    /// Errors: `Config`, naming file and key.
    pub fn from_clouds_yaml(path: &Path, cloud: &str) -> Result<Self, Error> {
        settings::from_file(path, cloud)
    }
}
