//! The commands: a noun each.

mod bus;
mod key;
mod restore;
mod saga;
mod snapshot;
mod target;
mod top;
mod trust;
mod workload;

use clap::{Parser, Subcommand};

use crate::connection::Connection;
use crate::doctor;
use crate::error::Error;
use crate::output::Output;

const EXAMPLES: &str = "Examples:
  export HOLDFAST_ENDPOINT=http://127.0.0.1:8784/v1/acme HOLDFAST_TOKEN_FILE=~/.holdfast-token
  holdfast workload create web --instance 0191c2a4-6f3a-7c52-9d7e-0a4b5c6d7e8f
  holdfast snapshot create web --wait
  holdfast restore oneclick nightly --wait

Exit codes:
  0 done   1 the job failed   2 wrong usage   3 not found   4 refused   5 service not reachable, or token not valid";

/// Backup and restore of the workloads of a cloud.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, about, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Instances that are protected together.
    #[command(subcommand)]
    Workload(workload::Verb),
    /// Points in time of a workload.
    #[command(subcommand)]
    Snapshot(snapshot::Verb),
    /// Bringing snapshots back.
    #[command(subcommand)]
    Restore(restore::Verb),
    /// The durable runs behind snapshots and restores.
    #[command(subcommand)]
    Saga(saga::Verb),
    /// The message bus between the services.
    #[command(subcommand)]
    Bus(bus::Verb),
    /// Where backups rest.
    #[command(subcommand)]
    Target(target::Verb),
    /// What lets the service act for a user of a cloud.
    #[command(subcommand)]
    Trust(trust::Verb),
    /// Looks for what is wrong, here and at the service.
    Doctor(doctor::Doctor),
    Top(top::Top),
    /// Master keys of datamovers.
    #[command(subcommand)]
    Key(key::Verb),
}

/// What every command is given.
pub(crate) struct Session<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) output: &'a Output,
}

impl Cli {
    /// Does what was asked.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let session = Session { connection: &self.connection, output: &self.output };
        match self.noun {
            Noun::Workload(verb) => verb.run(&session).await,
            Noun::Snapshot(verb) => verb.run(&session).await,
            Noun::Restore(verb) => verb.run(&session).await,
            Noun::Saga(verb) => verb.run(&session).await,
            Noun::Bus(verb) => verb.run(&session).await,
            Noun::Target(verb) => verb.run(&session).await,
            Noun::Trust(verb) => verb.run(&session).await,
            Noun::Doctor(doctor) => doctor.run(&session).await,
            Noun::Top(top) => top.run(&session).await,
            Noun::Key(verb) => verb.run(&session),
        }
    }
}
