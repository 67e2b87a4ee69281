//! Drivers and the whole product on a real OpenStack: real guests, real volumes, bytes compared.

#![allow(clippy::unwrap_used)] // all of it is tests

mod as_nova;
mod changes;
mod client;
mod describing;
mod doctor;
mod effects;
mod failing;
mod host_actions;
mod host_clusters;
mod host_guests;
mod host_leftovers;
mod host_local_disks;
mod host_scratch;
mod host_volumes;
mod identity;
mod killed;
mod leaving;
mod local_disks;
mod mixed_disks;
mod notifications;
mod other_storage;
mod partial;
mod placement;
mod protecting;
mod registration;
mod states;
mod users;
mod volumes;
