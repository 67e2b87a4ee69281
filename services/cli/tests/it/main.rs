//! The real binary against a real API.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

#[allow(dead_code)] // shared with the tests of the API, which need more of it
#[path = "../../../controller/tests/it/rest/fixture.rs"]
mod fixture;

mod command;
mod doctor;
mod help;
mod login;
mod remote;
mod target;
mod terminal;
mod top;
