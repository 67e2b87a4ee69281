//! Reading manifests, segments and packs, with errors that name the object.

use std::sync::Arc;

use backup_target::BackupTarget;
use bytes::Bytes;
use model::{LineageId, ObjectName, PackId, SnapshotId};
use target_format::{
    BlobKind, Digest, IndexEntry, Manifest, PackBuilder, PackFooter, PackHeader, PackRef, Segment,
    SegmentRef, names, unseal,
};

use crate::Error;

/// One lineage on one target. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Lineage {
    pub(crate) target: Arc<dyn BackupTarget>,
    pub(crate) id: LineageId,
}

impl Lineage {
    pub(crate) fn pack_name(&self, pack_id: PackId) -> ObjectName {
        names::pack(self.id, pack_id)
    }

    pub(crate) fn pack_damaged(&self, pack_id: PackId, reason: impl ToString) -> Error {
        Error::PackDamaged { pack: self.pack_name(pack_id), reason: reason.to_string() }
    }

    /// As `read_manifest`.
    pub(crate) async fn manifest(&self, snapshot: SnapshotId) -> Result<(Manifest, Digest), Error> {
        read_manifest(&*self.target, self.id, snapshot).await
    }

    /// Reads a part of a pack.
    pub(crate) async fn pack_range(&self, pack_id: PackId, offset: u64, length: u64) -> Result<Bytes, Error> {
        let name = self.pack_name(pack_id);
        self.target.get_range(&name, offset, length).await.map_err(|error| match error {
            backup_target::Error::ObjectMissing { name } => Error::PackMissing { pack: name },
            backup_target::Error::ObjectTooShort { end, .. } => {
                self.pack_damaged(pack_id, format_args!("it ends before byte {end}"))
            }
            error => Error::Target(error),
        })
    }

    /// Reads and checks header and footer of a pack.
    pub(crate) async fn pack_footer(&self, pack: &PackRef) -> Result<PackFooter, Error> {
        let (header_length, footer_length) = (PackHeader::LENGTH as u64, u64::from(pack.footer_length));
        // A footer of a pack is shorter than its body may be, so this bounds the memory too.
        let fits = header_length + footer_length <= pack.length && footer_length <= PackBuilder::LENGTH_MAX;
        if !fits {
            return Err(self.pack_damaged(pack.pack_id, "the manifest gives it an impossible length"));
        }
        let (header, footer) = futures::try_join!(
            self.pack_range(pack.pack_id, 0, header_length),
            self.pack_range(pack.pack_id, pack.length - footer_length, footer_length),
        )?;
        let damaged = |reason: target_format::Error| self.pack_damaged(pack.pack_id, reason);
        let footer = PackFooter::decode(&header, &footer, pack.length).map_err(damaged)?;
        let expected = PackHeader { target_id: self.target.id(), lineage_id: self.id, pack_id: pack.pack_id };
        if PackHeader::decode(&header).map_err(damaged)? == expected {
            Ok(footer)
        } else {
            Err(self.pack_damaged(pack.pack_id, "it was written as another pack"))
        }
    }

    /// Reads and checks segment `segment`.
    pub(crate) async fn segment(&self, segment: &SegmentRef) -> Result<Segment, Error> {
        let SegmentRef { pack_id, offset, stored_length, plain_length, .. } = *segment;
        let damaged =
            |reason: &str| self.pack_damaged(pack_id, format_args!("segment at byte {offset}: {reason}"));
        if u64::from(plain_length) > PackBuilder::LENGTH_MAX {
            return Err(damaged("it is longer than a segment can be"));
        }
        let stored = self.pack_range(pack_id, u64::from(offset), u64::from(stored_length)).await?;
        if crc32fast::hash(&stored) != segment.crc32 {
            return Err(damaged("its checksum differs"));
        }
        let plain =
            unseal(&stored, plain_length, segment.zstd).map_err(|error| damaged(&error.to_string()))?;
        if Digest::of(&plain) != segment.digest {
            return Err(damaged("its digest differs"));
        }
        Segment::decode(&plain).map_err(|error| damaged(&error.to_string()))
    }
}

/// Reads and checks a manifest, and gives the digest of the object beside it.
pub(crate) async fn read_manifest(
    target: &dyn BackupTarget,
    lineage: LineageId,
    snapshot: SnapshotId,
) -> Result<(Manifest, Digest), Error> {
    let name = names::manifest(lineage, snapshot);
    let bytes = target.get(&name).await.map_err(|error| match error {
        backup_target::Error::ObjectMissing { name } => Error::ManifestMissing { manifest: name },
        error => Error::Target(error),
    })?;
    let manifest = Manifest::decode(&bytes)
        .map_err(|error| Error::ManifestDamaged { manifest: name.clone(), reason: error.to_string() })?;
    let header = &manifest.header;
    if (header.target_id, header.lineage_id, header.snapshot_id) == (target.id(), lineage, snapshot) {
        Ok((manifest, Digest::of(&bytes)))
    } else {
        let reason = "it names another target, lineage or snapshot".to_owned();
        Err(Error::ManifestForeign { manifest: name, reason })
    }
}

/// Whether the pack's index knows the segment as the manifest does.
pub(crate) fn index_has_segment(entry: Option<&IndexEntry>, segment: &SegmentRef) -> bool {
    let expected = IndexEntry {
        kind: BlobKind::Segment,
        zstd: segment.zstd,
        offset: segment.offset,
        stored_length: segment.stored_length,
        plain_length: segment.plain_length,
        crc32: segment.crc32,
    };
    entry == Some(&expected)
}
