//! A POSIX target on real file systems.

#![allow(clippy::unwrap_used, clippy::print_stderr)] // helpers of tests are tests too

mod conforms;
mod faults;
mod hostile;
mod mounts;
mod trouble;
