//! Names where ids are expected: taken when exactly one thing bears them.

use std::str::FromStr;

use model::{InstanceId, SnapshotId, WorkloadId};
use rest_api::{Client, Snapshot};

use crate::error::{Error, Exit};

/// Finds a workload by id or name.
pub(crate) async fn find_workload(client: &Client, text: &str) -> Result<WorkloadId, Error> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let rows = client.list_workloads().await?;
    choose("workload", text, rows.iter().map(|row| (row.id, row.name.as_str())))
}

/// Finds a snapshot by id or name.
pub(crate) async fn find_snapshot(client: &Client, text: &str) -> Result<SnapshotId, Error> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let rows = client.list_snapshots(None).await?;
    choose("snapshot", text, rows.iter().map(|row| (row.id, row.name.as_str())))
}

/// Finds an instance of a snapshot by id or name.
pub(crate) fn find_instance(snapshot: &Snapshot, text: &str) -> Result<InstanceId, Error> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    choose("instance", text, snapshot.instances.iter().map(|one| (one.id, one.name.as_str())))
}

/// Reads an id that has no name beside it.
pub(crate) fn read_id<T: FromStr>(noun: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| none(noun, text))
}

fn choose<'a, Id: Copy>(
    noun: &str,
    name: &str,
    rows: impl Iterator<Item = (Id, &'a str)>,
) -> Result<Id, Error> {
    let found: Vec<Id> = rows.filter(|(_, other)| *other == name).map(|(id, _)| id).collect();
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(none(noun, name)),
        several => {
            let message = format!("{} {noun}s have the name {name:?}: give the id", several.len());
            Err(Error::usage(message))
        }
    }
}

fn none(noun: &str, text: &str) -> Error {
    Error::new(Exit::NotFound, format!("No {noun} with a name or ID of '{text}' exists."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_only_when_it_is_unique() {
        let rows = [(1, "a"), (2, "b"), (3, "b")];
        assert_eq!(choose("snapshot", "a", rows.into_iter()).unwrap(), 1);
        assert_eq!(choose("snapshot", "b", rows.into_iter()).unwrap_err().exit(), Exit::Usage);
        let error = choose("snapshot", "c", rows.into_iter()).unwrap_err();
        assert_eq!(error.exit(), Exit::NotFound);
        assert_eq!(error.to_string(), "No snapshot with a name or ID of 'c' exists.");
    }
}
