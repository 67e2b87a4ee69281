//! dmapi's port on real databases with Nova's and Cinder's tables, as a user with the printed rights.

#![allow(clippy::unwrap_used)] // helpers of tests too

mod databases;
mod examining;
mod failing;
mod locating;
mod rights;
