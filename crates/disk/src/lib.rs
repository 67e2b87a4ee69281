//! Reading and writing virtual disks, each through a `qemu-nbd` child of its own.
//!
//! An [`Opener`] turns a location and a size, told by the host and not probed, into a [`DiskReader`] or a [`DiskWriter`].
//! This crate knows files, RBD images, children and formats; it knows nothing of snapshots, chunks or messages. Its caller
//! is the datamover.
//!
//! ```text
//!                      open(O_NOFOLLOW), fstat: a regular file      ─┐ one file descriptor from here on: what was
//!                      header check and backing file, if qcow2       │ checked is what qemu opens, whatever happens
//!  Opener ────────────▶                                              │ to the path meanwhile
//!                      qemu-nbd, stdin = that file                  ─┘
//!                      handshake on a socket that was connected before the child started
//!                      export size == told size
//!                         │
//!                         ▼
//!  DiskReader / DiskWriter ── nbd::Client ── Unix socket ── qemu-nbd ── the disk's file
//! ```
//!
//! What a guest may have written into its disk, and what a tenant may have uploaded as an image, is hostile: see
//! [`Qcow2Header`] and the modules `source_file` and `server`. No `qemu-nbd` outlives the process that started it.

mod error;
mod launcher;
mod opener;
mod qcow2_bitmaps;
mod qcow2_header;
mod qemu_source;
mod reader;
mod server;
mod source_file;
mod status_walk;
mod writer;

pub use error::Error;
pub use opener::Opener;
pub use qcow2_bitmaps::qcow2_bitmaps;
pub use qcow2_header::{BackingFile, HeaderRefusal, Qcow2Header};
pub use reader::DiskReader;
pub use writer::DiskWriter;
