//! A target that changes nothing without the right to: what `chunk-store` puts behind the pipeline's back waits for the
//! lease too.

use std::sync::Arc;

use async_trait::async_trait;
use backup_target::{BackupTarget, Error, ObjectMeta, Space};
use bytes::Bytes;
use model::{ByteCount, ObjectName, TargetId};

use super::Control;

/// Asks `control` before every change.
#[derive(Debug)]
pub(crate) struct Fenced {
    inner: Arc<dyn BackupTarget>,
    control: Control,
}

impl Fenced {
    pub(crate) fn around(inner: Arc<dyn BackupTarget>, control: Control) -> Arc<dyn BackupTarget> {
        Arc::new(Self { inner, control })
    }

    /// The pipeline asks `control` too and reports what it says; this error only ends the put.
    async fn ask(&self, verb: &'static str, name: &ObjectName) -> Result<(), Error> {
        self.control.may_write().await.map_err(|_| self.refusal(verb, name))
    }

    fn refusal(&self, verb: &'static str, name: &ObjectName) -> Error {
        Error::Io {
            verb,
            path: self.inner.id().to_string().into(),
            name: name.to_string(),
            source: std::io::Error::other("the job may not write any more"),
        }
    }
}

#[async_trait]
impl BackupTarget for Fenced {
    fn id(&self) -> TargetId {
        self.inner.id()
    }
    async fn put(&self, name: &ObjectName, content: Bytes) -> Result<(), Error> {
        self.ask("put", name).await?;
        self.inner.put(name, content).await
    }
    async fn replace(&self, name: &ObjectName, content: Bytes) -> Result<(), Error> {
        self.ask("replace", name).await?;
        self.inner.replace(name, content).await
    }
    async fn get(&self, name: &ObjectName) -> Result<Bytes, Error> {
        self.inner.get(name).await
    }
    async fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Bytes, Error> {
        self.inner.get_range(name, offset, length).await
    }
    async fn size(&self, name: &ObjectName) -> Result<Option<ByteCount>, Error> {
        self.inner.size(name).await
    }
    async fn list(&self, folder: Option<&ObjectName>) -> Result<Vec<ObjectMeta>, Error> {
        self.inner.list(folder).await
    }
    async fn delete(&self, name: &ObjectName) -> Result<(), Error> {
        self.ask("delete", name).await?;
        // Unlike that of a put, the name may belong to somebody else by the time at which a target that hung wakes up: what
        // nobody waits for is not done.
        tokio::select! {
            biased; // dropping a deletion is what is meant
            () = self.control.right_lost() => Err(self.refusal("delete", name)),
            deleted = self.inner.delete(name) => deleted,
        }
    }
    async fn remove_temps(&self, folder: &ObjectName) -> Result<(), Error> {
        self.ask("remove temps in", folder).await?;
        self.inner.remove_temps(folder).await
    }
    async fn remove_empty_dirs(&self, folder: &ObjectName) -> Result<(), Error> {
        self.ask("remove empty folders in", folder).await?;
        self.inner.remove_empty_dirs(folder).await
    }
    async fn space(&self) -> Result<Space, Error> {
        self.inner.space().await
    }
}
