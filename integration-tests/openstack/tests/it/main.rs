//! The data path on a real OpenStack: real guests, real volumes, bytes compared.

#![allow(clippy::unwrap_used)] // all of it is tests

mod client;
mod freezing;
mod identity;
mod local_disks;
mod registration;
mod running_disks;
mod volumes;
