//! Ceph's own tool: an independent witness of a volume's bytes, and the storage's record of changes.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use model::{Extent, RbdImage};
use serde::Deserialize;

use crate::tool;

/// One line of `rbd diff`.
#[derive(Debug, Deserialize)]
struct Line {
    offset: u64,
    length: u64,
}

/// Writes all bytes of the image into a new file.
pub fn export(image: &RbdImage, to: &Path) -> Result<()> {
    tool::run(rbd(image).args(["export", "--no-progress", &name(image)]).arg(to), "").map(|_| ())
}

/// What changed up to `image` since the snapshot `since` of it.
///
/// Shape: ascending, disjoint.
pub fn changes_since(image: &RbdImage, since: &RbdImage) -> Result<Vec<Extent>> {
    let since = since.snapshot.as_deref().unwrap_or_default();
    let mut command = rbd(image);
    let lines =
        tool::run(command.args(["diff", "--format", "json", "--from-snap", since, &name(image)]), "")?;
    let lines: Vec<Line> = serde_json::from_str(&lines)?;
    Ok(lines.into_iter().map(|Line { offset, length }| Extent { offset, length }).collect())
}

/// The names of the snapshots of an image.
pub fn snapshots(image: &RbdImage) -> Result<Vec<String>> {
    let listed = tool::run(rbd(image).args(["snap", "ls", "--format", "json", &name(image)]), "")?;
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed)?;
    Ok(listed.iter().map(|snapshot| snapshot["name"].to_string()).collect())
}

/// Who has the image open, as addresses.
pub fn watchers(image: &RbdImage) -> Result<Vec<String>> {
    let status = tool::run(rbd(image).args(["status", "--format", "json", &name(image)]), "")?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let watchers = status["watchers"].as_array().into_iter().flatten();
    Ok(watchers.map(|watcher| watcher["address"].to_string()).collect())
}

fn rbd(image: &RbdImage) -> Command {
    let mut command = Command::new("rbd");
    command.arg("--conf").arg(&image.conf).args(["--id", &image.user]);
    command
}

fn name(image: &RbdImage) -> String {
    let RbdImage { pool, image, snapshot, .. } = image;
    match snapshot {
        Some(snapshot) => format!("{pool}/{image}@{snapshot}"),
        None => format!("{pool}/{image}"),
    }
}
