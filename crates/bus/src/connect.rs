//! Making one connection to one broker, and reading why it did not come about.

use std::time::Duration;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use secrecy::ExposeSecret as _;
use tokio::time::timeout;
use url::Url;

use crate::BusConfig;

/// A connection that says nothing for 20 s is dead. RabbitMQ recommends 5 to 20 s; shorter gives false alarms.
const HEARTBEAT_SECONDS: u16 = 10;
/// With TLS and a broker under load; an address that does not answer must not keep us from the next broker for long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The broker answered and does not want us.
    Refused { reason: String },
    /// Nothing answered, or not like a broker.
    Failed { reason: String },
}

/// Connects to `broker`; `purpose` is shown in the broker's list of connections.
pub(crate) async fn connect(
    config: &BusConfig,
    broker: &Url,
    purpose: &str,
) -> Result<Connection, ConnectError> {
    let name = format!("{} ({purpose})", config.connection_name);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    match timeout(CONNECT_TIMEOUT, Connection::connect_uri(uri(config, broker), properties)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(explain(config, broker, &error)),
        Err(_) => {
            let reason = format!("broker {} did not answer in {CONNECT_TIMEOUT:?}", address(broker));
            Err(ConnectError::Failed { reason })
        }
    }
}

/// `host:port`, for messages.
fn address(broker: &Url) -> String {
    format!("{}:{}", broker.host_str().unwrap_or_default(), port(broker))
}

fn port(broker: &Url) -> u16 {
    broker.port().unwrap_or(if broker.scheme() == "amqps" { 5671 } else { 5672 })
}

fn uri(config: &BusConfig, broker: &Url) -> AMQPUri {
    let host = broker.host_str().unwrap_or_default();
    AMQPUri {
        scheme: if broker.scheme() == "amqps" { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: config.user.clone(),
                password: config.password.expose_secret().to_owned(),
            },
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: port(broker),
        },
        vhost: config.vhost.clone(),
        query: AMQPQueryString { heartbeat: Some(HEARTBEAT_SECONDS), ..AMQPQueryString::default() },
    }
}

/// 403: wrong user or password. 530: no such vhost, or no right on it. The rest may pass.
fn explain(config: &BusConfig, broker: &Url, error: &lapin::Error) -> ConnectError {
    let BusConfig { user, vhost, .. } = config;
    let broker = address(broker);
    let id = match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_id(),
        _ => 0,
    };
    match id {
        403 => ConnectError::Refused {
            reason: format!(
                "broker {broker} refused user {user} on vhost {vhost}: wrong user or password; \
                 set the password anew there and in this service's password file"
            ),
        },
        530 => ConnectError::Refused {
            reason: format!(
                "broker {broker} refused user {user} on vhost {vhost}: the vhost is missing or the user has no rights on it"
            ),
        },
        _ => ConnectError::Failed { reason: format!("failed to connect to broker {broker}: {error}") },
    }
}
