//! The port.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{ByteCount, ObjectName, TargetId};

use crate::Error;

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectMeta {
    pub name: ObjectName,
    pub size: ByteCount,
}

/// Room on a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub free: ByteCount,
    pub total: ByteCount,
}

/// Keeps objects by name.
///
/// Cancel safe: no method; a dropped future leaves its operation running to its end on its own thread.
#[async_trait]
pub trait BackupTarget: fmt::Debug + Send + Sync {
    /// The uuid in `repo.json`.
    fn id(&self) -> TargetId;

    /// Writes an object once, durably. The same content under the same name again succeeds.
    ///
    /// Errors: `ObjectExists` when the name holds other bytes. A failed put leaves nothing that a listing shows.
    async fn put(&self, name: &ObjectName, content: Bytes) -> Result<(), Error>;

    /// Writes an object, durably, in place of what the name held: readers see the old or the new bytes, never a mix. For
    /// records that change; packs and manifests are `put`.
    async fn replace(&self, name: &ObjectName, content: Bytes) -> Result<(), Error>;

    /// Reads a whole object.
    ///
    /// Errors: `ObjectMissing`; `ObjectTooLarge` above 256 MiB.
    async fn get(&self, name: &ObjectName) -> Result<Bytes, Error>;

    /// Reads exactly `length` bytes from `offset`.
    ///
    /// Errors: `ObjectMissing`; `ObjectTooShort` when the object ends before; `ObjectTooLarge` above 256 MiB.
    async fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Bytes, Error>;

    /// The size of an object; `None`: there is none of this name.
    async fn size(&self, name: &ObjectName) -> Result<Option<ByteCount>, Error>;

    /// All objects in `folder`, at any depth; `None`: all objects of the target. A folder that is not there is empty.
    ///
    /// Shape: ascending by name.
    async fn list(&self, folder: Option<&ObjectName>) -> Result<Vec<ObjectMeta>, Error>;

    /// Removes an object. One that is not there is removed already.
    async fn delete(&self, name: &ObjectName) -> Result<(), Error>;

    /// Removes what interrupted puts left in `folder`, at any depth; no listing shows it. Only for a caller who knows that
    /// nobody is writing there: it would fail.
    async fn remove_temps(&self, folder: &ObjectName) -> Result<(), Error>;

    /// Removes the folders in and above `folder`, itself included, that hold nothing.
    async fn remove_empty_dirs(&self, folder: &ObjectName) -> Result<(), Error>;

    /// How much room there is.
    async fn space(&self) -> Result<Space, Error>;
}

#[async_trait]
impl<T: BackupTarget + ?Sized> BackupTarget for Arc<T> {
    fn id(&self) -> TargetId {
        T::id(self)
    }
    async fn put(&self, name: &ObjectName, content: Bytes) -> Result<(), Error> {
        T::put(self, name, content).await
    }
    async fn replace(&self, name: &ObjectName, content: Bytes) -> Result<(), Error> {
        T::replace(self, name, content).await
    }
    async fn get(&self, name: &ObjectName) -> Result<Bytes, Error> {
        T::get(self, name).await
    }
    async fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Bytes, Error> {
        T::get_range(self, name, offset, length).await
    }
    async fn size(&self, name: &ObjectName) -> Result<Option<ByteCount>, Error> {
        T::size(self, name).await
    }
    async fn list(&self, folder: Option<&ObjectName>) -> Result<Vec<ObjectMeta>, Error> {
        T::list(self, folder).await
    }
    async fn delete(&self, name: &ObjectName) -> Result<(), Error> {
        T::delete(self, name).await
    }
    async fn remove_temps(&self, folder: &ObjectName) -> Result<(), Error> {
        T::remove_temps(self, folder).await
    }
    async fn remove_empty_dirs(&self, folder: &ObjectName) -> Result<(), Error> {
        T::remove_empty_dirs(self, folder).await
    }
    async fn space(&self) -> Result<Space, Error> {
        T::space(self).await
    }
}
