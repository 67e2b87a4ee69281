//! Servers start, work, die and leave nothing.

#![allow(clippy::unwrap_used)] // helpers of tests too

mod broker;
mod mariadb;
