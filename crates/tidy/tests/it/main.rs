//! The house is tidy; and each check finds fault with a made-up tree, so that none of them is blind.

#![allow(clippy::unwrap_used)] // helpers of tests too

mod architecture;
mod documents;
mod files;
mod generated;
mod world;
