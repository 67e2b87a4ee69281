//! Where packs rest: the port, its POSIX directory, and a decorator that fails on purpose.
//!
//! A target keeps objects by name. It knows nothing of what they hold: names and bytes come from `target-format`, order
//! and meaning from `chunk-store`. Callers: `chunk-store` (packs, manifests) and the controller (records).
//!
//! What a target promises, and `conformance` checks:
//!
//! | promise | why |
//! |---|---|
//! | `put` is write-once and all or nothing; the same content again succeeds | a killed or doubled writer harms nothing |
//! | what was put is durable when `put` returns | the journal of a transfer relies on it |
//! | a name never leaves the root, whatever was planted there | what lies on a target is hostile input |
//! | a target that is not there fails by its name, it never looks empty | an unmounted NFS is an empty folder |
//! | every call ends within a deadline | a hanging NFS must hang nothing else |

mod target;

mod error;
mod faulty;
mod repo;

mod posix;

mod examine;

pub mod conformance;

pub use error::Error;
pub use examine::{Examined, Owner, Seen, examine};
pub use faulty::Faulty;
pub use posix::PosixTarget;
pub use repo::RepoRecord;
pub use target::{BackupTarget, ObjectMeta, Space};
