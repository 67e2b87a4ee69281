//! The commands of a datamover, one a file: what each parses and what it does.

mod abort_write;
mod cut_disks;
mod describe_connector;
mod drop_changes;
mod end_cut;
mod freeze_guest;
mod purge_transfer;
mod thaw_guest;
mod transfer_disk;
mod verify_manifest;
mod work;
mod write_disk;

pub use work::{Job, Work, parse};
