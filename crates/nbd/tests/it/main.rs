//! The client against servers in memory, kind and hostile, and against the real `qemu-nbd`.

#![allow(clippy::unwrap_used)] // all of it is tests

mod connection;
mod fake_server;
mod hostile_handshake;
mod hostile_transmission;
mod qemu;
