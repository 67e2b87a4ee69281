//! A small shop on a directory cloud: `web-1` with one raw disk on host-a, `db-1` with a qcow2 and a raw disk on host-b.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bus_config::Role;
use integration_tests::disks;
use integration_tests::ledger::Ledger;
use integration_tests::readback::TargetReader;
use integration_tests::scenario::{CloudDisk, CloudInstance, Placed, build_cloud, volume_file};
use integration_tests::wait;
use integration_tests::world::{Spec, World};
use model::{ByteCount, InstanceId, SnapshotId, WorkloadId};
use rest_api::{Restore, Snapshot};
use secrecy::{ExposeSecret as _, SecretString};

/// The example gives up after 30 s.
const ANSWER_DEADLINE: Duration = Duration::from_secs(45);
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/submit_snapshot.py");

/// A world with the shop in it and a workload that protects all of it.
pub(crate) struct Shop {
    pub(crate) world: World,
    pub(crate) workload: WorkloadId,
    pub(crate) web: InstanceId,
    pub(crate) db: InstanceId,
    pub(crate) placed: Vec<Placed>,
    references: BTreeMap<(InstanceId, String), Vec<PathBuf>>,
    publishers: Vec<Child>,
    intake_password: Option<SecretString>,
    dir: tempfile::TempDir,
}

impl Drop for Shop {
    fn drop(&mut self) {
        for publisher in &mut self.publishers {
            let _ = publisher.kill();
            let _ = publisher.wait();
        }
    }
}

/// Sizes of the shop's disks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) web_mib: u64,
    pub(crate) db_mib: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { web_mib: 12, db_mib: 8 }
    }
}

impl Shop {
    /// Opens a shop with small disks.
    pub(crate) fn open(spec: Spec) -> Result<Self> {
        Self::open_with(spec, Sizes::default())
    }

    /// Opens a shop.
    pub(crate) fn open_with(spec: Spec, sizes: Sizes) -> Result<Self> {
        Self::open_protecting(spec, sizes, |web, db| vec![web, db])
    }

    /// Opens a shop whose workload is web-1 alone: one instance of one disk, as little work as a job can be.
    pub(crate) fn open_for_web_only(spec: Spec) -> Result<Self> {
        Self::open_protecting(spec, Sizes::default(), |web, _| vec![web])
    }

    fn open_protecting(
        spec: Spec,
        sizes: Sizes,
        chosen: impl Fn(InstanceId, InstanceId) -> Vec<InstanceId>,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-it-").tempdir()?;
        let stage = dir.path().join("stage");
        std::fs::create_dir(&stage)?;
        let web_vda = make_disk(&stage, "web-vda", sizes.web_mib)?;
        let db_vda = disks::turn_into_qcow2(&make_disk(&stage, "db-vda", sizes.db_mib)?)?;
        let db_vdb = make_disk(&stage, "db-vdb", 4)?;
        let instances = [
            CloudInstance::new("web-1", "host-a", vec![CloudDisk::raw("vda", web_vda)]),
            CloudInstance::new(
                "db-1",
                "host-b",
                vec![CloudDisk::qcow2("vda", db_vda), CloudDisk::raw("vdb", db_vdb)],
            ),
        ];
        let root = dir.path().join("world");
        std::fs::create_dir(&root)?;
        let placed = build_cloud(&root.join("cloud"), &spec, &instances)?;
        let world = World::start(&root, spec)?;
        let (web, db) = (placed[0].id, placed[1].id);
        let workload = world.create_workload("shop", &chosen(web, db))?;
        let mut shop = Self {
            world,
            workload,
            web,
            db,
            placed,
            references: BTreeMap::new(),
            publishers: Vec::new(),
            intake_password: None,
            dir,
        };
        shop.remember_disks()?;
        Ok(shop)
    }

    /// Copies every disk as it is now, before a snapshot. Gives the number of this point.
    pub(crate) fn remember_disks(&mut self) -> Result<usize> {
        let mut point = 0;
        for instance in &self.placed {
            for disk in &instance.disks {
                let copies = self.references.entry((instance.id, disk.id.clone())).or_default();
                point = copies.len();
                let copy = self.dir.path().join(format!("{}-{}-{point}", instance.id, disk.device));
                disks::copy_sparse(&disk.file, &copy)?;
                copies.push(copy);
            }
        }
        Ok(point)
    }

    /// Writes a new file inside the file system of web-1's disk.
    pub(crate) fn change_web(&self, name: &str, size: ByteCount) -> Result<()> {
        let content = self.dir.path().join("change");
        std::fs::write(&content, disks::noise(size, u64::from(name.bytes().map(u32::from).sum::<u32>())))?;
        let disk = &self.placed[0].disks[0].file;
        disks::write_file(disk, &content, name)?;
        disks::check_ext4(disk)
    }

    /// Checks that every disk of a restore holds the bytes of `point`.
    #[track_caller]
    pub(crate) fn assert_restored(&self, restore: &Restore, point: usize) -> Result<()> {
        ensure!(
            restore.summary.status == "available",
            "the restore ended {}: {:?}",
            restore.summary.status,
            restore.summary.error_msg
        );
        ensure!(!restore.disks.is_empty(), "the restore has no disks");
        for disk in &restore.disks {
            let key = (disk.instance_id, disk.id.as_str().to_owned());
            let copies = self.references.get(&key).with_context(|| format!("an unknown disk {key:?}"))?;
            let format = self.format_of(disk.instance_id, disk.id.as_str())?;
            let restored = volume_file(&self.world.places.cloud(), disk.volume_id.context("no volume")?)?;
            let equal = disks::are_equal((&copies[point], format), (&restored.file, restored.format))?;
            ensure!(equal, "disk {} of instance {} differs", disk.id, disk.instance_id);
        }
        Ok(())
    }

    /// Checks that a snapshot is available and that every disk of it, read off the target, holds the bytes of `point`.
    #[track_caller]
    pub(crate) fn assert_taken(&self, snapshot: &Snapshot, point: usize) -> Result<()> {
        let summary = &snapshot.summary;
        ensure!(
            summary.status == "available",
            "the snapshot ended {}: {:?}\n{}",
            summary.status,
            summary.error_msg,
            self.world.logs()
        );
        let reader = TargetReader::open(&self.world)?;
        for instance in &snapshot.instances {
            ensure!(!instance.vdisks.is_empty(), "instance {} has no disks", instance.id);
            for disk in &instance.vdisks {
                let key = (instance.id, disk.id.as_str().to_owned());
                let copies = self.references.get(&key).with_context(|| format!("an unknown disk {key:?}"))?;
                let expected = disks::raw_digest(&copies[point], self.format_of(instance.id, &key.1)?)?;
                let found = self.world.block_on(reader.digest(disk.lineage_id, summary.id))?;
                ensure!(found == expected, "disk {} of instance {} differs", disk.id, instance.id);
            }
        }
        Ok(())
    }

    /// Checks that no service logged an error since its start: nothing happened that a human must look at.
    #[track_caller]
    pub(crate) fn assert_no_error_logged(&self) -> Result<()> {
        for entry in std::fs::read_dir(self.world.places.logs())? {
            let log = String::from_utf8_lossy(&std::fs::read(entry?.path())?).into_owned();
            let error =
                log.lines().find(|line| line.contains(r#""level":"ERROR""#) || line.contains("panicked"));
            ensure!(error.is_none(), "an error was logged: {error:?}");
        }
        Ok(())
    }

    fn format_of(&self, instance: InstanceId, disk: &str) -> Result<&'static str> {
        let disks =
            self.placed.iter().filter(|placed| placed.id == instance).flat_map(|placed| &placed.disks);
        Ok(disks.into_iter().find(|placed| placed.id == disk).context("an unknown disk")?.format)
    }

    /// Starts a service again after it was killed.
    pub(crate) fn start_again(&mut self, service: &str) -> Result<()> {
        match service {
            "controller" => self.world.restart_controller()?,
            "dmapi" => self.world.dmapi.start_again()?,
            _ => {
                for datamover in self.world.datamovers.values_mut() {
                    if !datamover.is_running() {
                        datamover.start_again()?;
                    }
                }
            }
        }
        self.world.wait_until_ready()
    }

    /// The newest snapshot that can be restored.
    pub(crate) fn last_snapshot(&self) -> Result<SnapshotId> {
        let snapshots = self.world.block_on(self.world.client.list_snapshots(Some(self.workload)))?;
        let newest =
            snapshots.into_iter().filter(|snapshot| snapshot.status == "available").max_by_key(|one| one.id);
        Ok(newest.context("no snapshot is available")?.id)
    }

    /// Another program's job for a full snapshot, with `key`. Does not wait for the answer.
    pub(crate) fn submit_over_the_bus(&mut self, key: &str) -> Result<()> {
        let role = Role::Intake("drill".to_owned(), model::JobKind::ALL.to_vec());
        if self.intake_password.is_none() {
            // Once: a new password would throw out a publisher that still waits for its answer.
            self.intake_password = Some(self.world.block_on(self.world.broker.create_user(&role))?);
        }
        let password = self.intake_password.as_ref().context("just made")?;
        let child = self.python_publisher(&role, password, key, &self.workload.to_string()).spawn()?;
        self.publishers.push(child);
        Ok(())
    }

    /// The Python example of the documentation, ready to run.
    pub(crate) fn python_publisher(
        &self,
        role: &Role,
        password: &SecretString,
        key: &str,
        workload: &str,
    ) -> Command {
        let address = self.world.broker.amqp_url().replace("amqp://", "");
        let url = format!("amqp://{}:{}@{address}/holdfast", role.user(), password.expose_secret());
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(EXAMPLE)
            .args([
                "--project",
                self.world.spec.project.as_str(),
                "--workload",
                workload,
                "--key",
                key,
                "--full",
            ])
            .env("HOLDFAST_INTAKE_URL", url);
        command
    }

    /// Waits until every publisher has its answer, and no snapshot and no restore is under way.
    pub(crate) fn settle(&mut self) -> Result<()> {
        for mut publisher in std::mem::take(&mut self.publishers) {
            wait::until(ANSWER_DEADLINE, "a publisher has its answer", || Ok(publisher.try_wait()?))?;
        }
        for restore in self.world.block_on(self.world.client.list_restores(None))? {
            self.world.wait_for_restore(restore.id)?;
        }
        for snapshot in self.world.block_on(self.world.client.list_snapshots(Some(self.workload)))? {
            self.world.wait_for_snapshot(snapshot.id)?;
        }
        Ok(())
    }

    /// Slow enough that a transfer is caught in the middle, quick enough for a test: 24 MiB in some six seconds.
    pub(crate) fn open_slow() -> Result<Self> {
        let spec = Spec { rate_limit_mib_per_s: Some(4), ..Spec::default() };
        Self::open_with(spec, Sizes { web_mib: 24, db_mib: 8 })
    }

    /// Everything in the cloud but its diary, its lock and its fault table.
    pub(crate) fn cloud_ledger(&self) -> Result<Ledger> {
        Ledger::of_cloud(&self.world.places.cloud())
    }

    /// Everything on the target.
    pub(crate) fn target_ledger(&self) -> Result<Ledger> {
        Ledger::of(&self.world.places.target(), &[])
    }

    /// The workload is free (`available`), held, or waits for an operator (`error`).
    pub(crate) fn assert_workload_is(&self, status: &str) -> Result<()> {
        let workload = self.world.block_on(self.world.client.show_workload(self.workload))?;
        ensure!(workload.summary.status == status, "the workload is {}", workload.summary.status);
        Ok(())
    }

    /// How often each effect happened in the cloud, by effect and tag.
    pub(crate) fn effects(&self) -> Result<BTreeMap<(String, String), usize>> {
        let log = std::fs::read_to_string(self.world.places.cloud().join("effects.log"))?;
        let mut counts = BTreeMap::new();
        for line in log.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (effect, tag) =
                (words.get(1).context("an effect")?, words.get(3).copied().unwrap_or_default());
            *counts.entry(((*effect).to_owned(), tag.to_owned())).or_default() += 1;
        }
        Ok(counts)
    }

    /// Checks that no create happened twice for one tag.
    pub(crate) fn assert_no_effect_twice(&self) -> Result<()> {
        for ((effect, tag), count) in self.effects()? {
            ensure!(!effect.starts_with("create") || count == 1, "{effect} happened {count} times for {tag}");
        }
        Ok(())
    }
}

/// An ext4 disk with some files that do not compress.
fn make_disk(stage: &Path, name: &str, mib: u64) -> Result<PathBuf> {
    let files = stage.join(format!("{name}.files"));
    std::fs::create_dir(&files)?;
    for index in 0..mib / 2 {
        let seed = index + name.bytes().map(u64::from).sum::<u64>() * 1000;
        std::fs::write(files.join(format!("file-{index}")), disks::noise(ByteCount::mib(1), seed))?;
    }
    let disk = stage.join(format!("{name}.raw"));
    disks::make_ext4(&disk, mib + 4, &files)?;
    Ok(disk)
}

/// Full listings of cloud and target, taken before something that must leave nothing behind.
pub(crate) struct Before {
    pub(crate) cloud: Ledger,
    target: Ledger,
}

impl Before {
    pub(crate) fn of(shop: &Shop) -> Result<Self> {
        Ok(Self { cloud: shop.cloud_ledger()?, target: shop.target_ledger()? })
    }

    pub(crate) fn assert_unchanged(&self, shop: &Shop) -> Result<()> {
        let cloud = self.cloud.difference(&shop.cloud_ledger()?);
        let target = self.target.difference(&shop.target_ledger()?);
        ensure!(cloud.is_empty(), "left in the cloud: {cloud:?}\n{}", shop.world.logs());
        ensure!(target.is_empty(), "left on the target: {target:?}\n{}", shop.world.logs());
        Ok(())
    }
}

/// What the command line says.
pub(crate) fn run_cli(shop: &Shop, args: &[&str]) -> Result<Output> {
    shop.world.cli(args).output().context("the command line cannot be started; run `make build` first")
}

#[track_caller]
pub(crate) fn assert_refused(output: &Output, exit_code: i32, parts: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit_code), "{error}");
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}
