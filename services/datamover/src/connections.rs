//! Volumes that were attached to this host and are connected for jobs. Before anything is connected, and until it is
//! disconnected, a file says so: whatever a killed process left connected is disconnected at the next start.
//!
//! How to connect is a secret, so the file holds it as it came: sealed to this host's key.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cloud::{Connected, Connection, Connector};
use model::{ErrorClass, Failure, JobId};
use serde::{Deserialize, Serialize};
use service_kit::sealing::HostKey;
use service_kit::telemetry::Chain;
use tokio::fs;

const FOLDER: &str = "connections";
const KEY: &str = "host.key";

/// What is connected, by the job that it is connected for.
#[derive(Debug)]
pub struct Connections {
    dir: PathBuf,
    key: HostKey,
    connector: Arc<dyn Connector>,
}

/// One file of the folder.
#[derive(Serialize, Deserialize)]
struct Record {
    sealed: Vec<u8>,
    /// Absent: nobody heard of the connection's making.
    device_info: Option<String>,
}

impl Connections {
    /// Opens the host's key, and makes it at the first start.
    ///
    /// Errors: `STATE_DIR_IO`.
    pub fn open(state_dir: &std::path::Path, connector: Arc<dyn Connector>) -> Result<Self, Failure> {
        let dir = state_dir.join(FOLDER);
        std::fs::create_dir_all(&dir).map_err(|error| unusable(&error))?;
        let key = HostKey::open(&state_dir.join(KEY)).map_err(|error| unusable(&error))?;
        Ok(Self { dir, key, connector })
    }

    /// How this host presents itself to storage, in JSON.
    pub async fn properties(&self) -> Result<String, Failure> {
        self.connector.properties().await
    }

    /// What secrets for this host are sealed to.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.key.public_key()
    }

    /// Connects what was sealed to this host, for a job that ends it by `disconnect`.
    ///
    /// Cancel safe: yes; `disconnect` also ends what is half made.
    pub async fn connect(&self, job: JobId, sealed: &[u8]) -> Result<Connected, Failure> {
        let connection = self.unseal(sealed)?;
        self.write(job, &Record { sealed: sealed.to_vec(), device_info: None }).await?;
        let connected = self.connector.connect(&connection).await?;
        let device_info = Some(connected.device_info.clone());
        self.write(job, &Record { sealed: sealed.to_vec(), device_info }).await?;
        Ok(connected)
    }

    /// Disconnects what was connected for a job; succeeds when nothing is.
    pub async fn disconnect(&self, job: JobId) -> Result<(), Failure> {
        let path = self.path(&job.to_string());
        let text = match fs::read(&path).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unusable(&error)),
        };
        let record: Record = serde_json::from_slice(&text)
            .map_err(|_| unusable(&io::Error::other(format!("{} makes no sense", path.display()))))?;
        let connection = self.unseal(&record.sealed)?;
        self.connector.disconnect(&connection, record.device_info.as_deref()).await?;
        fs::remove_file(&path).await.map_err(|error| unusable(&error))
    }

    /// Disconnects what an earlier process left. What cannot be disconnected now stays on file, and is reported.
    ///
    /// Errors: the folder cannot be read.
    pub async fn take_up(&self) -> Result<(), Failure> {
        let mut entries = fs::read_dir(&self.dir).await.map_err(|error| unusable(&error))?;
        while let Some(entry) = entries.next_entry().await.map_err(|error| unusable(&error))? {
            let name = entry.file_name();
            let job =
                name.to_str().and_then(|name| name.strip_suffix(".json")).and_then(|id| id.parse().ok());
            let Some(job) = job else { continue };
            match self.disconnect(job).await {
                Ok(()) => {
                    tracing::info!(job_id = %job, "a volume that an earlier process connected is disconnected")
                }
                Err(failure) => {
                    tracing::warn!(job_id = %job, error = %Chain(&failure), "a volume that an earlier process connected is still connected");
                }
            }
        }
        Ok(())
    }

    fn unseal(&self, sealed: &[u8]) -> Result<Connection, Failure> {
        let none = |_| Failure::permanent("SEAL_BROKEN", "what was sealed to this host is no connection");
        String::from_utf8(self.key.unseal(sealed)?).map(Connection::from_json).map_err(none)
    }

    /// Appears whole, and is durable when this returns.
    async fn write(&self, job: JobId, record: &Record) -> Result<(), Failure> {
        let text = serde_json::to_vec(record).expect("a record is plain data");
        let (path, dir) = (self.path(&job.to_string()), self.dir.clone());
        let written = tokio::task::spawn_blocking(move || {
            let draft = path.with_extension("draft");
            std::fs::write(&draft, text)?;
            std::fs::File::open(&draft)?.sync_all()?;
            std::fs::rename(&draft, &path)?;
            std::fs::File::open(dir)?.sync_all()
        });
        written.await.map_err(io::Error::other).and_then(|written| written).map_err(|error| unusable(&error))
    }

    fn path(&self, job: &str) -> PathBuf {
        self.dir.join(format!("{job}.json"))
    }
}

fn unusable(error: &io::Error) -> Failure {
    let message = format!("the record of connected volumes in state_dir cannot be used: {error}");
    Failure::new(ErrorClass::Transient, "STATE_DIR_IO", message)
}
