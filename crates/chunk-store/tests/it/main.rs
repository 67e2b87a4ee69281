//! Work on a lineage, on a real directory.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod damage;
mod history;
mod keys;
mod resume;
mod round_trip;
mod world;
