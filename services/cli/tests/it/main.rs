//! The real binary against a real API.

#[path = "../../../controller/tests/it/rest/fixture.rs"]
mod fixture;

mod command;
mod doctor;
mod help;
mod remote;
mod target;
