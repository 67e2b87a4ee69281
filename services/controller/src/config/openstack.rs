//! `[auth]` and `[openstack]`: who vouches for users, and who Holdfast itself is in the cloud.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// A token that was revoked is believed no longer than this.
const TOKEN_CACHE_MAX: Duration = Duration::from_secs(60);

/// `[auth]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    #[serde(default)]
    pub kind: AuthKind,
    /// For `tokens_file`.
    pub tokens_file: Option<PathBuf>,
    /// For `keystone`.
    #[serde(default)]
    pub keystone: KeystoneSection,
}

/// Who vouches for users.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    /// A file that an operator writes.
    #[default]
    TokensFile,
    /// The cloud's own.
    Keystone,
}

/// `[auth.keystone]`: what its roles mean here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeystoneSection {
    /// Without it nobody writes, and no other role replaces it; each trust lends it.
    pub trustee_role: String,
    /// Sees and settles what belongs to the operator.
    pub admin_role: String,
    /// Each of them reads.
    pub reader_roles: Vec<String>,
    /// Lent beside the trustee role, where the user has them: what the cloud's services ask for.
    pub delegated_roles: Vec<String>,
    /// How long a token that was found good is believed.
    pub token_cache_ms: u64,
}

impl Default for KeystoneSection {
    fn default() -> Self {
        Self {
            trustee_role: "creator".to_owned(),
            admin_role: "admin".to_owned(),
            reader_roles: vec!["reader".to_owned(), "member".to_owned()],
            delegated_roles: vec!["member".to_owned()],
            token_cache_ms: 30_000,
        }
    }
}

/// `[openstack]`: the service identity, by an entry of a `clouds.yaml` or in full.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenstackSection {
    /// An entry of `clouds_yaml`.
    pub cloud: Option<String>,
    pub clouds_yaml: Option<PathBuf>,

    /// Keystone's address, with its version.
    pub auth_url: Option<String>,
    #[serde(default = "default_user")]
    pub user: String,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// The project in which the user has the role `service`.
    #[serde(default = "default_project")]
    pub project: String,
    #[serde(default = "default_domain")]
    pub user_domain: String,
    #[serde(default = "default_domain")]
    pub project_domain: String,

    pub region: Option<String>,
    /// `public`, `internal` or `admin`: which of a service's addresses.
    pub interface: Option<String>,
    /// Certificates to believe beside the system's own.
    pub ca_file: Option<PathBuf>,
    #[serde(default = "default_connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    #[serde(default = "default_request_timeout_ms")]
    pub request_timeout_ms: u64,
}

impl Auth {
    /// Errors: a sentence naming the key.
    pub(super) fn check(&self, openstack: Option<&OpenstackSection>) -> Result<(), String> {
        match self.kind {
            AuthKind::TokensFile if self.tokens_file.is_none() => {
                Err("auth.tokens_file is missing: name the file, or set auth.kind = \"keystone\"".to_owned())
            }
            AuthKind::TokensFile => Ok(()),
            AuthKind::Keystone if openstack.is_none() => {
                Err("auth.kind = \"keystone\" needs the section [openstack]: who Holdfast is in the cloud"
                    .to_owned())
            }
            AuthKind::Keystone => self.keystone.check(),
        }
    }
}

impl KeystoneSection {
    /// See `token_cache_ms`.
    #[must_use]
    pub const fn token_cache(&self) -> Duration {
        Duration::from_millis(self.token_cache_ms)
    }

    fn check(&self) -> Result<(), String> {
        for (key, value) in [("trustee_role", &self.trustee_role), ("admin_role", &self.admin_role)] {
            if value.trim().is_empty() {
                return Err(format!("auth.keystone.{key} is empty: name a role"));
            }
        }
        let lent = || self.delegated_roles.iter().chain([&self.trustee_role]);
        if lent().any(|role| role.eq_ignore_ascii_case(&self.admin_role)) {
            return Err(format!(
                "auth.keystone lends {} to jobs, which is admin_role: what reaches across projects is not lent",
                self.admin_role
            ));
        }
        if self.token_cache() > TOKEN_CACHE_MAX {
            let seconds = TOKEN_CACHE_MAX.as_secs();
            return Err(format!(
                "auth.keystone.token_cache_ms is more than {seconds} s: a revoked token would be believed too long"
            ));
        }
        Ok(())
    }
}

impl OpenstackSection {
    /// Errors: a sentence naming the key.
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.cloud, &self.auth_url) {
            (Some(_), Some(_)) => {
                Err("openstack.cloud and openstack.auth_url exclude each other: keep one".to_owned())
            }
            (None, None) => {
                Err("[openstack] names no cloud: set openstack.cloud or openstack.auth_url".to_owned())
            }
            (None, Some(_)) if self.password_file.is_none() => {
                Err("openstack.password_file is missing".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn default_user() -> String {
    "holdfast".to_owned()
}

fn default_project() -> String {
    "service".to_owned()
}

fn default_domain() -> String {
    "Default".to_owned()
}

const fn default_connect_timeout_ms() -> u64 {
    10_000
}

const fn default_request_timeout_ms() -> u64 {
    60_000
}

#[cfg(test)]
mod tests {
    use super::super::{Config, EXAMPLE};

    fn parse(from: &str, to: &str) -> Result<(), String> {
        assert!(EXAMPLE.contains(from), "{from}");
        toml::from_str::<Config>(&EXAMPLE.replace(from, to)).map_err(|error| error.to_string())?.check()
    }

    #[test]
    fn a_config_from_before_there_was_a_choice_is_still_good() {
        let start = EXAMPLE.find("kind = \"tokens_file\"").unwrap();
        let end = EXAMPLE.find("tokens_file = \"/").unwrap();
        let auth = EXAMPLE.find("[auth.keystone]").unwrap();
        let cloud = EXAMPLE.find("[cloud]").unwrap();
        let old = format!("{}{}{}", &EXAMPLE[..start], &EXAMPLE[end..auth], &EXAMPLE[cloud..]);
        toml::from_str::<Config>(&old).unwrap().check().unwrap();
    }

    #[test]
    fn a_door_that_cannot_work_names_the_key() {
        for (from, to, expected) in [
            ("tokens_file = \"/etc/holdfast/tokens.toml\"", "", "auth.tokens_file is missing"),
            ("kind = \"tokens_file\"", "kind = \"guess\"", "unknown variant `guess`"),
            ("token_cache_ms = 30000", "token_cache_ms = 60001", "more than 60 s"),
            ("trustee_role = \"creator\"", "trustee_role = \"\"", "auth.keystone.trustee_role is empty"),
            ("auth_url = ", "cloud = \"x\"\nauth_url = ", "exclude each other"),
            (
                "password_file = \"/etc/holdfast/openstack-password\"",
                "",
                "openstack.password_file is missing",
            ),
            ("auth_url = \"http://127.0.0.1:5000/v3\"", "", "names no cloud"),
        ] {
            let keystone = |text: &str| text.replace("kind = \"tokens_file\"", "kind = \"keystone\"");
            let is_about_file = expected.contains("tokens_file") || expected.contains("guess");
            let outcome = if is_about_file {
                parse(from, to)
            } else {
                toml::from_str::<Config>(&keystone(EXAMPLE).replace(from, to)).unwrap().check()
            };
            let error = outcome.unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn keystone_needs_to_know_who_we_are() {
        let text = EXAMPLE.replace("kind = \"tokens_file\"", "kind = \"keystone\"");
        toml::from_str::<Config>(&text).unwrap().check().unwrap();
        let (start, end) = (text.find("[openstack]").unwrap(), text.find("[cloud]").unwrap());
        let without = format!("{}{}", &text[..start], &text[end..]);
        let error = toml::from_str::<Config>(&without).unwrap().check().unwrap_err();
        assert!(error.contains("needs the section [openstack]"), "{error}");
    }
}
