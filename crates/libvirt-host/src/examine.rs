//! Looks at this host as an operator asks for it: libvirt, the folders, Ceph with the user's rights, and the guests' agents.
//! It changes nothing: what it asks to remove is not there, and the refusal tells whether it might have been removed.

use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use model::{ByteCount, Check, Failure, InstanceId, RbdImage};
use rustix::fs::{Access, access};

use crate::Error;
use crate::ceph::Cluster;
use crate::domain::Agent;
use crate::scratch::Scratch;
use crate::settings::HostSettings;
use crate::tool::Tool;
use crate::virsh::Virsh;

/// A name that no volume has: Cinder's begin with `volume-`.
const NO_IMAGE: &str = "holdfast-examination";
/// A cluster that is well answers within tenths of a second; its clients would wait for minutes. Two in a row are less than what
/// an examination of the host may take.
const CLUSTER_MAX: Duration = Duration::from_secs(7);
const ANSWER_MAX: ByteCount = ByteCount::mib(1);
/// An agent that is there answers in some milliseconds.
const PING_MAX: Duration = Duration::from_secs(4);
/// Agents asked at once: each is a process or two.
const PINGS_AT_ONCE: usize = 8;
/// A host has a hundred instances; of more the first are asked.
const PINGS_MAX: usize = 200;

/// Examines the host itself.
///
/// Codes: `LIBVIRT_UNREACHABLE`, `INSTANCES_PATH_UNREADABLE`, `SCRATCH_UNUSABLE`, `SCRATCH_FULL`, `CEPH_UNREACHABLE`,
/// `CEPH_POOL_MISSING`, `CEPH_READ_DENIED`, `CEPH_WRITE_DENIED`, `QEMU_NBD_DRIVER_MISSING`, `HOST_TOOL_…`.
pub async fn examine(settings: &HostSettings) -> Vec<Check> {
    let virsh = Virsh::new(settings.libvirt_uri.clone());
    let clusters = join_all(settings.clusters.iter().map(examine_cluster));
    let (path, scratch) = (settings.instances_path.clone(), settings.scratch.clone());
    // A file system that hangs must not hold a thread on which guests are watched.
    let folders =
        tokio::task::spawn_blocking(move || [examine_instances_path(&path), examine_scratch(&scratch)]);
    let (version, folders, clusters) = tokio::join!(virsh.version(), folders, clusters);
    let mut checks = vec![Check::of("libvirt", version.map_err(|error| error.failure()))];
    checks.extend(folders.into_iter().flatten());
    checks.extend(clusters.into_iter().flatten());
    checks
}

/// Asks the agents of those instances that are on this host. A guest whose agent does not answer is protected all the same, as
/// after a power failure, so these are warnings. Codes: `GUEST_AGENT_ABSENT`, `GUEST_AGENT_SILENT`.
pub async fn examine_guests(settings: &HostSettings, instances: &[InstanceId]) -> Vec<Check> {
    let virsh = Virsh::new(settings.libvirt_uri.clone());
    // Without libvirt there is a check that says so.
    let Ok(here) = virsh.running().await else { return Vec::new() };
    let asked = instances.iter().copied().filter(|id| here.contains(id)).take(PINGS_MAX);
    stream::iter(asked).map(|id| ping(&virsh, id)).buffered(PINGS_AT_ONCE).collect().await
}

async fn ping(virsh: &Virsh, instance: InstanceId) -> Check {
    let subject = format!("guest agent of instance {instance}");
    let not_frozen = "until then snapshots of it are as after a power failure";
    let warn = |code: &str, message: String| Check::warn(subject.clone(), code, message);
    match virsh.domain(instance).await.map(|domain| domain.agent) {
        Ok(Agent::None) => {
            return warn(
                "GUEST_AGENT_ABSENT",
                format!(
                    "the instance has no channel for an agent: give its image the property hw_qemu_guest_agent=yes and rebuild it; \
                     {not_frozen}"
                ),
            );
        }
        Ok(Agent::Away) => {
            return warn(
                "GUEST_AGENT_ABSENT",
                format!(
                    "nobody is at the guest's end: install and start qemu-guest-agent in it; {not_frozen}"
                ),
            );
        }
        Ok(Agent::Connected) => {}
        Err(error) => return Check::of(subject, Err::<String, _>(error.failure())),
    }
    match virsh.ask_agent(instance, "guest-ping", PING_MAX).await {
        Ok(_) => Check::ok(subject, "it answers"),
        Err(error) => {
            tracing::info!(instance_id = %instance, %error, "a guest's agent is silent");
            let message = format!(
                "it is connected, and does not answer within {} s: the guest hangs, or its agent does; start qemu-guest-agent in the \
                 guest again; {not_frozen}",
                PING_MAX.as_secs()
            );
            warn("GUEST_AGENT_SILENT", message)
        }
    }
}

fn examine_instances_path(path: &Path) -> Check {
    let subject = format!("instances path {}", path.display());
    match std::fs::read_dir(path) {
        Ok(_) => Check::ok(subject, "readable"),
        Err(error) => Check::fail(
            subject,
            "INSTANCES_PATH_UNREADABLE",
            format!("{error}: set cloud.instances_path to Nova's, and run the datamover as nova's user"),
        ),
    }
}

fn examine_scratch(scratch: &Scratch) -> Check {
    let subject = format!("scratch folder {}", scratch.dir.display());
    let outcome = scratch.room(ByteCount(0)).and_then(|room| {
        access(&scratch.dir, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|errno| Error::Scratch { path: scratch.dir.clone(), source: errno.into() })?;
        let (free, needed) = (room.free, room.needed);
        match room.may_begin() {
            true => Ok(format!("{free} free, a cut needs {needed} or more")),
            false => Err(Error::ScratchFull { path: scratch.dir.clone(), free, needed }),
        }
    });
    Check::of(subject, outcome.map_err(|error| error.failure()))
}

/// What the user of a cluster may do there, and whether qemu can open its images.
async fn examine_cluster(cluster: &Cluster) -> Vec<Check> {
    let name = format!("Ceph pool {} as client.{}", cluster.pool, cluster.user);
    let image = cluster.image(&cluster.pool, NO_IMAGE, None);
    let read = Check::of(format!("{name}: reading"), examine_read(cluster).await);
    if !read.code.is_empty() {
        return vec![read];
    }
    let (write, open) = tokio::join!(examine_write(cluster, &name), examine_driver(&image));
    vec![read, write, open]
}

/// Asks for an image that is not there: who may not read is told so instead.
async fn examine_read(cluster: &Cluster) -> Result<String, Failure> {
    let image = format!("{}/{NO_IMAGE}", cluster.pool);
    let rbd = Tool::new("rbd", CLUSTER_MAX, ANSWER_MAX)
        .args(["--conf".as_ref(), cluster.conf.as_os_str()])
        .args(["--id", &cluster.user, "info", &image]);
    match rbd.run().await {
        Ok(_) => Ok("allowed".to_owned()),
        Err(Error::ToolRefused { said, .. }) if is_no_image(&said) => Ok("allowed".to_owned()),
        Err(error) => Err(refusal(cluster, &error)),
    }
}

fn is_no_image(said: &str) -> bool {
    said.contains("error opening image") && said.contains("(2) No such file or directory")
}

/// Why the cluster does not let us read.
fn refusal(cluster: &Cluster, error: &Error) -> Failure {
    let Cluster { user, pool, conf, .. } = cluster;
    let caps =
        format!("ceph auth caps client.{user} mon 'profile rbd' osd 'profile rbd-read-only pool={pool}'");
    match error {
        Error::ToolRefused { said, .. } if said.contains("error opening pool") => Failure::permanent(
            "CEPH_POOL_MISSING",
            format!("{said}; set cloud.ceph.pool to Cinder's rbd_pool"),
        ),
        Error::ToolRefused { said, .. } if said.contains("couldn't connect") => Failure::transient(
            "CEPH_UNREACHABLE",
            format!(
                "{said}; look at the monitors in {}, and at the keyring of client.{user}",
                conf.display()
            ),
        ),
        Error::ToolRefused { said, .. } if is_denied(said) => {
            Failure::permanent("CEPH_READ_DENIED", format!("{said}; run {caps}"))
        }
        Error::ToolOverdue { .. } => Failure::transient(
            "CEPH_UNREACHABLE",
            format!("{error}; look at the monitors in {}, and at the network", conf.display()),
        ),
        error => error.failure(),
    }
}

/// Whether the user may write. Who restores no volumes through this host needs it not: a warning.
async fn examine_write(cluster: &Cluster, name: &str) -> Check {
    let subject = format!("{name}: writing");
    let Cluster { user, pool, .. } = cluster;
    let rados = Tool::new("rados", CLUSTER_MAX, ANSWER_MAX)
        .args(["--conf".as_ref(), cluster.conf.as_os_str()])
        .args(["--id", user, "--pool", pool, "rm", NO_IMAGE]);
    match rados.run().await {
        Err(Error::ToolRefused { said, .. }) if said.contains("(2) No such file or directory") => {
            Check::ok(subject, "allowed: volumes can be restored through this host")
        }
        Err(Error::ToolRefused { said, .. }) if is_denied(&said) => Check::warn(
            subject,
            "CEPH_WRITE_DENIED",
            format!(
                "volumes cannot be restored through this host; where they shall be, run ceph auth caps client.{user} mon 'profile \
                 rbd' osd 'profile rbd pool={pool}'"
            ),
        ),
        Ok(_) => Check::ok(subject, "allowed"),
        Err(error) => Check::of(subject, Err::<String, _>(error.failure())),
    }
}

/// Whether the host's qemu has its driver for Ceph: it is a module of another package.
async fn examine_driver(image: &RbdImage) -> Check {
    let subject = "qemu's driver for Ceph";
    let RbdImage { pool, image, user, conf, .. } = image;
    let name = format!("rbd:{pool}/{image}:id={user}:conf={}", conf.display());
    let tool = Tool::new("qemu-img", CLUSTER_MAX, ANSWER_MAX).args(["info", "-f", "raw", &name]);
    match tool.run().await {
        Err(Error::ToolRefused { said, .. }) if !said.contains("error reading header") => Check::fail(
            subject,
            "QEMU_NBD_DRIVER_MISSING",
            format!("{said}; install the package qemu-block-extra in exactly the version of qemu-utils"),
        ),
        Ok(_) | Err(Error::ToolRefused { .. }) => Check::ok(subject, "it opens images"),
        Err(error) => Check::of(subject, Err::<String, _>(error.failure())),
    }
}

fn is_denied(said: &str) -> bool {
    said.contains("(1) Operation not permitted") || said.contains("(13) Permission denied")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refusal(said: &str, code: &str) {
        let cluster = Cluster {
            conf: "/etc/ceph/ceph.conf".into(),
            user: "holdfast".to_owned(),
            pool: "volumes".to_owned(),
            secret_uuid: None,
            fsid: None,
            monitors: Vec::new(),
        };
        let error = Error::ToolRefused { command: "rbd info".to_owned(), said: said.to_owned() };
        assert_eq!(refusal(&cluster, &error).code, code);
    }

    #[test]
    fn what_a_cluster_refuses_is_told_apart_by_its_words() {
        check_refusal("rbd: error opening pool 'nopool': (2) No such file or directory", "CEPH_POOL_MISSING");
        check_refusal("rbd: couldn't connect to the cluster!", "CEPH_UNREACHABLE");
        check_refusal("rbd: error opening image x: (1) Operation not permitted", "CEPH_READ_DENIED");
        check_refusal("rbd: it rains", "HOST_TOOL_FAILED");
        assert!(is_no_image("rbd: error opening image x: (2) No such file or directory"));
        assert!(!is_no_image("rbd: error opening pool 'x': (2) No such file or directory"));
    }

    #[test]
    fn a_host_without_its_folders_is_told_so() {
        let missing = Path::new("/nonexistent/holdfast");
        assert_eq!(examine_instances_path(missing).code, "INSTANCES_PATH_UNREADABLE");
        let make =
            |dir: &Path, room_min| Scratch { dir: dir.to_owned(), used_max: None, room_min: Some(room_min) };
        assert_eq!(examine_scratch(&make(missing, ByteCount(1))).code, "SCRATCH_UNUSABLE");
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(examine_scratch(&make(dir.path(), ByteCount(u64::MAX))).code, "SCRATCH_FULL");
        assert_eq!(examine_scratch(&make(dir.path(), ByteCount(0))).code, "");
    }

    #[tokio::test]
    async fn a_libvirt_that_is_away_is_told_and_no_guest_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let settings = HostSettings {
            state_dir: dir.path().to_owned(),
            libvirt_uri: "qemu+unix:///system?socket=/nonexistent/libvirt.sock".to_owned(),
            instances_path: dir.path().to_owned(),
            scratch: Scratch { dir: dir.path().to_owned(), used_max: None, room_min: Some(ByteCount(0)) },
            clusters: Vec::new(),
        };
        let checks = examine(&settings).await;
        let codes: Vec<_> = checks.iter().map(|check| check.code.as_str()).collect();
        assert_eq!(codes, ["LIBVIRT_UNREACHABLE", "", ""], "{checks:?}");
        assert!(
            examine_guests(&settings, &["018f3c1e-6f3a-7c52-9d7e-0a4b5c6d7e8f".parse().unwrap()])
                .await
                .is_empty()
        );
    }
}
