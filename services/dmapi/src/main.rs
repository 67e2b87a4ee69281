//! dmapi: places commands.

use std::io::Write as _;

use clap::Parser as _;
use dmapi::config::{Config, EXAMPLE};
use service_kit::{Exit, ServiceArgs, about_config};

const NAME: &str = "holdfast-dmapi";

/// Finds out where a command belongs and forwards it to the datamover there.
#[derive(Debug, clap::Parser)]
#[command(name = NAME, version, after_long_help = about_config(EXAMPLE), after_help = "Use --help for an example config.")]
struct Arguments {
    #[command(flatten)]
    service: ServiceArgs,
    /// Prints the statements that give the user of [cloud.database] its rights, and ends.
    #[arg(long)]
    print_grants: bool,
}

fn main() -> Exit {
    let arguments = Arguments::parse();
    match arguments.service.load(Config::check) {
        Ok(config) if arguments.print_grants => print_grants(&config),
        Ok(config) if arguments.service.check => service_kit::checks::run(dmapi::check(config)),
        Ok(config) => service_kit::run(NAME, move |service| dmapi::start(service, config)),
        Err(exit) => exit,
    }
}

fn print_grants(config: &Config) -> Exit {
    match dmapi::grants(&config.cloud) {
        Ok(sql) => match std::io::stdout().write_all(sql.as_bytes()) {
            Ok(()) => Exit::Done,
            Err(_) => Exit::Failed,
        },
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "{reason}");
            Exit::Usage
        }
    }
}
