//! `[notifications]`: OpenStack's own broker, where its services tell what happened, and where others hear of us.

use std::path::PathBuf;

use serde::Deserialize;
use service_kit::config::{BusSection, ConfigError};

/// `[notifications]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotificationsSection {
    /// Those of OpenStack's services, without user and password.
    pub brokers: Vec<String>,
    #[serde(default = "default_vhost")]
    pub vhost: String,
    /// A user of its own, who may write to no exchange of the services.
    pub user: String,
    /// A file whose first line is the password.
    pub password_file: PathBuf,
    /// Where Nova and Cinder send; empty: nobody is listened to.
    #[serde(default = "default_exchanges")]
    pub exchanges: Vec<String>,
    /// What they call it: the `topics` of their `[oslo_messaging_notifications]`.
    #[serde(default = "default_topics")]
    pub topics: Vec<String>,
    /// The queue that is made for it. All controllers share it.
    #[serde(default = "default_queue")]
    pub queue: String,
    /// Where ours are sent, for ceilometer, aodh and the like; empty: nowhere.
    #[serde(default = "default_exchange")]
    pub emit_exchange: String,
    #[serde(default = "default_topic")]
    pub emit_topic: String,
}

impl NotificationsSection {
    /// What the types do not say.
    ///
    /// Errors: a sentence naming the key.
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.exchanges.is_empty() && self.topics.is_empty() {
            return Err(
                "notifications.topics is empty: name one, or none of notifications.exchanges".to_owned()
            );
        }
        if self.exchanges.contains(&self.emit_exchange) {
            return Err(format!(
                "notifications.emit_exchange = {:?} is also listened to: choose one of our own",
                self.emit_exchange
            ));
        }
        Ok(())
    }

    /// Makes the config of a session.
    ///
    /// Errors: the password file cannot be read or is empty.
    pub fn to_bus_config(&self, connection_name: &str) -> Result<bus::BusConfig, ConfigError> {
        let section = BusSection {
            brokers: self.brokers.clone(),
            vhost: self.vhost.clone(),
            user: self.user.clone(),
            password_file: self.password_file.clone(),
        };
        section.to_bus_config(connection_name)
    }
}

fn default_vhost() -> String {
    "/".to_owned()
}

fn default_exchanges() -> Vec<String> {
    // Of Nova and Cinder.
    vec!["nova".to_owned(), "openstack".to_owned()]
}

fn default_topics() -> Vec<String> {
    // Of all services, and of Nova where its `notification_format` is `versioned`.
    vec!["notifications".to_owned(), "versioned_notifications".to_owned()]
}

fn default_queue() -> String {
    "holdfast.notifications".to_owned()
}

fn default_exchange() -> String {
    "holdfast".to_owned()
}

fn default_topic() -> String {
    "notifications".to_owned()
}
