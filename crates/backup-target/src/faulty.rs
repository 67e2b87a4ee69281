//! A target that fails when a drill says so.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{ByteCount, ErrorClass, ObjectName, TargetId};
use runtime::{FaultKind, FaultTable};

use crate::{BackupTarget, Error, ObjectMeta, Space};

/// Asks the table before each effect: `target_put` (put, replace), `target_get` (get, get_range, size), `target_list`,
/// `target_delete`. All others pass.
#[derive(Debug)]
pub struct Faulty<T> {
    inner: T,
    faults: Arc<FaultTable>,
}

/// What is left to do after the pause.
enum Verdict {
    Go,
    /// Do it, then say that the answer was lost.
    GoThenFail,
}

impl<T: BackupTarget> Faulty<T> {
    /// Wraps `inner`; with `FaultTable::none()` nothing is ever injected.
    #[must_use]
    pub fn new(inner: T, faults: Arc<FaultTable>) -> Self {
        Self { inner, faults }
    }

    async fn judge(&self, effect: &'static str, name: &str) -> Result<Verdict, Error> {
        let Some(fault) = self.faults.draw(effect).map_err(Error::DrillTable)? else {
            return Ok(Verdict::Go);
        };
        tokio::time::sleep(fault.delay()).await;
        let failed = |class| Err(Error::Drill { effect, name: name.to_owned(), class });
        match fault.fail {
            FaultKind::Transient => failed(ErrorClass::Transient),
            FaultKind::Permanent => failed(ErrorClass::Permanent),
            FaultKind::Indeterminate => Ok(Verdict::GoThenFail),
            FaultKind::Delay => Ok(Verdict::Go),
        }
    }

    async fn around<R>(
        &self,
        effect: &'static str,
        name: &str,
        work: impl Future<Output = Result<R, Error>> + Send,
    ) -> Result<R, Error> {
        match self.judge(effect, name).await? {
            Verdict::Go => work.await,
            Verdict::GoThenFail => {
                work.await?;
                Err(Error::Drill { effect, name: name.to_owned(), class: ErrorClass::Indeterminate })
            }
        }
    }
}

#[async_trait]
impl<T: BackupTarget> BackupTarget for Faulty<T> {
    fn id(&self) -> TargetId {
        self.inner.id()
    }
    async fn put(&self, name: &ObjectName, content: Bytes) -> Result<(), Error> {
        self.around("target_put", name.as_str(), self.inner.put(name, content)).await
    }
    async fn replace(&self, name: &ObjectName, content: Bytes) -> Result<(), Error> {
        self.around("target_put", name.as_str(), self.inner.replace(name, content)).await
    }
    async fn get(&self, name: &ObjectName) -> Result<Bytes, Error> {
        self.around("target_get", name.as_str(), self.inner.get(name)).await
    }
    async fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Bytes, Error> {
        self.around("target_get", name.as_str(), self.inner.get_range(name, offset, length)).await
    }
    async fn size(&self, name: &ObjectName) -> Result<Option<ByteCount>, Error> {
        self.around("target_get", name.as_str(), self.inner.size(name)).await
    }
    async fn list(&self, folder: Option<&ObjectName>) -> Result<Vec<ObjectMeta>, Error> {
        self.around("target_list", folder.map_or("/", ObjectName::as_str), self.inner.list(folder)).await
    }
    async fn delete(&self, name: &ObjectName) -> Result<(), Error> {
        self.around("target_delete", name.as_str(), self.inner.delete(name)).await
    }
    async fn remove_temps(&self, folder: &ObjectName) -> Result<(), Error> {
        self.inner.remove_temps(folder).await
    }
    async fn remove_empty_dirs(&self, folder: &ObjectName) -> Result<(), Error> {
        self.inner.remove_empty_dirs(folder).await
    }
    async fn space(&self) -> Result<Space, Error> {
        self.inner.space().await
    }
}
