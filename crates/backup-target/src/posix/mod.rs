//! A directory, most often an NFS mount, as a backup target.
//!
//! Each operation opens the root anew and proves that it is this target (`Root::visit`), so a target that was unmounted or
//! exchanged is noticed before a byte moves, and an operator can unmount it while services run. Each runs on a thread of
//! its own with a deadline (`Workers`).

mod root;
mod walk;
pub(crate) mod worker;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use model::{ByteCount, ObjectName, TargetId};
use runtime::Entropy;

use self::root::{Root, Visit};
use self::worker::Workers;
use crate::{BackupTarget, Error, ObjectMeta, Space, repo};

/// A pack of 64 MiB at 0.6 MB/s: slower is not answering.
const OPERATION_TIME_MAX: Duration = Duration::from_secs(120);
/// Opening reads one small file.
const OPEN_TIME_MAX: Duration = Duration::from_secs(30);

/// A directory with a `repo.json`.
#[derive(Debug)]
pub struct PosixTarget {
    root: Arc<Root>,
    workers: Workers,
}

impl PosixTarget {
    /// Makes the folder a backup target. Its parent must be there. Blocks.
    ///
    /// Errors: `ForeignFolder` when it holds anything else. On a target it changes nothing and gives its id.
    pub fn init(path: &Path, entropy: &Entropy) -> Result<TargetId, Error> {
        let (path, id) = (path.to_owned(), TargetId::from_uuid(entropy.uuid()));
        worker::run_blocking(&path.clone(), OPEN_TIME_MAX, move || Root::init(&path, id))
    }

    /// Opens a target. Blocks for at most 30 s.
    ///
    /// Errors: `NotInitialized` when there is no `repo.json`: perhaps nothing is mounted there.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let owned = path.to_owned();
        let root = worker::run_blocking(path, OPEN_TIME_MAX, move || Root::open(&owned))?;
        Ok(Self { root: Arc::new(root), workers: Workers::new(path.to_owned(), OPERATION_TIME_MAX) })
    }

    /// Sets how long an operation may take, its wait for a free thread included.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { workers: Workers::new(self.root.path().to_owned(), deadline), ..self }
    }

    /// The folder, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Visit<'_>) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        let root = Arc::clone(&self.root);
        self.workers.run(move |asker| work(&root.visit(asker)?)).await
    }

    /// Nobody writes the target's own record through the port.
    fn check_writable(&self, name: &ObjectName) -> Result<(), Error> {
        if name.as_str() == repo::NAME {
            let (path, name) = (self.path().to_owned(), name.to_string());
            return Err(Error::UnsafeName { path, name, reason: "it is the target's own record" });
        }
        Ok(())
    }
}

#[async_trait]
impl BackupTarget for PosixTarget {
    fn id(&self) -> TargetId {
        self.root.id()
    }

    async fn put(&self, name: &ObjectName, content: Bytes) -> Result<(), Error> {
        self.check_writable(name)?;
        let name = name.clone();
        self.run(move |visit| visit.put(&name, &content)).await
    }

    async fn replace(&self, name: &ObjectName, content: Bytes) -> Result<(), Error> {
        self.check_writable(name)?;
        let name = name.clone();
        self.run(move |visit| visit.replace(&name, &content)).await
    }

    async fn get(&self, name: &ObjectName) -> Result<Bytes, Error> {
        let name = name.clone();
        self.run(move |visit| visit.get(&name)).await
    }

    async fn get_range(&self, name: &ObjectName, offset: u64, length: u64) -> Result<Bytes, Error> {
        let name = name.clone();
        self.run(move |visit| visit.get_range(&name, offset, length)).await
    }

    async fn size(&self, name: &ObjectName) -> Result<Option<ByteCount>, Error> {
        let name = name.clone();
        self.run(move |visit| visit.size(&name)).await
    }

    async fn list(&self, folder: Option<&ObjectName>) -> Result<Vec<ObjectMeta>, Error> {
        let folder = folder.cloned();
        self.run(move |visit| visit.list(folder.as_ref())).await
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), Error> {
        self.check_writable(name)?;
        let name = name.clone();
        self.run(move |visit| visit.delete(&name)).await
    }

    async fn remove_temps(&self, folder: &ObjectName) -> Result<(), Error> {
        let folder = folder.clone();
        self.run(move |visit| visit.remove_temps(&folder)).await
    }

    async fn remove_empty_dirs(&self, folder: &ObjectName) -> Result<(), Error> {
        let folder = folder.clone();
        self.run(move |visit| visit.remove_empty_dirs(&folder)).await
    }

    async fn space(&self) -> Result<Space, Error> {
        self.run(|visit| visit.space()).await
    }
}
