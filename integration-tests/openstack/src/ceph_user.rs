//! A user of the Ceph cluster with the rights that a test gives it. It goes with the test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use libvirt_host::{Cluster, HostSettings, Scratch};
use model::ByteCount;
use runtime::Entropy;

use crate::lab::Lab;
use crate::tool;

/// The user, with a keyring of its own.
#[derive(Debug)]
pub struct CephUser {
    name: String,
    /// Names its keyring.
    conf: PathBuf,
    /// Names none.
    cluster_conf: PathBuf,
    /// The cluster's administrator.
    keyring: PathBuf,
    dir: tempfile::TempDir,
}

impl CephUser {
    /// Makes it, with these rights at the stores.
    ///
    /// Errors: the cloud has no keyring of an administrator beside its description.
    pub fn make(lab: &Lab, caps: &str) -> Result<Self> {
        let keyring = lab.dir()?.join("ceph/admin.keyring");
        let dir = tempfile::tempdir()?;
        let name = format!("holdfast-test-{}", Entropy.uuid().simple());
        let own = dir.path().join("keyring");
        let text = std::fs::read_to_string(&lab.ceph.conf)?;
        let conf = dir.path().join("ceph.conf");
        std::fs::write(
            &conf,
            text.replacen("[global]", &format!("[global]\nkeyring = {}", own.display()), 1),
        )?;
        let user = Self { name, conf, cluster_conf: lab.ceph.conf.clone(), keyring, dir };
        let client = format!("client.{}", user.name);
        user.ceph(&["auth", "get-or-create", &client, "mon", "profile rbd", "osd", caps, "-o", path(&own)?])?;
        Ok(user)
    }

    /// A host that reads `pool` as this user, and has nothing else of interest.
    pub fn host_settings(&self, pool: &str) -> Result<HostSettings> {
        let cluster = Cluster::from_conf(self.conf.clone(), self.name.clone(), pool.to_owned(), None);
        let scratch =
            Scratch { dir: self.dir.path().to_owned(), used_max: None, room_min: Some(ByteCount(0)) };
        Ok(HostSettings {
            state_dir: self.dir.path().to_owned(),
            libvirt_uri: "qemu:///system".to_owned(),
            instances_path: self.dir.path().to_owned(),
            scratch,
            clusters: vec![cluster?],
        })
    }

    fn ceph(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("ceph");
        command
            .arg("--conf")
            .arg(&self.cluster_conf)
            .arg("--id")
            .arg("admin")
            .arg("--keyring")
            .arg(&self.keyring);
        tool::run(command.args(arguments), "")
    }
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("the path is text")
}

impl Drop for CephUser {
    fn drop(&mut self) {
        let _ = self.ceph(&["auth", "rm", &format!("client.{}", self.name)]);
    }
}
