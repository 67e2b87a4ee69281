//! Takes a snapshot of a disk off the target, finished or not.

use std::collections::BTreeSet;

use backup_target::{BackupTarget, ObjectMeta};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use model::{ByteCount, LineageId, PackId, SnapshotId};
use target_format::names;

use crate::Error;
use crate::fetch::read_manifest;

const DELETES_MAX: usize = 8;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeSummary {
    pub pack_count: u64,
    pub bytes_removed: ByteCount,
    /// Whether no snapshot is left, so that the whole lineage went.
    pub lineage_removed: bool,
}

/// Removes marker and manifest of `snapshot`, and every pack that no other manifest of the lineage names: also what a
/// killed session left. When no other manifest is left, all of the lineage goes. May be repeated; a snapshot that was
/// never there is purged already. The caller holds the lease of the lineage, and no session of it is open.
///
/// Errors: `ManifestDamaged` of *another* snapshot: what it needs is not known, so nothing is removed.
pub async fn purge(
    target: &dyn BackupTarget,
    lineage: LineageId,
    snapshot: SnapshotId,
) -> Result<PurgeSummary, Error> {
    let others = other_snapshots(target, lineage, snapshot).await?;
    // All are read before anything is removed.
    let needed = packs_needed(target, lineage, &others).await?;
    // Marker, then manifest, then packs: whoever is killed in between leaves orphans, never a snapshot with holes.
    target.delete(&names::snapshot_marker(lineage, snapshot)).await?;
    target.delete(&names::manifest(lineage, snapshot)).await?;
    let folder = names::lineage_folder(lineage);
    let found = target.list(Some(&folder)).await?;
    let is_dead = |object: &&ObjectMeta| match names::parse_pack(lineage, &object.name) {
        Some(pack) => !needed.contains(&pack),
        None => others.is_empty() || object.name.is_within(&names::snapshot_folder(lineage, snapshot)),
    };
    let dead: Vec<_> = found.iter().filter(is_dead).collect();
    let deletes: Vec<_> = dead.iter().map(|object| target.delete(&object.name).boxed()).collect();
    let () = stream::iter(deletes).buffer_unordered(DELETES_MAX).try_collect().await?;
    target.remove_temps(&folder).await?;
    target.remove_empty_dirs(&folder).await?;
    Ok(PurgeSummary {
        pack_count: dead.iter().filter(|object| names::parse_pack(lineage, &object.name).is_some()).count()
            as u64,
        bytes_removed: dead.iter().map(|object| object.size).sum(),
        lineage_removed: others.is_empty(),
    })
}

/// All snapshots of the lineage but `snapshot`, by manifest or marker.
async fn other_snapshots(
    target: &dyn BackupTarget,
    lineage: LineageId,
    snapshot: SnapshotId,
) -> Result<BTreeSet<SnapshotId>, Error> {
    let found = target.list(Some(&names::snapshots_folder(lineage))).await?;
    let of = |object: &ObjectMeta| object.name.segments().nth(3).and_then(|text| text.parse().ok());
    Ok(found.iter().filter_map(of).filter(|other| *other != snapshot).collect())
}

/// The union of all their pack tables: INV-PACK-3. Not only of neighbours: after a restore in place histories branch.
async fn packs_needed(
    target: &dyn BackupTarget,
    lineage: LineageId,
    snapshots: &BTreeSet<SnapshotId>,
) -> Result<BTreeSet<PackId>, Error> {
    let mut needed = BTreeSet::new();
    for snapshot in snapshots {
        let (manifest, _) = read_manifest(target, lineage, *snapshot).await?;
        needed.extend(manifest.packs.iter().map(|pack| pack.pack_id));
    }
    Ok(needed)
}
