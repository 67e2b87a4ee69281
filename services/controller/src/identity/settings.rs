//! From `[openstack]` to a session of the service identity.

use std::time::Duration;

use openstack::{Auth, Config, Domain, Interface, Named, Scope, Session, Timeouts};
use service_kit::config::read_secret;
use service_kit::telemetry::Chain;

use crate::config::OpenstackSection;

/// Opens the session; it logs in when it is first needed.
///
/// Errors: a sentence naming the key.
pub fn open_session(section: &OpenstackSection) -> Result<Session, String> {
    let mut config = read_config(section)?;
    if let Some(text) = &section.interface {
        config.interface =
            text.parse::<Interface>().map_err(|reason| format!("openstack.interface: {reason}"))?;
    }
    if section.region.is_some() {
        config.region.clone_from(&section.region);
    }
    if section.ca_file.is_some() {
        config.ca_file.clone_from(&section.ca_file);
    }
    config.timeouts = Timeouts {
        connect: Duration::from_millis(section.connect_timeout_ms),
        request: Duration::from_millis(section.request_timeout_ms),
        ..config.timeouts
    };
    Session::new(config).map_err(|error| format!("[openstack]: {error}"))
}

fn read_config(section: &OpenstackSection) -> Result<Config, String> {
    let Some(auth_url) = &section.auth_url else {
        let read = match (&section.clouds_yaml, &section.cloud) {
            (Some(path), Some(cloud)) => Config::from_clouds_yaml(path, cloud),
            (None, cloud) => Config::find(cloud.as_deref()),
            (Some(_), None) => return Err("openstack.cloud is missing: name an entry of the file".to_owned()),
        };
        return read.map_err(|error| format!("[openstack]: {error}"));
    };
    let path = section.password_file.as_deref().ok_or("openstack.password_file is missing")?;
    let password =
        read_secret(path).map_err(|error| format!("openstack.password_file: {}", Chain(&error)))?;
    let named = |name: &str, domain: &str| Named::Name {
        name: name.to_owned(),
        domain: Domain::Name(domain.to_owned()),
    };
    let auth = Auth::password(
        auth_url,
        named(&section.user, &section.user_domain),
        password,
        Scope::Project(named(&section.project, &section.project_domain)),
    );
    Ok(Config::new(auth.map_err(|error| format!("openstack.auth_url: {error}"))?))
}
