//! Whether a snapshot on the target is whole.

use std::sync::Arc;

use backup_target::BackupTarget;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use model::{ByteCount, LineageId, SnapshotId};
use target_format::{Digest, Manifest, PackRef};

use crate::fetch::Lineage;
use crate::map::{Map, PackIndex};
use crate::seal::on_a_core;
use crate::{Error, LineageKey, Restorer};

/// Units: bytes. A pack is hashed in steps of this.
const STEP: u64 = 8 << 20;
const PACKS_MAX: usize = 4;
const LOOKS_MAX: usize = 16;

/// How deep to look.
#[derive(Debug, Clone, Copy)]
pub enum Level<'a> {
    /// The manifest is whole, and all packs are there with their lengths.
    Presence,
    /// And every pack has the digest that the manifest says. Needs no key; reads all.
    Digests,
    /// And every chunk opens and has the keyed digest that its segment says.
    Full(&'a LineageKey),
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifySummary {
    pub pack_count: u64,
    pub chunk_count: u64,
    /// Bytes of packs that were read and checked.
    pub bytes_checked: ByteCount,
    /// BLAKE3 of the manifest object.
    pub manifest_digest: Digest,
}

/// Checks one snapshot of one disk.
///
/// Errors: the first damage found, naming the object.
pub async fn verify(
    target: &Arc<dyn BackupTarget>,
    lineage: LineageId,
    snapshot: SnapshotId,
    level: Level<'_>,
) -> Result<VerifySummary, Error> {
    let lineage = Lineage { target: Arc::clone(target), id: lineage };
    let (manifest, manifest_digest) = lineage.manifest(snapshot).await?;
    check_presence(&lineage, &manifest).await?;
    let bytes_checked = match level {
        Level::Presence => 0,
        Level::Digests => {
            let map = Map::load(&lineage, snapshot).await?;
            PackIndex::load(&lineage, &map).await?;
            check_digests(&lineage, &manifest).await?
        }
        Level::Full(key) => check_chunks(&lineage, snapshot, key).await?,
    };
    Ok(VerifySummary {
        pack_count: manifest.packs.len() as u64,
        chunk_count: manifest.header.chunk_count,
        bytes_checked: ByteCount(bytes_checked),
        manifest_digest,
    })
}

async fn check_presence(lineage: &Lineage, manifest: &Manifest) -> Result<(), Error> {
    let looks = manifest.packs.iter().map(|pack| async move {
        let name = lineage.pack_name(pack.pack_id);
        match lineage.target.size(&name).await? {
            None => Err(Error::PackMissing { pack: name }),
            Some(ByteCount(size)) if size != pack.length => {
                let reason = format_args!("it has {size} bytes and should have {}", pack.length);
                Err(lineage.pack_damaged(pack.pack_id, reason))
            }
            Some(_) => Ok(()),
        }
    });
    let looks: Vec<_> = looks.map(futures::FutureExt::boxed).collect();
    stream::iter(looks).buffered(LOOKS_MAX).try_collect().await
}

/// Gives the number of bytes read.
async fn check_digests(lineage: &Lineage, manifest: &Manifest) -> Result<u64, Error> {
    let checks: Vec<_> = manifest.packs.iter().map(|pack| check_digest(lineage, pack).boxed()).collect();
    let lengths: Vec<u64> = stream::iter(checks).buffered(PACKS_MAX).try_collect().await?;
    Ok(lengths.into_iter().sum())
}

async fn check_digest(lineage: &Lineage, pack: &PackRef) -> Result<u64, Error> {
    let mut hasher = blake3::Hasher::new();
    let mut offset = 0;
    while offset < pack.length {
        let length = STEP.min(pack.length - offset);
        let step: Bytes = lineage.pack_range(pack.pack_id, offset, length).await?;
        hasher = on_a_core(move || {
            hasher.update(&step);
            hasher
        })
        .await?;
        offset += length;
    }
    if Digest::from(hasher.finalize()) == pack.digest {
        Ok(pack.length)
    } else {
        Err(lineage.pack_damaged(pack.pack_id, "its digest differs from the manifest's"))
    }
}

/// Gives the number of bytes read.
async fn check_chunks(lineage: &Lineage, snapshot: SnapshotId, key: &LineageKey) -> Result<u64, Error> {
    let restorer = Restorer::open(Arc::clone(&lineage.target), lineage.id, snapshot, key.clone()).await?;
    let mut slots = restorer.slots();
    while let Some(slot) = slots.next().await {
        slot?;
    }
    Ok(slots.bytes_fetched().0)
}
