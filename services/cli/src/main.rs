//! `holdfast`: the REST API for people and scripts, and what an operator does on a machine itself (targets, keys).
//! It speaks to no bus.

mod command;
mod connection;
mod doctor;
mod error;
mod names;
mod output;
mod python;
mod wait;

use std::process::ExitCode;

use clap::Parser as _;

use crate::command::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return error::Error::local(format!("failed to start: {error}")).report(),
    };
    match runtime.block_on(cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
