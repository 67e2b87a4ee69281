//! A datamover process with a cloud and a target of its own.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use backup_target::PosixTarget;
use chunk_store::FileKeys;
use cloud::{Cloud as _, NewVolume, Tag};
use directory_cloud::{Builder, DirectoryCloud, NewDirectoryDisk, NewDirectoryInstance};
use model::{
    ByteCount, DiskFormat, HostName, InstanceId, JobId, LineageId, Owner, SagaId, SnapshotId, TargetId,
    VolumeId,
};
use proto::cmd::v1 as cmd;
use proto::common::v1::{Placement, placement::At};
use runtime::{Entropy, FaultTable};
use secrecy::ExposeSecret as _;

use crate::controller::{Controller, make_header, wait_for};

pub(crate) struct Mover {
    pub(crate) controller: Arc<Controller>,
    pub(crate) host: HostName,
    pub(crate) instance: InstanceId,
    /// On another host of the same cloud.
    pub(crate) foreign: InstanceId,
    volume: VolumeId,
    target_id: TargetId,
    pub(crate) lineage_id: LineageId,
    cloud: DirectoryCloud,
    owner: Owner,
    child: Option<Child>,
    dir: tempfile::TempDir,
}

/// Bytes that no compressor makes smaller.
pub(crate) fn make_noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
    bytes
}

impl Mover {
    /// A host with one instance that has `disk`; the datamover runs. `extra` goes to the top of its config.
    pub(crate) async fn start(disk: &[u8], extra: &str) -> Self {
        let mut mover = Self::prepare(disk, extra).await;
        mover.spawn(&[]);
        let queue = bus_config::queue::mover_host(&mover.host);
        let deadline = std::time::Instant::now() + crate::controller::DEADLINE;
        while mover.controller.registrations(&mover.host).is_empty() {
            assert!(std::time::Instant::now() < deadline, "{queue} has no consumer:\n{}", mover.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        mover
    }

    pub(crate) async fn prepare(disk: &[u8], extra: &str) -> Self {
        let controller = Controller::shared().await;
        let dir = tempfile::tempdir().unwrap();
        let host: HostName =
            format!("host-{}.rack", &Entropy.uuid().simple().to_string()[20..]).parse().unwrap();
        let image = dir.path().join("image");
        std::fs::write(&image, disk).unwrap();
        let volume = VolumeId::from_uuid(Entropy.uuid());
        let make_disk = |volume_id| NewDirectoryDisk {
            volume_id: Some(volume_id),
            ..NewDirectoryDisk::new("vda", DiskFormat::Raw, &image)
        };
        let own = NewDirectoryInstance::new("own", host.as_str()).disk(make_disk(volume));
        let other = NewDirectoryInstance::new("foreign", "elsewhere")
            .disk(make_disk(VolumeId::from_uuid(Entropy.uuid())));
        let (instance, foreign) = (own.id, other.id);
        let cloud_path = dir.path().join("cloud");
        Builder::new(&cloud_path)
            .hosts([host.as_str(), "elsewhere"])
            .instance(own)
            .instance(other)
            .build()
            .unwrap();
        let target = dir.path().join("target");
        std::fs::create_dir(&target).unwrap();
        let target_id = PosixTarget::init(&target, &Entropy).unwrap();
        FileKeys::create(&dir.path().join("keys"), &Entropy).unwrap();
        let password = controller.broker.enroll_host(&host, &[]).await.unwrap();
        std::fs::write(dir.path().join("password"), password.expose_secret()).unwrap();
        let mover = Self {
            host,
            instance,
            foreign,
            volume,
            target_id,
            lineage_id: LineageId::from_uuid(Entropy.uuid()),
            cloud: DirectoryCloud::open(&cloud_path, FaultTable::none()).unwrap(),
            owner: Owner { project_id: "default".parse().unwrap(), user_id: "alice".parse().unwrap() },
            child: None,
            dir,
            controller,
        };
        mover.write_config(extra);
        mover
    }

    fn write_config(&self, extra: &str) {
        let dir = self.dir.path().display();
        let (host, broker) = (&self.host, self.controller.broker.amqp_url());
        let config = format!(
            r#"
host = "{host}"
state_dir = "{dir}/state"
key_file = "{dir}/keys"
{extra}
[bus]
brokers = ["{broker}"]
user = "holdfast-mover-{host}"
password_file = "{dir}/password"
[cloud]
kind = "directory"
path = "{dir}/cloud"
[[target]]
path = "{dir}/target"
[timing]
heartbeat_interval_ms = 200
lease_margin_ms = 1000
resend_ms = 500
"#
        );
        std::fs::write(self.path("datamover.toml"), config).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the process.
    pub(crate) fn spawn(&mut self, environment: &[(&str, &str)]) {
        assert!(self.child.is_none(), "it runs");
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_holdfast-datamover"))
            .arg("--config")
            .arg(self.path("datamover.toml"))
            .env_remove("HOLDFAST_DRILL")
            .env_remove("RUST_LOG")
            .envs(environment.iter().copied())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        let pid = self.child.as_ref().expect("it runs").id();
        assert!(Command::new("kill").arg(pid.to_string()).status().unwrap().success());
        self.wait_ended().await
    }

    pub(crate) async fn wait_ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        wait_for("the end of the process", || child.try_wait().unwrap()).await
    }

    /// Processes that the datamover started and that live still.
    pub(crate) fn children(&self) -> Vec<u32> {
        let parent = self.child.as_ref().expect("it runs").id();
        let processes = std::fs::read_dir("/proc").unwrap();
        let pids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            after_name.split_whitespace().nth(1) == Some(parent.to_string().as_str())
        })
        .collect()
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.path("cloud/instances/own/frozen").try_exists().unwrap()
    }

    /// What the state folder knows of a job.
    pub(crate) fn journal(&self, job_id: JobId) -> Option<String> {
        std::fs::read_to_string(self.path(&format!("state/jobs/{job_id}.json"))).ok()
    }

    /// All files on the target, but `repo.json`.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("target")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.ends_with("repo.json") => {}
                    false => found.push(path),
                }
            }
        }
        found
    }

    pub(crate) fn freeze(&self, job_id: JobId, duration_max_ms: u32) -> cmd::FreezeGuest {
        cmd::FreezeGuest {
            header: make_header(job_id, 1),
            placement: None,
            instance_id: self.instance.to_string(),
            freeze_duration_max_ms: duration_max_ms,
        }
    }

    pub(crate) fn thaw(&self, job_id: JobId) -> cmd::ThawGuest {
        cmd::ThawGuest {
            header: make_header(job_id, 1),
            placement: None,
            instance_id: self.instance.to_string(),
        }
    }

    /// Cuts the disk now, and makes the command that transfers it.
    pub(crate) async fn transfer(&self, job_id: JobId) -> cmd::TransferDisk {
        let tag = Tag::new(SagaId::from_uuid(Entropy.uuid()), "cut", 0);
        let cut = self.cloud.create_volume_snapshot(&self.owner, self.volume, &tag).await.unwrap();
        cmd::TransferDisk {
            header: make_header(job_id, 1),
            placement: Some(Placement {
                at: Some(At::InstanceId(self.instance.to_string())),
                ..Placement::default()
            }),
            workload_id: Entropy.uuid().to_string(),
            snapshot_id: SnapshotId::from_uuid(Entropy.uuid()).to_string(),
            instance_id: self.instance.to_string(),
            disk_id: self.volume.to_string(),
            volume_snapshot_id: cut.to_string(),
            target_id: self.target_id.to_string(),
            lineage_id: self.lineage_id.to_string(),
            lineage_epoch: 1,
            parent_snapshot_id: String::new(),
            chunk_size_bytes: 1 << 20,
            ..Default::default()
        }
    }

    /// Makes an empty volume, and the command that writes what `transfer` stored into it.
    pub(crate) async fn write(
        &self,
        job_id: JobId,
        transfer: &cmd::TransferDisk,
        size: usize,
    ) -> cmd::WriteDisk {
        let volume = NewVolume {
            name: "restored".to_owned(),
            size: ByteCount(size as u64),
            volume_type: "plain".to_owned(),
            format: DiskFormat::Raw,
            bootable: true,
            source: None,
            image_properties: std::collections::BTreeMap::new(),
            tag: Tag::new(SagaId::from_uuid(Entropy.uuid()), "create_volumes", 0),
        };
        let volume = self.cloud.create_volume(&self.owner, &volume).await.unwrap();
        cmd::WriteDisk {
            header: make_header(job_id, 1),
            placement: None,
            restore_id: Entropy.uuid().to_string(),
            snapshot_id: transfer.snapshot_id.clone(),
            instance_id: transfer.instance_id.clone(),
            disk_id: transfer.disk_id.clone(),
            target_id: transfer.target_id.clone(),
            lineage_id: transfer.lineage_id.clone(),
            destination_volume_id: volume.to_string(),
            sealed: Vec::new(),
        }
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            println!("{}", self.log());
        }
    }
}
