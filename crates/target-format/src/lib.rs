//! What lies on a backup target: names, records, packs, segments, manifests. Every byte is in docs/target-format.md.
//!
//! Pure: bytes and typed ids in, bytes and typed ids out; no I/O, no clock, no key. What is decoded here comes from a
//! target and may be hostile: every length is checked against the bytes at hand before it is used, and nothing panics.
//!
//! ```text
//! repo.json                                   the target's uuid (written by backup-target)
//! w/<workload>/workload.json                  WorkloadRecord
//! w/<workload>/<snapshot>.json                SnapshotRecord
//! l/<lineage>/lineage.json                    LineageRecord
//! l/<lineage>/pack/<2 hex>/<pack>.pack        Pack: header | chunks and segments | index | trailer
//! l/<lineage>/snap/<snapshot>/manifest        Manifest: header | segment table | pack table | trailer
//! l/<lineage>/snap/<snapshot>/snapshot.json   SnapshotMarker, written last
//! ```

/// Format 0 is unstable: it may change without a way to read what was written before.
pub const FORMAT_VERSION: u32 = 0;

mod digest;
pub mod names;

mod geometry;
mod manifest;
mod pack;
mod sealed;
mod segment;

mod record;

mod error;
mod reader;

pub use digest::Digest;
pub use error::Error;
pub use geometry::Geometry;
pub use manifest::{Manifest, ManifestHeader, PackRef, SegmentRef};
pub use pack::{BlobKind, IndexEntry, PackBuilder, PackFooter, PackHeader, SealedPack};
pub use record::{
    DiskRecord, InstanceError, InstanceRecord, LineageRecord, Record, SnapshotMarker, SnapshotRecord,
    WorkloadInstance, WorkloadRecord,
};
pub use sealed::{Sealed, seal, unseal};
pub use segment::{ChunkRef, Segment, SlotEntry};
