//! Threads that may hang. A hard NFS mount whose server is gone holds a thread for ever; nobody else may wait with it.
//!
//! Not `spawn_blocking`: its pool is shared by all, and a runtime waits for its threads when it ends. So each operation
//! has a thread of its own, which costs some 30 microseconds beside a synced write, and a target has a bounded number.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::Error;

/// 16 reads keep an NFS server busy; more only queue there.
const THREADS_MAX: usize = 16;

/// Runs the operations of one target.
#[derive(Debug)]
pub(super) struct Workers {
    path: PathBuf,
    deadline: Duration,
    permits: Arc<Semaphore>,
}

/// Whoever asked for an operation. One that hung for too long was told to have failed, and somebody else went on: from then
/// on it must change nothing, whenever its thread wakes up. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Asker(Option<Weak<()>>);

impl Asker {
    /// One that waits in any case.
    pub(super) const fn patient() -> Self {
        Self(None)
    }

    /// One that went away.
    #[cfg(test)]
    pub(super) const fn gone() -> Self {
        Self(Some(Weak::new()))
    }

    /// Whether it waits still. Asked right before each change.
    pub(super) fn waits(&self) -> bool {
        self.0.as_ref().is_none_or(|asker| asker.strong_count() > 0)
    }
}

impl Workers {
    pub(super) fn new(path: PathBuf, deadline: Duration) -> Self {
        Self { path, deadline, permits: Arc::new(Semaphore::new(THREADS_MAX)) }
    }

    /// Runs `work` on a thread. One that hangs keeps its permit, so a dead target holds at most 16 threads.
    ///
    /// Errors: `NotAnswering` after the deadline, the wait for a permit included.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(Asker) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        // It goes with this future, whether that ends, is late or is dropped.
        let waiting = Arc::new(());
        let asker = Asker(Some(Arc::downgrade(&waiting)));
        let answered = async {
            let permit =
                Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
            let (tx, rx) = oneshot::channel();
            start_thread(&self.path, move || {
                let outcome = work(asker);
                drop(permit);
                // Whoever asked may have stopped waiting.
                let _ = tx.send(outcome);
            })?;
            rx.await.map_err(|_| Error::Lost { path: self.path.clone() })?
        };
        let not_answering = |_| Error::NotAnswering { path: self.path.clone(), deadline: self.deadline };
        let answer = tokio::time::timeout(self.deadline, answered).await.map_err(not_answering);
        drop(waiting);
        answer?
    }
}

/// Runs `work` on a thread and blocks this one until it answers, but no longer than `deadline`.
pub(crate) fn run_blocking<R: Send + 'static>(
    path: &Path,
    deadline: Duration,
    work: impl FnOnce() -> Result<R, Error> + Send + 'static,
) -> Result<R, Error> {
    let (tx, rx) = sync_channel(1);
    start_thread(path, move || {
        let _ = tx.send(work());
    })?;
    rx.recv_timeout(deadline).map_err(|error| match error {
        RecvTimeoutError::Timeout => Error::NotAnswering { path: path.to_owned(), deadline },
        RecvTimeoutError::Disconnected => Error::Lost { path: path.to_owned() },
    })?
}

fn start_thread(path: &Path, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let thread = std::thread::Builder::new().name("target-io".to_owned());
    thread.spawn(work).map(drop).map_err(|source| Error::Io {
        verb: "start a thread for",
        path: path.to_owned(),
        name: "an operation".to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn operations_that_hang_give_an_error_and_hold_no_more_than_their_threads() {
        let workers = Workers::new("/hanging".into(), Duration::from_millis(50));
        let mut releases = Vec::new();
        for _ in 0..THREADS_MAX + 4 {
            let (tx, rx) = channel::<()>();
            let error = workers.run(move |_| Ok(rx.recv().is_err())).await.unwrap_err();
            assert_eq!(error.code(), "TARGET_NOT_ANSWERING");
            assert!(error.to_string().contains("/hanging"), "{error}");
            releases.push(tx);
        }
        assert_eq!(workers.permits.available_permits(), 0);

        let other = Workers::new("/well".into(), Duration::from_secs(10));
        assert_eq!(other.run(|_| Ok(7)).await.unwrap(), 7);

        drop(releases);
        let patient = Workers { deadline: Duration::from_secs(10), ..workers };
        assert_eq!(patient.run(|_| Ok(8)).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_thread_that_wakes_up_when_nobody_waits_knows_it() {
        let workers = Workers::new("/hanging".into(), Duration::from_millis(50));
        let (wake, sleep) = channel::<()>();
        let (tell, told) = channel();
        let hanging = move |asker: Asker| {
            tell.send(asker.waits()).unwrap();
            let _ = sleep.recv();
            tell.send(asker.waits()).unwrap();
            Ok(())
        };
        assert_eq!(workers.run(hanging).await.unwrap_err().code(), "TARGET_NOT_ANSWERING");
        drop(wake);
        assert_eq!((told.recv(), told.recv()), (Ok(true), Ok(false)));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_one_operation() {
        let workers = Workers::new("/panics".into(), Duration::from_secs(10));
        let error = workers.run::<()>(|_| panic!("on purpose")).await.unwrap_err();
        assert_eq!(error.code(), "TARGET_OPERATION_LOST");
        assert_eq!(workers.run(|_| Ok(7)).await.unwrap(), 7);
    }

    #[test]
    fn opening_a_hanging_target_ends_too() {
        let (tx, rx) = channel::<()>();
        let outcome =
            run_blocking(Path::new("/hanging"), Duration::from_millis(50), move || Ok(rx.recv().is_err()));
        assert_eq!(outcome.unwrap_err().code(), "TARGET_NOT_ANSWERING");
        drop(tx);
    }
}
