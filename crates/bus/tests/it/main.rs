//! The bus against a real broker.

#![allow(clippy::unwrap_used)] // helpers of tests too

mod bench;
mod consuming;
mod dead_letters;
mod listening;
mod publishing;
mod reconnecting;
mod rights;
