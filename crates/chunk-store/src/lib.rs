//! Work on a lineage: seal, pack, commit, read, verify, purge.
//!
//! ```text
//! BackupSession   slot ─▶ hole? ─▶ keyed digest = parent's? ─▶ reference
//!                                        └─▶ zstd ─▶ pack (64 MiB) ─▶ put ─▶ journal … ─▶ segments ─▶ manifest, last
//! Restorer        manifest ─▶ segments ─▶ reads in (pack, offset) order ─▶ crc ─▶ zstd ─▶ keyed digest ─▶ slot
//! ```
//!
//! Invariants:
//! - INV-PACK-1: a manifest is put after every pack that it names is durable.
//! - INV-PACK-2: a session references its own packs and those of its parent, no other.
//! - INV-PACK-3: a purge removes a pack only when no other manifest of the lineage names it. The caller of a session or
//!   a purge holds the lease of the lineage, so no manifest appears meanwhile.
//!
//! It knows nothing of jobs, leases or disks: the datamover brings slots of bytes and takes them.

mod key;
mod session;

mod commit;
mod kept;
mod resume;

mod map;
mod restore;

mod purge;
mod verify;

mod error;
mod fetch;
mod journal;
mod pack_writer;
mod seal;

pub use error::Error;
pub use key::{FileKeys, KeySource, LineageKey};
pub use purge::{PurgeSummary, purge};
pub use restore::{Restorer, SlotStream};
pub use session::{BackupSession, ManifestSummary, Opened, Progress, SessionSpec};
pub use verify::{Level, VerifySummary, verify};
