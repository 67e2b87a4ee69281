//! A cloud made of a folder: instances are TOML files with disk images beside them. It makes the trial run, the tests and
//! the benchmarks possible without an OpenStack, over the same bus, sagas and data path.
//!
//! ```text
//! cloud.toml                       pool, hosts, default project, quotas
//! faults.toml                      faults on purpose (optional, read at every effect)
//! effects.log                      one line per effect that happened
//! instances/<any name>/            instance.toml, disk images, `frozen` while the guest is
//! volumes/<volume id>/             volume.toml, disk.img
//! volume-snapshots/<snapshot id>/  snapshot.toml, disk.img
//! attachments/<attachment id>/      attachment.toml: a volume that a host may read
//! connections/<host>.<attachment id>  there while that host has it connected
//! cuts/<snapshot id>.<instance id>/  cut.toml, <device>.img: local disks of a running instance
//! ```
//!
//! Folders appear whole, by renaming `.tmp-…`; a process that is killed leaves nothing visible. Everything is opened beneath
//! the root and links are refused. Nothing but wiring may know this crate; the ports are those of `cloud`.

mod error;
mod record;

mod root;

mod image;
mod store;

mod effect;
mod quotas;

mod attachment;
mod builder;
mod connector;
mod cut;
mod driver;
mod host;
mod placement;

pub use builder::{BuildError, Builder, NewDirectoryDisk, NewDirectoryInstance};
pub use connector::DirectoryConnector;
pub use driver::DirectoryCloud;
pub use effect::fault_table;
pub use error::OpenError;
pub use host::DirectoryHost;
pub use placement::DirectoryPlacement;
