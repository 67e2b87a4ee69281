//! Compiles the protos without a system protoc, and keeps the descriptor set for the golden test.

use std::path::PathBuf;

use protox::prost::Message as _;

const FILES: [&str; 9] = [
    "holdfast/common/v1/common.proto",
    "holdfast/intake/v1/intake.proto",
    "holdfast/cmd/v1/mover.proto",
    "holdfast/cmd/v1/ctl.proto",
    "holdfast/cmd/v1/cloud.proto",
    "holdfast/cmd/v1/examine.proto",
    "holdfast/rep/v1/rep.proto",
    "holdfast/hb/v1/hb.proto",
    "holdfast/evt/v1/evt.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=holdfast");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptor.bin"), descriptors.encode_to_vec())?;
    prost_build::Config::new().enable_type_names().btree_map(["."]).compile_fds(descriptors)?;
    Ok(())
}
