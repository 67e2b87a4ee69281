//! The messages on the bus. Generated Rust stays in the build directory; `convert` parses it at the edge
//! into the types of `model`. Called by the services; knows nothing of queues.

pub mod convert;

/// The descriptor set of all packages, as compiled into this build.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

macro_rules! source {
    ($path:literal) => {
        ($path, include_str!(concat!("../", $path)))
    };
}

/// The sources of the messages, by path: for documents that show them.
pub const SOURCES: [(&str, &str); 9] = [
    source!("holdfast/common/v1/common.proto"),
    source!("holdfast/intake/v1/intake.proto"),
    source!("holdfast/cmd/v1/mover.proto"),
    source!("holdfast/cmd/v1/ctl.proto"),
    source!("holdfast/cmd/v1/cloud.proto"),
    source!("holdfast/cmd/v1/examine.proto"),
    source!("holdfast/rep/v1/rep.proto"),
    source!("holdfast/hb/v1/hb.proto"),
    source!("holdfast/evt/v1/evt.proto"),
];

macro_rules! package {
    ($name:ident, $file:literal) => {
        #[allow(missing_docs, clippy::all, clippy::pedantic)]
        pub mod $name {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/", $file));
            }
        }
    };
}

package!(common, "holdfast.common.v1.rs");
package!(intake, "holdfast.intake.v1.rs");
package!(cmd, "holdfast.cmd.v1.rs");
package!(rep, "holdfast.rep.v1.rs");
package!(hb, "holdfast.hb.v1.rs");
package!(evt, "holdfast.evt.v1.rs");
