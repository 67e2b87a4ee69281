//! The datamover of one compute host.

use datamover::config::{Config, EXAMPLE};
use service_kit::{Exit, ServiceArgs};

const NAME: &str = "holdfast-datamover";
const ABOUT: &str = "Moves the disks of this host's instances to backup targets and back";

fn main() -> Exit {
    let arguments = ServiceArgs::parse(NAME, ABOUT, EXAMPLE);
    match arguments.load(Config::check) {
        Ok(config) if arguments.check => service_kit::checks::run(datamover::examine::check(config)),
        Ok(config) => service_kit::run(NAME, move |service| datamover::start(service, config)),
        Err(exit) => exit,
    }
}
