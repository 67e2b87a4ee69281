//! The commands of a datamover, one a file: what each parses and what it does.

mod abort_write;
mod cut_disks;
mod describe_connector;
mod drop_changes;
mod end_cut;
mod freeze_guest;
mod list_leftovers;
mod purge_transfer;
mod remove_leftover;
mod thaw_guest;
mod transfer_disk;
mod verify_manifest;
mod work;
mod write_disk;

pub(crate) use work::COMMANDS;
pub use work::{Job, Work, parse};
