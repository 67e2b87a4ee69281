//! Ceph, by its own `rbd`: where a volume lies, what changed between two of its snapshots, who has it open.

use std::path::PathBuf;
use std::time::Duration;

use model::{ByteCount, Extent, RbdImage};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::domain::{RbdSource, is_plain};
use crate::tool::Tool;

const CALL_MAX: Duration = Duration::from_secs(30);
const ANSWER_MAX: ByteCount = ByteCount::mib(1);
/// With a valid object map this takes seconds.
const DIFF_MAX: Duration = Duration::from_secs(600);
/// Some millions of extents. A volume with more is read whole.
const DIFF_ANSWER_MAX: ByteCount = ByteCount::mib(128);

/// A cluster that this host reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its `ceph.conf`; the user's keyring lies where it says.
    pub conf: PathBuf,
    /// Without `client.`.
    pub user: String,
    /// Where Cinder keeps its volumes.
    pub pool: String,
    /// The uuid by which libvirt keeps the key of Cinder's user; tells clusters apart. Absent: it may be the fsid, as many
    /// deployment tools choose it.
    pub secret_uuid: Option<String>,
    /// By its `ceph.conf`; tells clusters apart, too.
    pub fsid: Option<String>,
    /// `host:port` of its monitors; tells clusters apart, too.
    pub monitors: Vec<String>,
}

/// What the cluster says of an image or a snapshot of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ImageInfo {
    pub(crate) id: String,
    pub(crate) size: ByteCount,
    #[serde(default)]
    pub(crate) features: Vec<String>,
    #[serde(default)]
    pub(crate) flags: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Status {
    #[serde(default)]
    watchers: Vec<Watcher>,
}

#[derive(Debug, Deserialize)]
struct Watcher {
    address: String,
}

/// One line of `rbd diff`. Whether it holds data now does not matter: it changed.
#[derive(Debug, Deserialize)]
struct Line {
    offset: u64,
    length: u64,
}

impl Cluster {
    /// Whether a disk of a domain lies in this cluster.
    pub(crate) fn holds(&self, source: &RbdSource) -> bool {
        if let (Some(ours), Some(theirs)) = (&self.secret_uuid, &source.secret) {
            return ours == theirs;
        }
        if self.fsid.is_some() && self.fsid == source.secret {
            return true;
        }
        let ours = self.monitors.iter().map(|monitor| plain_monitor(monitor));
        let ours: Vec<_> = ours.collect();
        source.monitors.iter().any(|monitor| ours.contains(&plain_monitor(monitor)))
    }

    /// Whether nothing is known that tells it from another.
    pub(crate) const fn is_anonymous(&self) -> bool {
        self.secret_uuid.is_none() && self.fsid.is_none() && self.monitors.is_empty()
    }

    /// An image in it.
    pub(crate) fn image(&self, pool: &str, image: &str, snapshot: Option<String>) -> RbdImage {
        RbdImage {
            conf: self.conf.clone(),
            user: self.user.clone(),
            pool: pool.to_owned(),
            image: image.to_owned(),
            snapshot,
        }
    }
}

/// The monitors that a `ceph.conf` names, as `host:port`.
pub(crate) fn monitors_of(mon_host: &str) -> Vec<String> {
    let words = mon_host.split([',', ';', ' ', '\t']).map(plain_monitor);
    words.filter(|monitor| !monitor.is_empty()).collect()
}

/// `[v2:[::1]:3300/0` is `::1:3300`.
fn plain_monitor(text: &str) -> String {
    let text = text.trim().replace(['[', ']'], "");
    let text = text.strip_prefix("v1:").or_else(|| text.strip_prefix("v2:")).unwrap_or(&text);
    text.split_once('/').map_or(text, |(address, _)| address).to_owned()
}

/// What the cluster says of it; `None`: there is no such image or snapshot.
pub(crate) async fn info(image: &RbdImage) -> Result<Option<ImageInfo>, Error> {
    ask(image, "info").await
}

/// Who has the image open, as addresses; `None`: there is no such image.
pub(crate) async fn watchers(image: &RbdImage) -> Result<Option<Vec<String>>, Error> {
    let status: Option<Status> = ask(image, "status").await?;
    Ok(status.map(|status| status.watchers.into_iter().map(|watcher| watcher.address).collect()))
}

/// What changed between the snapshot `since` of the image and its snapshot `image`, of `size`.
///
/// Shape: ascending, disjoint, within `size`.
pub(crate) async fn changes(image: &RbdImage, since: &str, size: ByteCount) -> Result<Vec<Extent>, Error> {
    let tool = rbd(image, "diff", DIFF_MAX, DIFF_ANSWER_MAX).args(["--from-snap", since]);
    let lines: Vec<Line> = read("rbd diff", &tool.args([name(image)]).run().await?)?;
    join(lines, size).ok_or_else(|| Error::ToolUnreadable {
        command: "rbd diff".to_owned(),
        reason: "an extent ends behind the end of everything".to_owned(),
    })
}

/// Orders and joins extents; `None`: one of them makes no sense.
fn join(lines: Vec<Line>, size: ByteCount) -> Option<Vec<Extent>> {
    let mut extents = Vec::with_capacity(lines.len());
    for Line { offset, length } in lines {
        let end = offset.checked_add(length)?.min(size.0);
        if offset < end {
            extents.push(Extent { offset, length: end - offset });
        }
    }
    extents.sort_unstable_by_key(|extent| extent.offset);
    let mut joined: Vec<Extent> = Vec::with_capacity(extents.len());
    for extent in extents {
        match joined.last_mut() {
            Some(last) if extent.offset <= last.end() => {
                last.length = last.end().max(extent.end()) - last.offset;
            }
            _ => joined.push(extent),
        }
    }
    Some(joined)
}

async fn ask<T: DeserializeOwned>(image: &RbdImage, verb: &'static str) -> Result<Option<T>, Error> {
    match rbd(image, verb, CALL_MAX, ANSWER_MAX).args([name(image)]).run().await {
        Ok(answer) => read(verb, &answer).map(Some),
        Err(Error::ToolRefused { said, .. }) if said.contains("(2) No such file or directory") => Ok(None),
        Err(error) => Err(error),
    }
}

fn read<T: DeserializeOwned>(command: &str, answer: &str) -> Result<T, Error> {
    let unreadable = |error: serde_json::Error| Error::ToolUnreadable {
        command: command.to_owned(),
        reason: error.to_string(),
    };
    serde_json::from_str(answer).map_err(unreadable)
}

fn rbd(image: &RbdImage, verb: &str, timeout: Duration, answer_max: ByteCount) -> Tool {
    let tool = Tool::new("rbd", timeout, answer_max);
    tool.args(["--conf".as_ref(), image.conf.as_os_str()]).args([
        "--id",
        &image.user,
        verb,
        "--format",
        "json",
    ])
}

/// `pool/image@snapshot`. Its parts are plain: none can be taken for an option or for another image.
fn name(image: &RbdImage) -> String {
    let RbdImage { pool, image, snapshot, .. } = image;
    assert!(is_plain(pool) && is_plain(image), "names are checked where they come from");
    match snapshot {
        Some(snapshot) => format!("{pool}/{image}@{snapshot}"),
        None => format!("{pool}/{image}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_source(monitors: &[&str], secret: Option<&str>) -> RbdSource {
        RbdSource {
            pool: "volumes".to_owned(),
            image: "volume-1".to_owned(),
            monitors: monitors.iter().map(|&monitor| monitor.to_owned()).collect(),
            secret: secret.map(str::to_owned),
        }
    }

    fn make_cluster(mon_host: &str, secret_uuid: Option<&str>) -> Cluster {
        Cluster {
            conf: "/etc/ceph/ceph.conf".into(),
            user: "holdfast".to_owned(),
            pool: "volumes".to_owned(),
            secret_uuid: secret_uuid.map(str::to_owned),
            fsid: None,
            monitors: monitors_of(mon_host),
        }
    }

    #[test]
    fn a_cluster_is_known_by_any_monitor_or_by_its_secret() {
        let cluster = make_cluster("[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] 10.0.0.2:6789", Some("a"));
        assert!(cluster.holds(&make_source(&["10.0.0.9:6789", "10.0.0.2:6789"], None)));
        assert!(cluster.holds(&make_source(&[], Some("a"))));
        assert!(!cluster.holds(&make_source(&["10.0.0.1:6790"], None)));
        assert!(!cluster.holds(&make_source(&["10.0.0.1:6789"], Some("b"))), "the secret decides");
        assert!(make_cluster("[v2:[::1]:3300/0]", None).holds(&make_source(&["::1:3300"], None)));
        assert!(!make_cluster("", None).holds(&make_source(&[], None)));
    }

    #[test]
    fn a_cluster_is_known_by_its_fsid_where_that_is_the_uuid_of_the_secret() {
        let fsid = "6bbb3455-b13c-4b72-88c3-3abaaa9ce94e";
        let cluster =
            |fsid: Option<&str>| Cluster { fsid: fsid.map(str::to_owned), ..make_cluster("10.0.0.1", None) };
        // Its monitors have moved since the domain was made.
        assert!(cluster(Some(fsid)).holds(&make_source(&["10.0.0.9:6789"], Some(fsid))));
        assert!(!cluster(Some("other")).holds(&make_source(&["10.0.0.9:6789"], Some(fsid))));
        assert!(!cluster(None).holds(&make_source(&["10.0.0.9:6789"], None)));
    }

    #[test]
    fn changes_are_in_order_do_not_overlap_and_end_with_the_disk() {
        let line = |offset, length| Line { offset, length };
        let extents =
            join(vec![line(8, 4), line(0, 4), line(4, 2), line(10, 90), line(200, 1)], ByteCount(50));
        let expected = [Extent { offset: 0, length: 6 }, Extent { offset: 8, length: 42 }];
        assert_eq!(extents.unwrap(), expected);
        assert_eq!(join(vec![line(u64::MAX, 2)], ByteCount(50)), None);
    }
}
