//! A purge, and the transfer of the same snapshot that follows it.

use async_trait::async_trait;
use backup_target::{BackupTarget, Error, ObjectMeta, Space};
use bytes::Bytes;
use model::ObjectName;
use tokio::sync::{Semaphore, watch};

use super::super::fence::Fenced;
use super::*;

/// A target whose deletions hang until it wakes up.
#[derive(Debug)]
struct Hanging {
    inner: Arc<dyn BackupTarget>,
    awake: Semaphore,
    asked: watch::Sender<u32>,
}

#[async_trait]
impl BackupTarget for Hanging {
    fn id(&self) -> TargetId {
        self.inner.id()
    }
    async fn put(&self, name: &ObjectName, content: Bytes) -> Result<(), Error> {
        self.inner.put(name, content).await
    }
    async fn replace(&self, name: &ObjectName, content: Bytes) -> Result<(), Error> {
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
        self.asked.send_modify(|asked| *asked += 1);
        let _permit = self.awake.acquire().await.expect("it is never closed");
        self.inner.delete(name).await
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

/// The lease goes to another, who purges; then the same snapshot is taken again, and the target wakes up.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_hangs_and_wakes_up_when_another_transfer_is_done_removes_nothing_of_it() {
    let bench = Bench::new();
    let image = make_image(&bench, "first", DiskFormat::Raw, &make_noise(1, 3 * MIB));
    let mut backup = bench.make_backup(&image, DiskFormat::Raw, 3 * MIB);
    bench.back_up(&backup).await;
    let inner = bench.means.targets.open(bench.target_id).await.unwrap();
    let (asked, mut asks) = watch::channel(0);
    let hanging = Arc::new(Hanging { inner: inner.clone(), awake: Semaphore::new(0), asked });
    let clock = ManualClock::starting_at(Timestamp(1));
    let lease = Lease::new(clock.clone(), 1);
    lease.extend(clock.monotonic(), Duration::from_secs(60), Duration::ZERO);
    let (stopper, control) = Control::new(Some(Arc::clone(&lease)));
    let fenced = Fenced::around(hanging.clone(), control);
    let (lineage, snapshot) = (bench.lineage_id, backup.snapshot_id);
    let late = tokio::spawn(async move { chunk_store::purge(&*fenced, lineage, snapshot).await });
    asks.wait_for(|asked| *asked > 0).await.unwrap();

    clock.advance(Duration::from_secs(60));
    chunk_store::purge(&*inner, lineage, snapshot).await.unwrap();
    let bytes = make_noise(2, 3 * MIB);
    backup.source.location =
        DiskLocation::file(make_image(&bench, "second", DiskFormat::Raw, &bytes), DiskFormat::Raw);
    backup.journal = bench.path("second.journal");
    bench.back_up(&backup).await;
    let before = bench.objects();
    assert!(!before.is_empty());
    hanging.awake.add_permits(100);
    // It waits for its lease, as for ever as a job does that nobody stops.
    stopper.stop(StopReason::Superseded);
    let _ended = late.await.unwrap();
    assert_eq!(bench.objects(), before);
    let destination = make_destination(&bench, DiskFormat::Raw, bytes.len());
    bench.restore(snapshot, destination.clone()).await.unwrap();
    assert!(read_image(&bench, &destination) == bytes);
}
