//! The client against what a real cloud does not do on demand: it is late, breaks off, refuses for a while, goes in circles.

#![allow(clippy::unwrap_used)] // all of it is tests

mod fake;
mod paging;
mod refusals;
mod retries;
mod streams;
mod tls;
mod tokens;
mod versions;
