//! A second Ceph cluster of a test's own, beside the cloud's: one monitor, one OSD of 1 GiB, one pool. Gone when dropped.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use integration_tests::wait;
use model::RbdImage;
use runtime::Entropy;

use crate::lab::Ceph;
use crate::tool;

const START_MAX: Duration = Duration::from_secs(120);
const POOL: &str = "volumes";
/// Whom the datamover is there.
const USER: &str = "holdfast";

/// The cluster.
#[derive(Debug)]
pub struct SecondCeph {
    monitor_port: u16,
    daemons: Vec<Child>,
    dir: tempfile::TempDir,
}

impl SecondCeph {
    /// Brings it up, which takes a quarter of a minute.
    pub fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-ceph-").tempdir()?;
        let mut ceph = Self { monitor_port: sandbox::free_port()?, daemons: Vec::new(), dir };
        for folder in ["mon", "osd"] {
            std::fs::create_dir(ceph.path().join(folder))?;
        }
        let fsid = Entropy.uuid().to_string();
        std::fs::write(ceph.conf(), ceph.conf_text(&fsid))?;
        ceph.start_monitor(&fsid)?;
        ceph.start_osd()?;
        ceph.admin("ceph", &["osd", "pool", "create", POOL, "8", "8"])?;
        ceph.admin("ceph", &["osd", "pool", "application", "enable", POOL, "rbd"])?;
        let (name, osd) = (format!("client.{USER}"), format!("profile rbd pool={POOL}"));
        let rights = ["auth", "get-or-create", &name, "mon", "profile rbd", "osd", &osd];
        let keyring = ceph.admin("ceph", &rights)?;
        std::fs::write(ceph.path().join("client.keyring"), keyring)?;
        Ok(ceph)
    }

    /// How the product is told of it.
    #[must_use]
    pub fn settings(&self) -> Ceph {
        Ceph { conf: self.conf(), user: USER.to_owned(), pool: POOL.to_owned() }
    }

    /// Where its monitor is.
    #[must_use]
    pub const fn monitor_port(&self) -> u16 {
        self.monitor_port
    }

    /// An image with these bytes.
    pub fn import(&self, image: &str, bytes: &Path) -> Result<RbdImage> {
        let name = format!("{POOL}/{image}");
        let bytes = bytes.to_str().context("a plain path")?;
        self.admin("rbd", &["import", "--no-progress", bytes, &name])?;
        let (conf, user, pool, image) = (self.conf(), USER.to_owned(), POOL.to_owned(), image.to_owned());
        Ok(RbdImage { conf, user, pool, image, snapshot: None })
    }

    /// Takes a snapshot of an image.
    pub fn snapshot(&self, image: &RbdImage, name: &str) -> Result<()> {
        self.admin("rbd", &["snap", "create", "--no-progress", &format!("{POOL}/{}@{name}", image.image)])?;
        Ok(())
    }

    fn start_monitor(&mut self, fsid: &str) -> Result<()> {
        let (dir, conf) = (self.path().to_owned(), self.conf());
        let run = |program: &str, arguments: &[&str]| -> Result<()> {
            tool::run(Command::new(program).current_dir(&dir).args(arguments), "").map(drop)
        };
        run("ceph-authtool", &["-C", "mon.keyring", "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"])?;
        let admin = ["-C", "admin.keyring", "--gen-key", "-n", "client.admin"];
        run(
            "ceph-authtool",
            &[&admin[..], &["--cap", "mon", "allow *", "--cap", "osd", "allow *"]].concat(),
        )?;
        run("ceph-authtool", &["mon.keyring", "--import-keyring", "admin.keyring"])?;
        let address = format!("[v1:127.0.0.1:{}]", self.monitor_port);
        run("monmaptool", &["--create", "--fsid", fsid, "--addv", "a", &address, "monmap"])?;
        let conf = conf.to_str().context("a plain path")?;
        let make = ["-c", conf, "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "mon.keyring"];
        run("ceph-mon", &make)?;
        self.spawn("ceph-mon", "a")?;
        let answers = || Ok(self.admin("ceph", &["--connect-timeout", "3", "fsid"]).ok());
        wait::until(START_MAX, "the monitor answers", answers).map(drop)
    }

    fn start_osd(&mut self) -> Result<()> {
        let uuid = Entropy.uuid().to_string();
        let id = self.admin("ceph", &["osd", "new", &uuid])?.trim().to_owned();
        let rights =
            ["auth", "get-or-create", &format!("osd.{id}"), "mon", "allow profile osd", "osd", "allow *"];
        std::fs::write(self.path().join("osd/keyring"), self.admin("ceph", &rights)?)?;
        let mut make = Command::new("ceph-osd");
        make.arg("-c").arg(self.conf()).args(["-i", &id, "--mkfs", "--osd-uuid", &uuid]);
        tool::run(&mut make, "")?;
        self.spawn("ceph-osd", &id)
    }

    fn spawn(&mut self, program: &str, id: &str) -> Result<()> {
        let log = File::create(self.path().join(format!("{program}.out")))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(self.conf()).args(["-f", "-i", id]).stdin(Stdio::null());
        self.daemons.push(command.stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(())
    }

    fn admin(&self, program: &str, arguments: &[&str]) -> Result<String> {
        tool::run(Command::new(program).arg("-c").arg(self.conf()).args(arguments), "")
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn conf(&self) -> std::path::PathBuf {
        self.path().join("ceph.conf")
    }

    fn conf_text(&self, fsid: &str) -> String {
        let (dir, port) = (self.path().display(), self.monitor_port);
        format!(
            "[global]\nfsid = {fsid}\nmon_initial_members = a\nmon_host = [v1:127.0.0.1:{port}/0]\n\
             public_network = 127.0.0.1/32\nauth_allow_insecure_global_id_reclaim = false\n\
             osd_pool_default_size = 1\nosd_pool_default_min_size = 1\nosd_crush_chooseleaf_type = 0\n\
             mon_allow_pool_size_one = true\nmon_data_avail_warn = 3\nmon_data_avail_crit = 1\n\
             keyring = {dir}/admin.keyring\nrun_dir = {dir}\nadmin_socket = {dir}/$name.asok\n\
             log_file = {dir}/$name.log\npid_file =\n\
             [mon]\nmon_data = {dir}/mon\nkeyring = {dir}/mon.keyring\n\
             [osd]\nosd_data = {dir}/osd\nkeyring = {dir}/osd/keyring\nosd_objectstore = bluestore\n\
             bluestore_block_size = 1073741824\nbluestore_block_create = true\n\
             osd_memory_target = 939524096\nosd_op_num_shards = 1\n\
             [client.{USER}]\nkeyring = {dir}/client.keyring\nadmin_socket =\n\
             [client.admin]\nadmin_socket =\n"
        )
    }
}

impl Drop for SecondCeph {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
