//! The program `holdfast-dmapi` between a real broker and a cloud.

#![allow(clippy::unwrap_used)] // helpers of tests too

mod bench;
mod openstack;
mod placing;
mod starting;
