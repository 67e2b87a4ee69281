//! The process.

use clap::Parser as _;
use service_kit::Exit;

fn main() -> Exit {
    controller::cli::Arguments::parse().execute()
}
