//! Which drivers there are. The only file of the controller that names one.

use std::path::Path;
use std::sync::Arc;

use cloud::Cloud;
use directory_cloud::DirectoryCloud;
use runtime::FaultTable;
use service_kit::StartError;

use crate::config::CloudSection;

/// A `[cloud]` that works, for printed configs.
pub const CLOUD_SECTION_EXAMPLE: &str = "[cloud]\nkind = \"directory\"\npath = \"/srv/holdfast/cloud\"\n";

/// Refuses a `cloud.kind` that nobody drives.
///
/// Errors: a sentence naming the key.
pub fn check_cloud(section: &CloudSection) -> Result<(), String> {
    match section.kind.as_str() {
        "directory" => Ok(()),
        other => Err(format!("cloud.kind = {other:?} is not known: expected \"directory\"")),
    }
}

/// Opens the cloud of the config.
///
/// Errors: the driver cannot use it.
pub fn open_cloud(section: &CloudSection, faults: FaultTable) -> Result<Arc<dyn Cloud>, StartError> {
    check_cloud(section).map_err(StartError::usage)?;
    let cloud =
        DirectoryCloud::open(&section.path, faults).map_err(|error| StartError::usage(error.to_string()))?;
    Ok(Arc::new(cloud))
}

/// The faults of a drill: those of the config, else those that lie in the cloud's folder.
#[must_use]
pub fn fault_table(section: &CloudSection, drill_file: Option<&Path>) -> FaultTable {
    drill_file.map_or_else(|| directory_cloud::fault_table(&section.path), FaultTable::from_file)
}
