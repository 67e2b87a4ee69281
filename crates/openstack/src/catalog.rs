//! Keystone's catalog: where the services are.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use url::Url;

use crate::{Error, Service};

/// From where a service is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interface {
    /// For everybody.
    #[default]
    Public,
    /// For services, in a network of their own.
    Internal,
    /// For operators.
    Admin,
}

impl Interface {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Public, Self::Internal, Self::Admin];

    /// Keystone's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Interface {
    type Err = String;
    /// Takes the old spelling `publicURL` as well.
    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.strip_suffix("URL").unwrap_or(text);
        let found = Self::ALL.into_iter().find(|interface| interface.as_str() == word);
        found.ok_or_else(|| format!("interface {text:?} is none of public, internal, admin"))
    }
}

/// All services of a cloud, as a token tells them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Catalog(Vec<Entry>);

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    r#type: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Clone, Deserialize)]
struct Endpoint {
    interface: String,
    url: String,
    /// Keystone names a region twice; old ones fill only one of them.
    region: Option<String>,
    region_id: Option<String>,
}

impl Endpoint {
    fn region(&self) -> &str {
        self.region_id.as_deref().or(self.region.as_deref()).unwrap_or_default()
    }
}

impl Catalog {
    /// The root of the service's API: a path is appended to it.
    ///
    /// Errors: `EndpointMissing`, saying what there is instead; `EndpointAmbiguous` when it is in several regions and none is
    /// named; `EndpointInvalid`.
    pub fn endpoint(
        &self,
        service: Service,
        interface: Interface,
        region: Option<&str>,
    ) -> Result<Url, Error> {
        let of_type = service
            .types()
            .iter()
            .find_map(|it| self.0.iter().find(|entry| entry.r#type == *it && !entry.endpoints.is_empty()));
        let endpoints = of_type.map_or(&[][..], |entry| &entry.endpoints);
        let fitting = |endpoint: &&Endpoint| {
            endpoint.interface == interface.as_str() && region.is_none_or(|it| endpoint.region() == it)
        };
        let mut found = endpoints.iter().filter(fitting);
        let Some(endpoint) = found.next() else {
            let offered: Vec<_> =
                endpoints.iter().map(|it| format!("{} in {}", it.interface, it.region())).collect();
            let region = region.map(str::to_owned);
            return Err(Error::EndpointMissing { service, interface, region, offered });
        };
        let regions: BTreeSet<_> = found.map(Endpoint::region).chain([endpoint.region()]).collect();
        if regions.len() > 1 {
            let regions = regions.into_iter().map(str::to_owned).collect();
            return Err(Error::EndpointAmbiguous { service, regions });
        }
        root(service, &endpoint.url)
    }
}

/// The URL with the path of the version that we speak, where it names none.
pub(crate) fn root(service: Service, text: &str) -> Result<Url, Error> {
    let invalid = |reason: String| Error::EndpointInvalid { service, reason };
    let mut url = Url::parse(text).map_err(|error| invalid(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("expected http:// or https://".to_owned()));
    }
    url.set_query(None);
    url.set_fragment(None);
    let is_versioned = url.path_segments().is_some_and(|mut segments| segments.any(is_version));
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty();
        if let Some(version) = service.version().filter(|_| !is_versioned) {
            segments.push(version);
        }
    }
    Ok(url)
}

/// `v3`, `v2.1`.
fn is_version(segment: &str) -> bool {
    let Some(numbers) = segment.strip_prefix('v') else { return false };
    numbers.starts_with(|c: char| c.is_ascii_digit())
        && numbers.chars().all(|c| c.is_ascii_digit() || c == '.')
}

#[cfg(test)]
mod tests;
