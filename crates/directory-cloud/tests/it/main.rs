//! The cloud made of a folder, through its three ports, on a real file system.

#![allow(clippy::unwrap_used)] // all of it is tests

mod conformance;
mod cuts;
mod effects;
mod faults;
mod hostile;
mod hosts;
mod toy;
