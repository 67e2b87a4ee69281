//! The services: under which types the catalog lists them, which path their API has, which microversion we speak.

use std::fmt;

use crate::Microversion;

/// A service that Holdfast calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Keystone.
    Identity,
    /// Nova.
    Compute,
    /// Cinder.
    BlockStorage,
    /// Glance.
    Image,
    /// Neutron.
    Network,
    /// Placement.
    Placement,
    /// Barbican.
    KeyManager,
    /// Holdfast itself, or whatever else speaks its API.
    Workloads,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::Compute,
        Self::BlockStorage,
        Self::Image,
        Self::Network,
        Self::Placement,
        Self::KeyManager,
        Self::Workloads,
    ];

    /// The official type, as in settings and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.types()[0]
    }

    /// The types under which catalogs list it, the preferred one first. `volume` and `volumev2` were other APIs once, but a cloud
    /// may list version 3 under `volume`.
    ///
    /// Source: <https://service-types.openstack.org/>
    #[must_use]
    pub const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Identity => &["identity"],
            Self::Compute => &["compute"],
            Self::BlockStorage => &["block-storage", "volumev3", "block-store", "volume"],
            Self::Image => &["image"],
            Self::Network => &["network"],
            Self::Placement => &["placement"],
            Self::KeyManager => &["key-manager"],
            Self::Workloads => &["workloads"],
        }
    }

    /// The path of the version that we speak. It is added to an endpoint that names no version.
    pub(crate) const fn version(self) -> Option<&'static str> {
        match self {
            Self::Identity | Self::BlockStorage => Some("v3"),
            Self::Compute => Some("v2.1"),
            Self::Image => Some("v2"),
            Self::Network => Some("v2.0"),
            Self::KeyManager | Self::Workloads => Some("v1"),
            Self::Placement => None,
        }
    }

    /// The microversion that we speak unless told otherwise: that of Train, the oldest release we want to run on.
    #[must_use]
    pub const fn microversion(self) -> Option<Microversion> {
        match self {
            Self::Compute => Some(Microversion::new(2, 79)),
            Self::BlockStorage => Some(Microversion::new(3, 59)),
            Self::Placement => Some(Microversion::new(1, 36)),
            Self::Identity | Self::Image | Self::Network | Self::KeyManager | Self::Workloads => None,
        }
    }

    /// The headers that name a microversion.
    pub(crate) fn microversion_headers(self, version: Microversion) -> Vec<(&'static str, String)> {
        const HEADER: &str = "openstack-api-version";
        match self {
            // The second is what Nova understood before 2.27; of both it takes the first.
            Self::Compute => vec![
                (HEADER, format!("compute {version}")),
                ("x-openstack-nova-api-version", version.to_string()),
            ],
            Self::BlockStorage => vec![(HEADER, format!("volume {version}"))],
            other => vec![(HEADER, format!("{} {version}", other.as_str()))],
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
