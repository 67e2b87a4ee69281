//! The demo from beginning to end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use model::{ByteCount, InstanceId, RestoreId, SnapshotId, WorkloadId};
use rest_api::{Restore, Snapshot};

use super::account::{Account, seconds, speed};
use super::queues::QueueWatch;
use super::stage::Stage;
use crate::config::Timing;
use crate::disks;
use crate::scenario::{CloudDisk, CloudInstance, build_cloud};
use crate::wait;
use crate::world::{Spec, World};

/// Disks, two reference copies of them, the target, the cut volumes, and the restored ones.
const SPACE_NEEDED: ByteCount = ByteCount::gib(16);
const JOB_DEADLINE: Duration = Duration::from_secs(1800);
/// What changes inside one disk between the two snapshots.
const CHANGE: ByteCount = ByteCount::mib(40);

/// Runs the demo in a folder of its own; `KEEP=1` in the environment leaves everything running.
///
/// Errors: anything that did not go as the account says it should.
pub fn run() -> Result<()> {
    let keep = std::env::var_os("KEEP").is_some_and(|value| value == "1");
    let dir = tempfile::Builder::new().prefix("holdfast-demo-").tempdir()?;
    check_space(dir.path())?;
    let mut account = Account;
    account.line("Holdfast: two snapshots and two restores of real disks, over a private RabbitMQ");
    let start = Instant::now();
    let mut story = Story::begin(dir.path(), &mut account)?;
    story.tell(&mut account)?;
    account.line(&format!("\nAll disks came back byte for byte, in {}.", seconds(start.elapsed())));
    if keep {
        keep_running(&story.world, &mut account);
    }
    drop(story);
    account.line("Everything that was started is stopped, and the folder is removed.");
    Ok(())
}

fn check_space(dir: &Path) -> Result<()> {
    let stat = rustix::fs::statvfs(dir)?;
    let free = ByteCount(stat.f_bavail.saturating_mul(stat.f_frsize));
    ensure!(
        free >= SPACE_NEEDED,
        "{} has {free} free; the demo needs {SPACE_NEEDED} (set TMPDIR to a larger disk)",
        dir.display()
    );
    Ok(())
}

/// A disk of the demo, and where its bytes were copied to before each snapshot.
#[derive(Debug)]
struct Reference {
    instance: InstanceId,
    disk: String,
    device: String,
    file: PathBuf,
    format: &'static str,
    copies: Vec<PathBuf>,
}

/// A point in time: the snapshot, and the number of its reference copies.
#[derive(Debug, Clone, Copy)]
struct Point {
    snapshot: SnapshotId,
    copy: usize,
}

#[derive(Debug)]
struct Story {
    world: World,
    web: InstanceId,
    references: Vec<Reference>,
    queues: QueueWatch,
    reference_dir: PathBuf,
}

impl Story {
    /// Builds the cloud and starts the services.
    fn begin(root: &Path, account: &mut Account) -> Result<Self> {
        account.chapter("A cloud: two instances on two hosts, disks filled with this machine's files");
        let stage_dir = root.join("stage");
        fs::create_dir_all(&stage_dir)?;
        let mut stage = Stage::new();
        let mut make = |name: &str, mib: u64| -> Result<PathBuf> {
            let disk = stage_dir.join(format!("{name}.raw"));
            let count = stage.make_disk(&disk, ByteCount::mib(mib))?;
            account.fact(name, &format!("ext4 with {count} files, {}", ByteCount::mib(mib)));
            Ok(disk)
        };
        let web_vda = make("web-1 vda (raw)", 1000)?;
        let db_vda = make("db-1 vda (qcow2)", 640)?;
        let db_vdb = make("db-1 vdb (raw)", 360)?;
        let instances = [
            CloudInstance::new("web-1", "host-a", vec![CloudDisk::raw("vda", web_vda)]),
            CloudInstance::new(
                "db-1",
                "host-b",
                vec![
                    CloudDisk::qcow2("vda", disks::turn_into_qcow2(&db_vda)?),
                    CloudDisk::raw("vdb", db_vdb),
                ],
            ),
        ];
        let spec = Spec { timing: Timing::patient(), ..Spec::default() };
        let placed = build_cloud(&root.join("cloud"), &spec, &instances)?;
        fs::remove_dir_all(&stage_dir)?;
        let references = placed.iter().flat_map(|instance| {
            instance.disks.iter().map(|disk| Reference {
                instance: instance.id,
                disk: disk.id.clone(),
                device: disk.device.clone(),
                file: disk.file.clone(),
                format: disk.format,
                copies: Vec::new(),
            })
        });
        let references: Vec<_> = references.collect();
        let web = placed[0].id;
        let world = World::start(root, spec)?;
        account.chapter("Services, each a process of its own");
        account.fact("broker", &format!("RabbitMQ, private, {}", world.broker.amqp_url()));
        account.fact("controller", &world.endpoint());
        account.fact("dmapi, datamovers", "dmapi; datamover of host-a; datamover of host-b");
        account.fact("backup target", &format!("{}", world.target_id));
        let reference_dir = root.join("reference");
        fs::create_dir_all(&reference_dir)?;
        Ok(Self { world, web, references, queues: QueueWatch::default(), reference_dir })
    }

    fn tell(&mut self, account: &mut Account) -> Result<()> {
        let instances: Vec<_> = {
            let mut ids: Vec<_> = self.references.iter().map(|reference| reference.instance).collect();
            ids.dedup();
            ids
        };
        let workload = self.world.create_workload("shop", &instances)?;
        self.copy_references()?;
        let full = self.snapshot(account, "Full snapshot", workload, true)?;
        self.change_a_disk(account)?;
        self.copy_references()?;
        let incremental = self.snapshot(account, "Incremental snapshot", workload, false)?;
        account.chapter("Disaster: web-1 is destroyed with its disk");
        self.destroy(self.web)?;
        let web = [(self.web, "web-1")];
        self.restore(
            account,
            "Restore of web-1 from the incremental snapshot",
            Point { snapshot: incremental, copy: 1 },
            &web,
        )?;
        let both: Vec<_> =
            instances.iter().zip(["web-1-before", "db-1-before"]).map(|(id, name)| (*id, name)).collect();
        self.restore(
            account,
            "Restore of both from the full snapshot, beside",
            Point { snapshot: full, copy: 0 },
            &both,
        )?;
        self.tell_queues(account)
    }

    /// Copies every disk that still exists; nothing writes to them here but the demo itself.
    fn copy_references(&mut self) -> Result<()> {
        for (index, reference) in self.references.iter_mut().enumerate() {
            let copy = self.reference_dir.join(format!("{index}-{}", reference.copies.len()));
            disks::copy_sparse(&reference.file, &copy)?;
            reference.copies.push(copy);
        }
        Ok(())
    }

    fn change_a_disk(&self, account: &mut Account) -> Result<()> {
        let disk = &self.references[0];
        let change = self.reference_dir.join("change");
        fs::write(&change, disks::noise(CHANGE, 0))?;
        disks::write_file(&disk.file, &change, "new-orders.db")?;
        disks::check_ext4(&disk.file)?;
        account.chapter(&format!("A file of {CHANGE} is written inside the file system of web-1's disk"));
        Ok(())
    }

    fn snapshot(
        &mut self,
        account: &mut Account,
        title: &str,
        workload: WorkloadId,
        full: bool,
    ) -> Result<SnapshotId> {
        account.chapter(title);
        let start = Instant::now();
        let id = self.world.start_snapshot(workload, full)?;
        let snapshot = wait::until(JOB_DEADLINE, "the snapshot ends", || {
            self.queues.look(&self.world)?;
            let snapshot = self.world.block_on(self.world.client.show_snapshot(id))?;
            Ok(matches!(snapshot.summary.status.as_str(), "available" | "error").then_some(snapshot))
        })
        .with_context(|| self.world.logs())?;
        if snapshot.summary.status != "available" {
            bail!("the snapshot failed: {:?}\n{}", snapshot.summary.error_msg, self.world.logs());
        }
        self.tell_snapshot(account, &snapshot, start.elapsed());
        Ok(id)
    }

    fn tell_snapshot(&self, account: &mut Account, snapshot: &Snapshot, took: Duration) {
        for instance in &snapshot.instances {
            for disk in &instance.vdisks {
                account.fact(
                    &format!("{} {}", instance.name, disk.label),
                    &format!(
                        "{} disk, read {}, stored {}",
                        ByteCount(disk.bytes_total),
                        speed(ByteCount(disk.bytes_read), Duration::from_millis(disk.duration_ms)),
                        ByteCount(disk.bytes_stored)
                    ),
                );
            }
        }
        let summary = &snapshot.summary;
        account.fact(
            "together",
            &format!(
                "{}, read {}, stored {}, {} consistent",
                seconds(took),
                ByteCount(summary.bytes_read),
                ByteCount(summary.uploaded_size),
                summary.consistency.as_deref().unwrap_or("crash")
            ),
        );
    }

    fn destroy(&self, instance: InstanceId) -> Result<()> {
        crate::scenario::destroy_instance(&self.world.places.cloud(), instance)
    }

    fn restore(
        &mut self,
        account: &mut Account,
        title: &str,
        point: Point,
        chosen: &[(InstanceId, &str)],
    ) -> Result<()> {
        account.chapter(title);
        let start = Instant::now();
        let id = self.world.start_selective_restore(point.snapshot, chosen)?;
        let restore = self.wait_for_restore(id)?;
        for disk in &restore.disks {
            let reference = self.reference_of(disk.instance_id, disk.id.as_str())?;
            let volume = disk.volume_id.context("a restored disk has a volume")?;
            let restored = crate::scenario::volume_file(&self.world.places.cloud(), volume)?;
            let equal = disks::are_equal(
                (&reference.copies[point.copy], reference.format),
                (&restored.file, restored.format),
            )?;
            ensure!(equal, "disk {} of {} differs from its reference", disk.id, disk.instance_id);
            account.fact(
                &format!("{} {}", name_of(chosen, disk.instance_id), reference.device),
                &format!(
                    "wrote {}, all bytes equal",
                    speed(ByteCount(disk.bytes_written), Duration::from_millis(disk.duration_ms))
                ),
            );
        }
        ensure!(!restore.disks.is_empty(), "the restore has no disks");
        account.fact("together", &seconds(start.elapsed()));
        Ok(())
    }

    fn wait_for_restore(&mut self, id: RestoreId) -> Result<Restore> {
        let restore = wait::until(JOB_DEADLINE, "the restore ends", || {
            self.queues.look(&self.world)?;
            let restore = self.world.block_on(self.world.client.show_restore(id))?;
            Ok(matches!(restore.summary.status.as_str(), "available" | "error").then_some(restore))
        })
        .with_context(|| self.world.logs())?;
        ensure!(
            restore.summary.status == "available",
            "the restore failed: {:?}\n{}",
            restore.summary.error_msg,
            self.world.logs()
        );
        Ok(restore)
    }

    fn reference_of(&self, instance: InstanceId, disk: &str) -> Result<&Reference> {
        self.references
            .iter()
            .find(|reference| reference.instance == instance && reference.disk == disk)
            .with_context(|| format!("no reference of disk {disk} of instance {instance}"))
    }

    fn tell_queues(&mut self, account: &mut Account) -> Result<()> {
        account.chapter("What the queues carried, and how long one was seen with a message unacked (counts are renewed every 5 s)");
        self.queues.look(&self.world)?;
        for (name, carried) in self.queues.carried() {
            account.line(&format!(
                "   {name:<34} {:>5} messages, {} twice, held at most {}",
                carried.messages,
                carried.redelivered,
                seconds(carried.held_max)
            ));
        }
        ensure!(self.queues.dead() == 0, "there are dead letters");
        account.fact("dead letters", "none");
        Ok(())
    }
}

fn name_of<'a>(chosen: &[(InstanceId, &'a str)], id: InstanceId) -> &'a str {
    chosen.iter().find(|(instance, _)| *instance == id).map_or("?", |(_, name)| name)
}

fn keep_running(world: &World, account: &mut Account) {
    account.chapter("Left running (KEEP=1); press Enter to stop. In another terminal:");
    account.line(&format!("   export HOLDFAST_ENDPOINT={}", world.endpoint()));
    account.line(&format!(
        "   export HOLDFAST_TOKEN=$(sed -n 's/^token = \"\\(.*\\)\"/\\1/p' {})",
        world.places.etc().join("tokens.toml").display()
    ));
    account.line("   holdfast workload list");
    account.line("   holdfast snapshot list");
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
}
