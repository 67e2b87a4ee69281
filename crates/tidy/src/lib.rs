//! Checks of the house itself: arrows between crates, sizes of files, leftovers, stale generated files, broken links.
//!
//! Each check is a function from a [`Tree`] of files to findings; the tests run it over this repository, and over a
//! made-up tree that it must find fault with. It imports nothing of ours: it reads.

mod actors;
mod architecture;
mod clouds;
mod error_codes;
mod files;
mod links;
mod schema_lock;
mod source;
mod tree;

pub use actors::unlisted_actors;
pub use architecture::{Architecture, arrow_findings, lint_findings, unused_arrows};
pub use clouds::cloud_findings;
pub use error_codes::{codes_with_two_rows, rows_without_code, undocumented_codes};
pub use files::{glob_exports, leftovers, long_files, machine_paths, modules_without_text};
pub use links::broken_links;
pub use schema_lock::{breaking_changes, render_schema};
pub use tree::{Finding, Tree};
