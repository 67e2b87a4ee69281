//! The arguments that all services share.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

use crate::{Exit, config, telemetry};

/// `--config FILE [--check-config]`. Services with subcommands flatten it into their own arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct ServiceArgs {
    /// The config file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Reads the config, says whether it is good, and ends.
    #[arg(long)]
    pub check_config: bool,
    /// Looks whether all that the config names can be used, shows what cannot and what to do, and ends: with 1 when a check
    /// fails. Run it as the service's user.
    #[arg(long, conflicts_with = "check_config")]
    pub check: bool,
}

#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    service: ServiceArgs,
}

impl ServiceArgs {
    /// Parses the arguments of a service without subcommands: prints help or a usage error and ends the process where
    /// clap does so. `example` is the example config shown by `--help`.
    #[must_use]
    pub fn parse(service: &'static str, about: &'static str, example: &'static str) -> Self {
        use clap::{CommandFactory as _, FromArgMatches as _};
        let command = Arguments::command()
            .name(service)
            .version(env!("CARGO_PKG_VERSION"))
            .about(about)
            .after_long_help(about_config(example))
            .after_help("Use --help for an example config.");
        match Arguments::from_arg_matches(&command.get_matches()) {
            Ok(arguments) => arguments.service,
            Err(error) => error.exit(),
        }
    }

    /// Loads the config. `Err` holds the exit code when the process is to end here: after `--check-config`, or after
    /// an error that was printed to stderr.
    pub fn load<T: DeserializeOwned>(&self, check: impl FnOnce(&T) -> Result<(), String>) -> Result<T, Exit> {
        let loaded = config::load::<T>(&self.config)
            .map_err(|error| telemetry::Chain(&error).to_string())
            .and_then(|loaded| match check(&loaded) {
                Ok(()) => Ok(loaded),
                Err(reason) => Err(format!("{}: {reason}", self.config.display())),
            });
        match loaded {
            Ok(_) if self.check_config => {
                say(&format!("{}: ok", self.config.display()));
                Err(Exit::Done)
            }
            Ok(loaded) => Ok(loaded),
            Err(reason) => {
                say(&format!("config error: {reason}"));
                Err(Exit::Usage)
            }
        }
    }
}

/// The paragraph of `--help` that shows an example config.
#[must_use]
pub fn about_config(example: &str) -> String {
    format!(
        "Example config:\n\n{example}\nExit codes: 0 ok, 1 failed, 2 usage or config, 69 a needed service refused us, 70 an actor died."
    )
}

#[allow(clippy::print_stderr)] // the command line's own answer, before telemetry is up
fn say(line: &str) {
    eprintln!("{line}");
}
