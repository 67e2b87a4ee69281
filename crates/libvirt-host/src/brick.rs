//! Volumes that Cinder attached to this host, by the helper `holdfast-brick`: a child with a deadline for each question. What the
//! storage says of a connection goes to its standard input, never into its arguments.
//!
//! Off unless the config names the helper: it becomes root, and nobody gets that by installing a package.

use std::time::Duration;

use async_trait::async_trait;
use cloud::{Connected, Connection, Connector};
use model::{ByteCount, DiskLocation, ErrorClass, Failure, HostName};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Error;
use crate::tool::Tool;

/// Storage lets a new device appear within seconds, and one that does not answer is given up by os-brick after a minute.
const TIMEOUT: Duration = Duration::from_secs(180);
/// The helper ends itself before we would: as root, by sudo, it cannot be killed by us.
const OWN_TIMEOUT_SECONDS: &str = "150";
const ANSWER_LENGTH_MAX: ByteCount = ByteCount(64 << 10);

/// How the helper is called.
#[derive(Debug, Clone)]
pub struct BrickSettings {
    /// The words in front of the verb: the program, perhaps behind `sudo -n`.
    pub command: Vec<String>,
    /// As Cinder and Nova call this host.
    pub host: HostName,
    /// Absent: the helper's own choice, as of all that follow.
    pub root_helper: Option<String>,
    pub my_ip: Option<String>,
    pub lock_path: Option<String>,
    pub multipath: bool,
}

/// This host's way to what is attached to it.
#[derive(Debug, Clone)]
pub struct BrickConnector {
    settings: Option<BrickSettings>,
}

/// What the helper says of a volume that it connected.
#[derive(Debug, Deserialize)]
struct Answer {
    path: String,
    size: u64,
    device_info: Value,
}

/// What the helper says when it cannot.
#[derive(Debug, Deserialize)]
struct Complaint {
    reason: String,
    message: String,
}

impl BrickConnector {
    /// Starts nothing yet. Without settings every question is refused with `CONNECTOR_OFF`.
    #[must_use]
    pub const fn new(settings: Option<BrickSettings>) -> Self {
        Self { settings }
    }

    async fn ask(&self, verb: &str, input: Value) -> Result<String, Failure> {
        let settings = self.settings.as_ref().ok_or_else(off)?;
        let (program, before) = settings.command.split_first().ok_or_else(off)?;
        let host = settings.host.to_string();
        let mut arguments = before.to_vec();
        arguments
            .extend([verb, "--host", host.as_str(), "--timeout", OWN_TIMEOUT_SECONDS].map(str::to_owned));
        for (option, value) in [
            ("--root-helper", &settings.root_helper),
            ("--my-ip", &settings.my_ip),
            ("--lock-path", &settings.lock_path),
        ] {
            arguments.extend(value.iter().flat_map(|value| [option.to_owned(), value.clone()]));
        }
        arguments.extend(settings.multipath.then(|| "--multipath".to_owned()));
        let tool = Tool::new(program.clone(), TIMEOUT, ANSWER_LENGTH_MAX).args(arguments);
        tool.input(input.to_string().into_bytes()).run().await.map_err(|error| describe(verb, &error))
    }
}

#[async_trait]
impl Connector for BrickConnector {
    async fn properties(&self) -> Result<String, Failure> {
        let answer = self.ask("properties", Value::Null).await?;
        let value: Value = read("properties", &answer)?;
        Ok(value.to_string())
    }

    async fn connect(&self, connection: &Connection) -> Result<Connected, Failure> {
        let answer = self.ask("connect", request(connection, None)?).await?;
        let Answer { path, size, device_info } = read("connect", &answer)?;
        Ok(Connected {
            location: DiskLocation::Device(path.into()),
            size: ByteCount(size),
            device_info: device_info.to_string(),
        })
    }

    async fn disconnect(&self, connection: &Connection, device_info: Option<&str>) -> Result<(), Failure> {
        self.ask("disconnect", request(connection, device_info)?).await.map(drop)
    }
}

fn request(connection: &Connection, device_info: Option<&str>) -> Result<Value, Failure> {
    // The parser's own words might show what it read.
    let broken =
        |_| Failure::permanent("CONNECTION_INVALID", "what the storage says of a connection is no JSON");
    let info: Value = serde_json::from_str(connection.expose_json()).map_err(broken)?;
    let device: Value = serde_json::from_str(device_info.unwrap_or("null")).map_err(broken)?;
    Ok(json!({ "connection_info": info, "device_info": device }))
}

fn read<T: serde::de::DeserializeOwned>(verb: &str, answer: &str) -> Result<T, Failure> {
    serde_json::from_str(answer).map_err(|error| {
        let reason = error.to_string();
        Error::ToolUnreadable { command: format!("holdfast-brick {verb}"), reason }.failure()
    })
}

fn off() -> Failure {
    Failure::permanent(
        "CONNECTOR_OFF",
        "this host reads no volumes that are reached by an attachment: install holdfast-brick and name it in [cloud.brick] of the \
         datamover's config, or exclude these volumes",
    )
}

/// The helper's own words, where it had any.
fn describe(verb: &str, error: &Error) -> Failure {
    let complaint = match error {
        // Sudo may have said something before it.
        Error::ToolRefused { said, .. } => {
            said.find('{').and_then(|begin| serde_json::from_str::<Complaint>(&said[begin..]).ok())
        }
        _ => None,
    };
    let Some(Complaint { reason, message }) = complaint else { return error.failure() };
    let message = format!("holdfast-brick could not {verb}: {message}");
    let (class, code) = match reason.as_str() {
        "NOT_INSTALLED" => (ErrorClass::Permanent, "CONNECTOR_OFF"),
        "UNSUPPORTED" | "REFUSED" | "INVALID" => (ErrorClass::Permanent, "CONNECTION_REFUSED"),
        "OVERDUE" => (ErrorClass::Transient, "HOST_TOOL_OVERDUE"),
        _ => (ErrorClass::Transient, "CONNECTION_FAILED"),
    };
    Failure::new(class, code, message)
}

#[cfg(test)]
mod tests;
