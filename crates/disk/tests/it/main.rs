//! Disks through the real `qemu-nbd`; what is on them is made and judged by `qemu-img` and `qemu-io`.

#![allow(clippy::unwrap_used)] // all of it is tests

mod bench;
mod exports;
mod hostile_files;
mod lifetime;
mod overlays;
mod reading;
mod writing;
