//! Reads who and where from `clouds.yaml` and from `OS_*`: both are the same flat list of settings.
//!
//! Source: openstacksdk's "Configuring OpenStack SDK Applications".

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use crate::auth::Who;
use crate::{Auth, Config, Domain, Error, Named, Scope, Service, yaml};

/// Gives a variable by its name.
type Variable = Box<dyn Fn(&str) -> Option<String>>;

/// The variables of a process, and from where it runs.
pub(crate) struct Environment {
    variable: Variable,
    working_dir: PathBuf,
    system_dir: PathBuf,
}

impl Environment {
    pub(crate) fn of_process() -> Self {
        Self {
            variable: Box::new(|name| std::env::var(name).ok()),
            working_dir: PathBuf::from("."),
            system_dir: PathBuf::from("/etc/openstack"),
        }
    }

    pub(crate) fn of_variables(variables: BTreeMap<String, String>) -> Self {
        Self { variable: Box::new(move |name| variables.get(name).cloned()), ..Self::of_process() }
    }

    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// Where a file of that name may be, the first first.
    fn candidates(&self, variable: &str, file: &str) -> Vec<PathBuf> {
        let user_dir = self
            .get("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| self.get("HOME").map(|home| PathBuf::from(home).join(".config")));
        let named = self.get(variable).map(PathBuf::from);
        let usual = [Some(self.working_dir.clone()), user_dir.map(|dir| dir.join("openstack"))];
        let usual = usual.into_iter().flatten().chain([self.system_dir.clone()]);
        named.into_iter().chain(usual.map(|dir| dir.join(file))).collect()
    }
}

/// Settings by their names in `clouds.yaml`; some of them are secret.
#[derive(Default, Clone)]
struct Settings(BTreeMap<String, String>);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// See `Config::find`.
pub(crate) fn find(cloud: Option<&str>, environment: &Environment) -> Result<Config, Error> {
    let Some(cloud) = cloud.map(str::to_owned).or_else(|| environment.get("OS_CLOUD")) else {
        return Settings::of_variables(environment)?.config();
    };
    let mut document = Value::Null;
    let candidates = environment.candidates("OS_CLIENT_CONFIG_FILE", "clouds.yaml");
    if !candidates.iter().any(|path| is_file(path)) {
        let places: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
        return Err(invalid(format!(
            "there is no clouds.yaml to find cloud {cloud:?} in: {}",
            places.join(", ")
        )));
    }
    let secure = environment.candidates("OS_CLIENT_SECURE_FILE", "secure.yaml");
    for paths in [&candidates, &secure] {
        if let Some(path) = paths.iter().find(|path| is_file(path)) {
            merge(&mut document, read(path)?);
        }
    }
    let mut settings = Settings::of_document(&document, &cloud)?;
    // Where, but not who: a variable left over from another cloud must not log in to this one.
    for (name, key) in [("OS_REGION_NAME", "region_name"), ("OS_INTERFACE", "interface")] {
        if let Some(value) = environment.get(name) {
            settings.0.insert(key.to_owned(), value);
        }
    }
    settings.config()
}

/// See `Config::from_clouds_yaml`.
pub(crate) fn from_file(path: &Path, cloud: &str) -> Result<Config, Error> {
    let mut document = read(path)?;
    let secure = path.with_file_name("secure.yaml");
    if is_file(&secure) {
        merge(&mut document, read(&secure)?);
    }
    Settings::of_document(&document, cloud)?.config()
}

fn is_file(path: &Path) -> bool {
    // One that cannot be looked at is not the one; reading a named one says why.
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn read(path: &Path) -> Result<Value, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| invalid(format!("{} cannot be read: {error}", path.display())))?;
    yaml::parse(&text).map_err(|error| invalid(format!("{} is not YAML: {error}", path.display())))
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::Config { reason: reason.into() }
}

impl Settings {
    fn of_variables(environment: &Environment) -> Result<Self, Error> {
        let variable = |key: &&str| {
            let value = environment.get(&format!("OS_{}", key.to_uppercase()))?;
            Some(((*key).to_owned(), value))
        };
        let mut settings = Self(KEYS.iter().filter_map(variable).collect());
        if settings.0.is_empty() {
            return Err(invalid(
                "no cloud is named: give its name in clouds.yaml, or set OS_CLOUD or OS_AUTH_URL",
            ));
        }
        if let Some(insecure) = environment.get("OS_INSECURE") {
            let is_insecure = matches!(insecure.to_lowercase().as_str(), "1" | "true" | "yes");
            settings.0.insert("verify".to_owned(), (!is_insecure).to_string());
        }
        Ok(settings)
    }

    fn of_document(document: &Value, cloud: &str) -> Result<Self, Error> {
        let clouds = document.get("clouds").and_then(Value::as_object);
        let clouds = clouds.ok_or_else(|| invalid("clouds.yaml has no `clouds`"))?;
        let Some(entry) = clouds.get(cloud).and_then(Value::as_object) else {
            let names: Vec<_> = clouds.keys().map(String::as_str).collect();
            return Err(invalid(format!("clouds.yaml has no cloud {cloud:?}; it has: {}", names.join(", "))));
        };
        let mut settings = Self::default();
        let auth = entry.get("auth").and_then(Value::as_object);
        for (key, value) in entry.iter().chain(auth.into_iter().flatten()) {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                _ => continue,
            };
            settings.0.insert(key.clone(), text);
        }
        Ok(settings)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn first(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.get(key))
    }

    fn need(&self, key: &str) -> Result<&str, Error> {
        let variable = key.to_uppercase();
        self.get(key).ok_or_else(|| invalid(format!("{key} is missing (OS_{variable})")))
    }

    fn secret(&self, key: &str) -> Result<SecretString, Error> {
        self.need(key).map(|value| SecretString::from(value.to_owned()))
    }

    fn config(&self) -> Result<Config, Error> {
        let mut config = Config::new(self.auth()?);
        config.region = self.get("region_name").map(str::to_owned);
        if let Some(interface) = self.first(&["interface", "endpoint_type"]) {
            config.interface = interface.parse().map_err(invalid)?;
        }
        config.ca_file = self.get("cacert").map(PathBuf::from);
        if matches!(self.get("verify").map(str::to_lowercase).as_deref(), Some("false" | "no" | "0")) {
            return Err(invalid(
                "verify is off (OS_INSECURE): a token sent to whoever answers is a token lost; name the authority's certificate in cacert instead (OS_CACERT)",
            ));
        }
        if self.first(&["cert", "key"]).is_some() {
            return Err(invalid("cert and key: certificates of clients are not supported"));
        }
        for service in Service::ALL {
            for kind in service.types() {
                let key = format!("{}_endpoint_override", kind.replace('-', "_"));
                let Some(url) = self.get(&key) else { continue };
                let url = Url::parse(url).map_err(|error| invalid(format!("{key}: {error}")))?;
                config.endpoints.insert(service, url);
            }
        }
        Ok(config)
    }

    fn auth(&self) -> Result<Auth, Error> {
        let url = self.need("auth_url")?;
        let kind = self.get("auth_type").unwrap_or_default();
        let has_credential =
            self.first(&["application_credential_id", "application_credential_name"]).is_some();
        let (who, scope) = match kind {
            "v3applicationcredential" => (self.application_credential()?, Scope::Default),
            "" | "password" if has_credential => (self.application_credential()?, Scope::Default),
            "token" | "v3token" => (Who::Token(self.secret("token")?), self.scope()?),
            "" if self.get("password").is_none() && self.get("token").is_some() => {
                (Who::Token(self.secret("token")?), self.scope()?)
            }
            "" | "password" | "v3password" => {
                (Who::Password { user: self.user()?, password: self.secret("password")? }, self.scope()?)
            }
            other => {
                return Err(invalid(format!(
                    "auth_type {other:?} is none of password, v3password, v3applicationcredential, token, v3token"
                )));
            }
        };
        Auth::new(url, who, scope)
    }

    fn application_credential(&self) -> Result<Who, Error> {
        let secret = self.secret("application_credential_secret")?;
        match self.get("application_credential_id") {
            Some(id) => Ok(Who::ApplicationCredential { id: id.to_owned(), secret }),
            None => Ok(Who::NamedApplicationCredential {
                name: self.need("application_credential_name")?.to_owned(),
                user: self.user()?,
                secret,
            }),
        }
    }

    fn user(&self) -> Result<Named, Error> {
        match self.get("user_id") {
            Some(id) => Ok(Named::Id(id.to_owned())),
            None => self.named(self.need("username")?, "user_domain"),
        }
    }

    fn scope(&self) -> Result<Scope, Error> {
        if let Some(trust) = self.get("trust_id") {
            return Ok(Scope::Trust(trust.to_owned()));
        }
        if self.get("system_scope").is_some() {
            return Ok(Scope::System);
        }
        if let Some(id) = self.first(&["project_id", "tenant_id"]) {
            return Ok(Scope::Project(Named::Id(id.to_owned())));
        }
        if let Some(name) = self.first(&["project_name", "tenant_name"]) {
            return Ok(Scope::Project(self.named(name, "project_domain")?));
        }
        Ok(match (self.get("domain_id"), self.get("domain_name")) {
            (Some(id), _) => Scope::Domain(Domain::Id(id.to_owned())),
            (None, Some(name)) => Scope::Domain(Domain::Name(name.to_owned())),
            (None, None) => Scope::Default,
        })
    }

    /// `kind` is `user_domain` or `project_domain`.
    fn named(&self, name: &str, kind: &str) -> Result<Named, Error> {
        let id = self.first(&[&format!("{kind}_id"), "default_domain_id", "default_domain"]);
        let domain = match (self.get(&format!("{kind}_name")), id) {
            (Some(name), _) if self.get(&format!("{kind}_id")).is_none() => Domain::Name(name.to_owned()),
            (_, Some(id)) => Domain::Id(id.to_owned()),
            // What Keystone's bootstrap makes, and openstacksdk assumes.
            (_, None) => Domain::Id("default".to_owned()),
        };
        Ok(Named::Name { name: name.to_owned(), domain })
    }
}

/// The settings that variables may give.
const KEYS: [&str; 32] = [
    "auth_url",
    "auth_type",
    "username",
    "user_id",
    "password",
    "token",
    "project_name",
    "project_id",
    "tenant_name",
    "tenant_id",
    "user_domain_name",
    "user_domain_id",
    "project_domain_name",
    "project_domain_id",
    "default_domain",
    "default_domain_id",
    "domain_name",
    "domain_id",
    "system_scope",
    "trust_id",
    "application_credential_id",
    "application_credential_name",
    "application_credential_secret",
    "region_name",
    "interface",
    "endpoint_type",
    "cacert",
    "cert",
    "key",
    "workloads_endpoint_override",
    "compute_endpoint_override",
    "identity_endpoint_override",
];

#[cfg(test)]
mod tests;
