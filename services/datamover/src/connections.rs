//! Volumes that were attached to this host and are connected for jobs. Before anything is connected, and until it is
//! disconnected, a file says so: whatever a killed process left connected is disconnected at the next start.
//!
//! How to connect is a secret, so the file holds it as it came: sealed to this host's key.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cloud::{Connected, Connection, Connector};
use model::{ErrorClass, Failure, JobId};
use runtime::atomic_file;
use serde::{Deserialize, Serialize};
use service_kit::sealing::HostKey;
use service_kit::telemetry::Chain;
use tokio::fs;

const FOLDER: &str = "connections";
const KEY: &str = "host.key";
/// Drawn anew at each start of the kernel.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is connected, by the job that it is connected for.
#[derive(Debug)]
pub struct Connections {
    dir: PathBuf,
    key: HostKey,
    connector: Arc<dyn Connector>,
    boot_id: String,
}

/// One file of the folder.
#[derive(Serialize, Deserialize)]
struct Record {
    sealed: Vec<u8>,
    /// Absent: nobody heard of the connection's making.
    device_info: Option<String>,
    /// Of the kernel that knew the device.
    boot_id: String,
}

impl Connections {
    /// Opens the host's key, and makes it at the first start.
    ///
    /// Errors: `STATE_DIR_IO`.
    pub fn open(state_dir: &std::path::Path, connector: Arc<dyn Connector>) -> Result<Self, Failure> {
        let dir = state_dir.join(FOLDER);
        std::fs::create_dir_all(&dir).map_err(|error| unusable(&error))?;
        let key = HostKey::open(state_dir, KEY).map_err(|error| unusable(&error))?;
        let boot_id = std::fs::read_to_string(BOOT_ID).map_err(|error| unusable(&error))?;
        Ok(Self { dir, key, connector, boot_id: boot_id.trim().to_owned() })
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
        let record =
            |device_info| Record { sealed: sealed.to_vec(), device_info, boot_id: self.boot_id.clone() };
        self.write(job, &record(None)).await?;
        let connected = self.connector.connect(&connection).await?;
        self.write(job, &record(Some(connected.device_info.clone()))).await?;
        Ok(connected)
    }

    /// Disconnects what was connected for a job; succeeds when nothing is.
    pub async fn disconnect(&self, job: JobId) -> Result<(), Failure> {
        let path = self.dir.join(name(job));
        let text = match fs::read(&path).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unusable(&error)),
        };
        let record: Record = serde_json::from_slice(&text)
            .map_err(|_| unusable(&io::Error::other(format!("{} makes no sense", path.display()))))?;
        if record.boot_id != self.boot_id {
            // What was connected ended with that kernel. The storage may give another volume the same address by now, and that
            // one is somebody else's.
            tracing::info!(job_id = %job, "a volume was connected before the host started anew");
            return fs::remove_file(&path).await.map_err(|error| unusable(&error));
        }
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
        let dir = self.dir.clone();
        let written = tokio::task::spawn_blocking(move || atomic_file::write(&dir, &name(job), &text));
        written.await.map_err(io::Error::other).and_then(|written| written).map_err(|error| unusable(&error))
    }
}

fn name(job: JobId) -> String {
    format!("{job}.json")
}

fn unusable(error: &io::Error) -> Failure {
    let message = format!("the record of connected volumes in state_dir cannot be used: {error}");
    Failure::new(ErrorClass::Transient, "STATE_DIR_IO", message)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use model::{ByteCount, DiskLocation};

    use super::*;

    /// Counts what is connected.
    #[derive(Debug, Default)]
    struct Counter(AtomicUsize);

    #[async_trait]
    impl Connector for Counter {
        async fn properties(&self) -> Result<String, Failure> {
            Ok("{}".to_owned())
        }
        async fn connect(&self, _: &Connection) -> Result<Connected, Failure> {
            self.0.fetch_add(1, Ordering::SeqCst);
            let location = DiskLocation::Device("/dev/null".into());
            Ok(Connected { location, size: ByteCount(1), device_info: "{}".to_owned() })
        }
        async fn disconnect(&self, _: &Connection, _: Option<&str>) -> Result<(), Failure> {
            self.0.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_was_connected_before_the_kernel_started_anew_is_forgotten_and_not_disconnected() {
        let (dir, counter) = (tempfile::tempdir().unwrap(), Arc::new(Counter::default()));
        let connected = || counter.0.load(Ordering::SeqCst);
        let [before, after] =
            ["018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f", "018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e90"]
                .map(|id| id.parse::<JobId>().unwrap());
        let mut connections = Connections::open(dir.path(), Arc::clone(&counter) as _).unwrap();
        let sealed = service_kit::sealing::seal(&connections.public_key(), b"{}").unwrap();
        connections.connect(before, &sealed).await.unwrap();
        connections.boot_id = "another kernel".to_owned();
        connections.connect(after, &sealed).await.unwrap();
        assert_eq!(connected(), 2);
        for _ in 0..2 {
            connections.disconnect(before).await.unwrap();
            assert_eq!(connected(), 2, "the storage may have given its address to somebody else");
        }
        for _ in 0..2 {
            connections.disconnect(after).await.unwrap();
            assert_eq!(connected(), 1);
        }
        assert_eq!(std::fs::read_dir(dir.path().join(FOLDER)).unwrap().count(), 0);
    }
}
