//! A real datamover process at a real broker, a folder cloud and a folder target. The tests play the controller.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests are tests

mod controller;
mod guests;
mod lives;
mod mover;
mod transfers;
