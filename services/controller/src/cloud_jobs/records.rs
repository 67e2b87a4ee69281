//! Records on a target. They are small, and replaced whole.

use std::collections::BTreeSet;

use backup_target::BackupTarget;
use bytes::Bytes;
use model::{Failure, ObjectName};
use proto::cmd::v1::Record;

use super::JobError;

/// Writes records; what was there before is replaced. A target that refuses the first one was not touched.
pub(super) async fn write(target: &dyn BackupTarget, records: &[Record]) -> Result<(), JobError> {
    for (index, record) in records.iter().enumerate() {
        let body = Bytes::copy_from_slice(&record.body);
        target.replace(&name(&record.name)?, body).await.map_err(|error| JobError {
            failure: error.failure(),
            effect_free: index == 0 && error.proves_no_effect(),
        })?;
    }
    Ok(())
}

/// Removes records, and the folders that are empty then.
pub(super) async fn remove(target: &dyn BackupTarget, names: &[String]) -> Result<(), Failure> {
    let names = names.iter().map(|text| name(text)).collect::<Result<Vec<_>, _>>()?;
    for name in &names {
        target.delete(name).await.map_err(|error| error.removal_failure())?;
    }
    let folders: BTreeSet<ObjectName> =
        names.iter().filter_map(|name| name.split_last().0.and_then(|folder| folder.parse().ok())).collect();
    for folder in &folders {
        target.remove_empty_dirs(folder).await.map_err(|error| error.removal_failure())?;
    }
    Ok(())
}

fn name(text: &str) -> Result<ObjectName, Failure> {
    text.parse()
        .map_err(|error: model::InvalidObjectName| Failure::permanent("COMMAND_INVALID", error.to_string()))
}
