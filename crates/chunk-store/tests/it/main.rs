//! Work on a lineage, on a real directory.

mod damage;
mod history;
mod keys;
mod resume;
mod round_trip;
mod world;
