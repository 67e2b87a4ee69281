//! Hashing, compressing and their reverse, on as many threads as there are cores, for all sessions of the process.

use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use bytes::Bytes;
use target_format::{Digest, Sealed, seal};
use tokio::sync::Semaphore;

use crate::{Error, LineageKey};

const ZEROES: &[u8; 4096] = &[0; 4096];

/// How many cores there are.
pub(crate) static CORE_COUNT: LazyLock<usize> =
    LazyLock::new(|| available_parallelism().map_or(2, std::num::NonZero::get));
static WORKERS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(*CORE_COUNT)));

/// What became of a slot.
#[derive(Debug)]
pub(crate) enum SealedSlot {
    /// It reads as zeroes.
    Hole,
    /// The parent has the same bytes in the same slot.
    AsParent,
    Chunk {
        digest: Digest,
        sealed: Sealed,
    },
}

/// Runs work that keeps a core busy where it delays nobody else's I/O.
pub(crate) async fn on_a_core<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Error> {
    let permit = Arc::clone(&WORKERS).acquire_owned().await.expect("the semaphore is never closed");
    let work = move || {
        let outcome = work();
        drop(permit);
        outcome
    };
    tokio::task::spawn_blocking(work).await.map_err(Error::WorkerLost)
}

/// Settles the bytes of one slot; `parent` is the keyed digest of the parent's chunk in the same slot.
pub(crate) fn seal_slot(key: &LineageKey, plain: &Bytes, parent: Option<Digest>) -> SealedSlot {
    if is_zero(plain) {
        return SealedSlot::Hole;
    }
    let digest = key.digest(plain);
    if parent == Some(digest) {
        return SealedSlot::AsParent;
    }
    SealedSlot::Chunk { digest, sealed: seal(plain) }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROES.len()).all(|step| step == &ZEROES[..step.len()])
}
