//! A compute host of an OpenStack, as the datamover sees it: `cloud::Host` on libvirt, the guests' agents and Ceph.
//!
//! It knows domains, checkpoints, sockets and images; it knows no API of the cloud, and nothing of chunks or messages.
//! Messages carry ids: what they mean on this host is told by libvirt and by the config, never by a message, and no format
//! is probed. Only the datamover's wiring names this crate.
//!
//! ```text
//!  LibvirtHost ─┬─ Agents   freeze, thaw ───────────────────────── virsh ── qemu guest agent
//!               ├─ Cuts     local disks: backup jobs, checkpoints ─ virsh ── qemu's NBD export
//!               │            ├ watch: room, paused guests
//!               │            └ leftovers: what is there of them, told and removed
//!               └─ Volumes  Cinder's volumes and their snapshots ── rbd ──── Ceph
//!  BrickConnector           volumes that Cinder attached to us ──── holdfast-brick ── os-brick
//! ```

mod agent;
mod bitmaps;
mod brick;
mod ceph;
mod cuts;
mod domain;
mod error;
mod examine;
#[cfg(test)]
mod fake;
mod host;
mod job_xml;
mod leftovers;
mod moment;
mod record;
mod scratch;
mod settings;
mod tool;
mod virsh;
mod volumes;
mod watch;

pub use brick::{BrickConnector, BrickSettings};
pub use ceph::Cluster;
pub use error::Error;
pub use examine::{examine, examine_guests};
pub use host::LibvirtHost;
pub use scratch::Scratch;
pub use settings::{HostSettings, instances_path};
