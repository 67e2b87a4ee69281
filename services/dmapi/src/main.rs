//! dmapi: places commands.

use dmapi::config::{Config, EXAMPLE};
use service_kit::{Exit, ServiceArgs};

const NAME: &str = "holdfast-dmapi";
const ABOUT: &str = "Finds out where a command belongs and forwards it to the datamover there";

fn main() -> Exit {
    match ServiceArgs::parse(NAME, ABOUT, EXAMPLE).load(Config::check) {
        Ok(config) => service_kit::run(NAME, move |service| dmapi::start(service, config)),
        Err(exit) => exit,
    }
}
