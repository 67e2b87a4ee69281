//! The controller's config file: what an operator may set, and its example. Times become `Duration`s here.

mod notifications;
mod openstack;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use broker_admin::Admin;
use model::{JobKind, ProjectId, ServiceName};
use serde::Deserialize;
use service_kit::config::{BusSection, HealthSection, read_secret};

pub use notifications::NotificationsSection;
pub use openstack::{Auth, AuthKind, KeystoneSection, OpenstackSection};

/// Shown by `--help`; a test parses it.
pub const EXAMPLE: &str = include_str!("../controller.example.toml");

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub bus: BusSection,
    pub database: Database,
    pub rest: Rest,
    pub auth: Auth,
    /// Needed where Keystone vouches for users.
    pub openstack: Option<OpenstackSection>,
    pub cloud: CloudSection,
    #[serde(default, rename = "target")]
    pub targets: Vec<Target>,
    /// Absent: the status shows no queues.
    pub broker: Option<BrokerSection>,
    /// Absent: nothing is heard of the cloud, and nothing told.
    pub notifications: Option<NotificationsSection>,
    /// Which services may submit jobs over the bus; none may what is not granted.
    #[serde(default, rename = "intake_grant")]
    pub intake_grants: Vec<IntakeGrant>,
    #[serde(default)]
    pub timing: Timing,
    #[serde(default)]
    pub health: HealthSection,
    /// A table of `[[fault]]`s; see `runtime::FaultTable`.
    pub drill_file: Option<PathBuf>,
}

/// `[database]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: String,
}

impl std::fmt::Debug for Database {
    /// The url may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.url.split(':').next().unwrap_or_default();
        f.debug_struct("Database").field("url", &format_args!("{scheme}:…")).finish()
    }
}

/// `[rest]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rest {
    /// Port 0 takes a free one.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Where the address that was taken is written.
    pub address_file: Option<PathBuf>,
}

/// `[broker]`: where the status finds the figures of queues.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerSection {
    /// The broker's management API, for example `http://127.0.0.1:15672`.
    pub management_url: String,
    /// Needs the tag `monitoring`, and no rights.
    #[serde(default = "default_monitor")]
    pub user: String,
    /// A file whose first line is the password.
    pub password_file: PathBuf,
}

impl BrokerSection {
    /// A client of it; nothing is asked yet.
    ///
    /// Errors: the password file, or the address makes no sense.
    pub fn open(&self) -> Result<Admin, String> {
        let password = read_secret(&self.password_file).map_err(|error| error.to_string())?;
        Admin::new(&self.management_url, &self.user, password).map_err(|error| error.to_string())
    }
}

/// `[cloud]`: which driver, and what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CloudSection {
    Directory { path: PathBuf },
    Openstack(OpenstackCloudSection),
}

/// `[cloud]` of an OpenStack; who Holdfast is there says `[openstack]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenstackCloudSection {
    /// Calls under way at once, of all jobs of this controller together.
    pub calls_max: usize,
    /// False where Cinder's `no_snapshot_gb_quota` is set.
    pub snapshots_count_gigabytes: bool,
}

impl Default for OpenstackCloudSection {
    fn default() -> Self {
        Self { calls_max: 16, snapshots_count_gigabytes: true }
    }
}

/// `[[target]]`: a backup target.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub name: String,
    pub path: PathBuf,
}

/// `[[intake_grant]]`: a service that may submit jobs. Several for one service add up.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntakeGrant {
    /// As in its AMQP user `holdfast-intake-<service>`.
    pub service: ServiceName,
    /// Each by name: a kind that a later version brings is not granted by itself.
    pub kinds: Vec<JobKind>,
    /// Projects; `"*"` is all.
    pub projects: Vec<String>,
}

impl IntakeGrant {
    /// Whether it lets `service` submit jobs of `kind` for `project`.
    #[must_use]
    pub fn allows(&self, service: &str, kind: JobKind, project: &ProjectId) -> bool {
        self.service.as_str() == service
            && self.kinds.contains(&kind)
            && self.projects.iter().any(|it| it == ALL_PROJECTS || it == project.as_str())
    }

    fn check(&self) -> Result<(), String> {
        let service = &self.service;
        if self.kinds.is_empty() || self.projects.is_empty() {
            return Err(format!("the intake_grant of {service} grants nothing: name kinds and projects"));
        }
        for project in self.projects.iter().filter(|project| *project != ALL_PROJECTS) {
            let checked = project.parse::<ProjectId>();
            checked.map_err(|error| format!("intake_grant of {service}: projects: {error}"))?;
        }
        Ok(())
    }
}

/// Stands for every project in a grant.
const ALL_PROJECTS: &str = "*";

/// `[timing]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// A worker that is silent for this long has lost its job. At least three heartbeats.
    pub lease_ttl_ms: u32,
    pub retry_base_ms: u64,
    pub retry_cap_ms: u64,
    /// No step waits for an answer longer than this, whatever its definition says.
    pub step_deadline_max_ms: u64,
    /// No saga takes longer than this, whatever its definition says: it turns back, or is reported behind its pivot.
    pub saga_deadline_max_ms: u64,
    /// A stuck saga is tried again after this long, then after twice as long, and so on up to the cap.
    pub stuck_retry_base_ms: u64,
    pub stuck_retry_cap_ms: u64,
    /// How often it is looked whether kept bases are still of use.
    pub base_look_ms: u64,
    /// How often leftovers of sagas that are over are looked for and removed.
    pub sweep_look_ms: u64,
    /// Only those of sagas that ended so long ago.
    pub sweep_age_min_ms: u64,
    /// How long after what a lost creation may have made was removed it is looked for once more.
    pub second_look_ms: u64,
    /// How often timers, leases and the outbox are looked at when nothing wakes them.
    pub tick_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease_ttl_ms: 90_000,
            retry_base_ms: 1_000,
            retry_cap_ms: 60_000,
            step_deadline_max_ms: 3_600_000,
            saga_deadline_max_ms: 259_200_000,
            stuck_retry_base_ms: 300_000,
            stuck_retry_cap_ms: 86_400_000,
            base_look_ms: 600_000,
            sweep_look_ms: 3_600_000,
            sweep_age_min_ms: 86_400_000,
            second_look_ms: 15_000,
            tick_ms: 1_000,
        }
    }
}

impl Timing {
    /// See `lease_ttl_ms`.
    #[must_use]
    pub const fn lease_ttl(&self) -> Duration {
        Duration::from_millis(self.lease_ttl_ms as u64)
    }
    /// See `base_look_ms`.
    #[must_use]
    pub const fn base_look(&self) -> Duration {
        Duration::from_millis(self.base_look_ms)
    }
    /// See `sweep_look_ms`.
    #[must_use]
    pub const fn sweep_look(&self) -> Duration {
        Duration::from_millis(self.sweep_look_ms)
    }
    /// See `sweep_age_min_ms`.
    #[must_use]
    pub const fn sweep_age_min(&self) -> Duration {
        Duration::from_millis(self.sweep_age_min_ms)
    }
    /// See `second_look_ms`.
    #[must_use]
    pub const fn second_look(&self) -> Duration {
        Duration::from_millis(self.second_look_ms)
    }
    /// See `tick_ms`.
    #[must_use]
    pub const fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_ms)
    }
}

impl Config {
    /// What the types do not say. The text goes after the file's name.
    ///
    /// Errors: a sentence naming the key.
    pub fn check(&self) -> Result<(), String> {
        let timing = &self.timing;
        if self.targets.is_empty() {
            return Err("there is no [[target]]: add one with name and path".to_owned());
        }
        let mut names: Vec<_> = self.targets.iter().map(|target| &target.name).collect();
        names.sort();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two [[target]]s have the name {:?}", pair[0]));
        }
        for (key, value) in [
            ("lease_ttl_ms", u64::from(timing.lease_ttl_ms)),
            ("retry_base_ms", timing.retry_base_ms),
            ("retry_cap_ms", timing.retry_cap_ms),
            ("step_deadline_max_ms", timing.step_deadline_max_ms),
            ("saga_deadline_max_ms", timing.saga_deadline_max_ms),
            ("stuck_retry_base_ms", timing.stuck_retry_base_ms),
            ("stuck_retry_cap_ms", timing.stuck_retry_cap_ms),
            ("base_look_ms", timing.base_look_ms),
            ("sweep_look_ms", timing.sweep_look_ms),
            ("sweep_age_min_ms", timing.sweep_age_min_ms),
            ("second_look_ms", timing.second_look_ms),
            ("tick_ms", timing.tick_ms),
        ] {
            if value == 0 {
                return Err(format!("timing.{key} must be at least 1"));
            }
        }
        for grant in &self.intake_grants {
            grant.check()?;
        }
        if let Some(openstack) = &self.openstack {
            openstack.check()?;
        }
        if let Some(notifications) = &self.notifications {
            notifications.check()?;
        }
        self.auth.check(self.openstack.as_ref())?;
        match &self.cloud {
            CloudSection::Openstack(_) if self.auth.kind != AuthKind::Keystone => Err(
                "cloud.kind = \"openstack\" needs auth.kind = \"keystone\": jobs run on their users' trusts"
                    .to_owned(),
            ),
            CloudSection::Openstack(OpenstackCloudSection { calls_max: 0, .. }) => {
                Err("cloud.calls_max must be at least 1".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn default_monitor() -> String {
    bus_config::user::MONITOR.to_owned()
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_good_config() {
        let config: Config = toml::from_str(EXAMPLE).unwrap();
        config.check().unwrap();
        assert_eq!(config.timing, Timing::default());
    }

    #[test]
    fn a_config_that_makes_no_sense_names_the_key() {
        let check = |from: &str, to: &str, expected: &str| {
            let config: Config = toml::from_str(&EXAMPLE.replace(from, to)).unwrap();
            let error = config.check().unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check("tick_ms = 1000", "tick_ms = 0", "timing.tick_ms");
        let cloud = "kind = \"directory\"\npath = \"/srv/holdfast/cloud\"";
        check(cloud, "kind = \"openstack\"", "auth.kind");
        check("projects = [\"acme\"]", "projects = [\"a/b\"]", "intake_grant of billing");
        check("projects = [\"acme\"]", "projects = []", "grants nothing");
        check("emit_exchange = \"holdfast\"", "emit_exchange = \"nova\"", "notifications.emit_exchange");
    }

    #[test]
    fn a_cloud_that_nobody_drives_is_refused_by_name() {
        let text = EXAMPLE.replace("kind = \"directory\"", "kind = \"moon\"");
        let error = toml::from_str::<Config>(&text).unwrap_err().to_string();
        assert!(error.contains("moon") && error.contains("openstack"), "{error}");
    }

    #[test]
    fn a_grant_of_a_kind_that_there_is_not_is_refused_by_name() {
        let text = EXAMPLE.replace("kinds = [\"snapshot\"]", "kinds = [\"snapshots\"]");
        let error = toml::from_str::<Config>(&text).unwrap_err().to_string();
        assert!(error.contains("snapshots") && error.contains("restore"), "{error}");
    }

    #[test]
    fn a_service_may_only_what_is_granted() {
        let make = |service: &str, kinds: &[JobKind], project: &str| IntakeGrant {
            service: service.parse().unwrap(),
            kinds: kinds.to_vec(),
            projects: vec![project.to_owned()],
        };
        let grant = make("billing", &[JobKind::Snapshot], "p");
        let all = make("ops", &JobKind::ALL, "*");
        let project = |text: &str| text.parse().unwrap();
        assert!(grant.allows("billing", JobKind::Snapshot, &project("p")));
        assert!(!grant.allows("billing", JobKind::Restore, &project("p")));
        assert!(!grant.allows("billing", JobKind::Snapshot, &project("q")));
        assert!(!grant.allows("other", JobKind::Snapshot, &project("p")));
        assert!(all.allows("ops", JobKind::Restore, &project("q")));
    }

    #[test]
    fn a_password_in_the_database_url_is_not_shown() {
        let config: Config =
            toml::from_str(&EXAMPLE.replace("sqlite:/var", "mysql://me:hunter2@host/var")).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
