//! Where the brokers are and who we are.

use secrecy::SecretString;
use url::Url;

use crate::Error;

/// What a session needs to connect.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// One or more, `amqp://host:5672` or `amqps://host:5671`; without user, password and vhost.
    pub brokers: Vec<String>,
    pub vhost: String,
    pub user: String,
    pub password: SecretString,
    /// Shown in the broker's list of connections, for example `dmapi@host-1`.
    pub connection_name: String,
}

impl BusConfig {
    /// Checks the list of brokers, so that a typing error ends a service at its start and not in a loop of reconnects.
    ///
    /// Errors: `NoBroker`; `InvalidBroker` naming the entry.
    pub fn check(&self) -> Result<(), Error> {
        if self.brokers.is_empty() {
            return Err(Error::NoBroker);
        }
        for broker in &self.brokers {
            parse_broker(broker)?;
        }
        Ok(())
    }
}

/// Parses one entry of the list of brokers.
pub(crate) fn parse_broker(broker: &str) -> Result<Url, Error> {
    let invalid = |reason: &str| Error::InvalidBroker { broker: redact(broker), reason: reason.to_owned() };
    let url = Url::parse(broker).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "amqp" | "amqps") {
        return Err(invalid("it must begin with amqp:// or amqps://"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("it names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("user and password have settings of their own"));
    }
    if !matches!(url.path(), "" | "/") {
        return Err(invalid("the vhost has a setting of its own"));
    }
    Ok(url)
}

/// Hides what stands before an `@`: somebody may have written a password there.
fn redact(broker: &str) -> String {
    match broker.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}"),
        None => broker.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(broker: &str, expected: &str) {
        let error = parse_broker(broker).expect_err("parsed").to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn brokers_with_and_without_tls_and_port_are_taken() {
        for broker in
            ["amqp://10.0.0.1:5672", "amqps://rabbit.example:5671", "amqp://localhost", "amqp://[::1]:5672/"]
        {
            assert!(parse_broker(broker).is_ok(), "{broker}");
        }
    }

    #[test]
    fn other_urls_are_refused_with_a_reason() {
        check_refused("localhost:5672", "amqp://");
        check_refused("http://localhost", "amqp://");
        check_refused("amqp://localhost/holdfast", "vhost");
        check_refused("amqp://", "host");
        check_refused("", "not a broker");
    }

    #[test]
    fn a_password_in_a_broker_is_refused_and_not_repeated() {
        let error = parse_broker("amqp://me:hunter2@localhost").expect_err("parsed").to_string();
        assert!(!error.contains("hunter2") && error.contains("localhost"), "{error}");
    }
}
