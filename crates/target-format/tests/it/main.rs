//! The codecs: round trips, hostile bytes, and bytes that must never change within a format version.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod golden;
mod hostile;
mod make;
mod records;
mod round_trip;
