//! Two instances of a project's own, protected together by a Holdfast whose transfers are slow enough to act in the middle of
//! one; and a full account of what is around them, to be the same after whatever happened.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::readback::TargetReader;
use integration_tests::wait;
use model::{InstanceId, SnapshotId, WorkloadId};
use rest_api::Snapshot;

use crate::guest::Guest;
use crate::hypervisor::{bitmaps, checkpoints, state, virsh};
use crate::lab::Lab;
use crate::project::Project;
use crate::rbd;
use crate::site::{Pace, Site};

/// Some 40 MiB of each disk are in use: transfers take ten seconds and more.
const RATE_MIB_PER_S: u64 = 4;
/// What appears late is swept within it.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// The project, its instances, and the Holdfast.
#[derive(Debug)]
pub struct Estate {
    pub lab: Lab,
    pub project: Project,
    pub site: Site,
    pub workload: WorkloadId,
    /// Boots from a volume.
    pub web: String,
    pub volume: String,
    /// On a local disk.
    pub db: String,
}

/// All that is around the instances, a line each, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger(Vec<String>);

impl Ledger {
    /// The lines that only one of both has.
    #[must_use]
    pub fn difference(&self, later: &Self) -> Vec<String> {
        let gone = self.0.iter().filter(|line| !later.0.contains(line)).map(|line| format!("- {line}"));
        let new = later.0.iter().filter(|line| !self.0.contains(line)).map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }
}

impl Estate {
    /// Makes it; both guests have booted.
    pub fn make() -> Result<Self> {
        let lab = Lab::from_env()?;
        let project = Project::create(&lab)?;
        let image = lab.image.clone();
        let web = project.create_volume_server("web", &["--image", &image, "--boot-from-volume", "1"])?;
        let db = project.create_local_server("db")?;
        let volume = project.volume_of(&web)?;
        for server in [&web, &db] {
            Guest::wait_for(server)?;
        }
        let site = Site::open_at(&lab, &project, Pace::Slow { rate_mib_per_s: RATE_MIB_PER_S })?;
        let instances: [InstanceId; 2] = [web.parse()?, db.parse()?];
        let workload = site.world.create_workload("shop", &instances)?;
        Ok(Self { lab, project, site, workload, web, volume, db })
    }

    /// Begins a snapshot and waits until its bytes move.
    pub fn begin_snapshot(&self) -> Result<SnapshotId> {
        let id = self.site.world.start_snapshot(self.workload, true)?;
        self.site.world.wait_for_transfer_in_progress(id)?;
        Ok(id)
    }

    /// The listings of the project, and the state of disks and guests on their host; of instances that are gone, nothing.
    pub fn ledger(&self) -> Result<Ledger> {
        let mut lines = Vec::new();
        for (noun, fields) in [
            (&["server"][..], &["ID", "Name", "Status"][..]),
            (&["volume"], &["ID", "Name", "Status", "Size", "Attached to"]),
            (&["volume", "snapshot"], &["ID", "Name", "Status"]),
            (&["port"], &["ID", "Name", "Status"]),
        ] {
            let rows = self.project.json(&[noun, &["list"]].concat())?;
            for row in rows.as_array().into_iter().flatten() {
                let values: Vec<String> = fields.iter().map(|field| row[*field].to_string()).collect();
                lines.push(format!("{}: {}", noun.join(" "), values.join(" ")));
            }
        }
        let images = self.project.json(&["image", "list", "--private"])?;
        lines.extend(images.as_array().into_iter().flatten().map(|row| format!("image: {}", row["ID"])));
        for server in self.servers()? {
            lines.extend(on_host(&server)?);
        }
        for snapshot in rbd::snapshots(&self.lab.volume_image(&self.volume, None))? {
            lines.push(format!("rbd snapshot: {snapshot}"));
        }
        lines.extend(self.site.scratch_files()?.into_iter().map(|file| format!("scratch: {file}")));
        lines.sort();
        Ok(Ledger(lines))
    }

    /// Sees that all is as it was, in the end.
    pub fn assert_as_before(&self, before: &Ledger, what: &str) -> Result<()> {
        let mut left = Vec::new();
        let settled = wait::until(SETTLE_MAX, &format!("{what} leaves nothing behind"), || {
            left = before.difference(&self.ledger()?);
            Ok(left.is_empty().then_some(()))
        });
        settled.with_context(|| format!("{what}: {left:#?}\n{}", self.site.world.logs()))?;
        let workload = self.site.world.block_on(self.site.world.client.show_workload(self.workload))?;
        ensure!(
            workload.summary.status == "available",
            "{what}: the workload is {}",
            workload.summary.status
        );
        Ok(())
    }

    /// Takes away what the last good snapshot left for the next one, as the workload's user may.
    pub fn reset(&self) -> Result<()> {
        let output = self.site.world.cli(&["workload", "reset", "shop", "--wait"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// What a snapshot has of `db` is what is on its disk, while it does not run.
    pub fn assert_local_bytes(&self, snapshot: &Snapshot) -> Result<()> {
        self.site.assert_local_disk_kept(&self.lab, snapshot, &self.db)
    }

    /// Every disk of a snapshot can be read back whole.
    pub fn assert_readable(&self, snapshot: &Snapshot) -> Result<()> {
        let reader = TargetReader::open(&self.site.world)?;
        for disk in snapshot.instances.iter().flat_map(|instance| &instance.vdisks) {
            self.site.world.block_on(reader.digest(disk.lineage_id, snapshot.summary.id))?;
        }
        Ok(())
    }

    fn servers(&self) -> Result<Vec<String>> {
        let rows = self.project.json(&["server", "list"])?;
        let ids =
            rows.as_array().into_iter().flatten().filter_map(|row| row["ID"].as_str().map(str::to_owned));
        Ok(ids.collect())
    }

    /// Takes all away.
    pub fn close(self) -> Result<()> {
        self.site.close()?;
        self.project.close()
    }
}

/// What a hypervisor and a guest know of us, and whether the guest goes on.
fn on_host(server: &str) -> Result<Vec<String>> {
    // Why it runs is its user's affair: booted, or unpaused.
    let state = state(server)?.split(" (").next().unwrap_or_default().to_owned();
    let mut lines = vec![format!("{server}: {state}")];
    if state.starts_with("running") {
        lines.push(format!("{server}: job {}", virsh(&["domjobinfo", server])?.trim()));
        lines.push(format!("{server}: checkpoints {:?}", checkpoints(server)?));
        lines.push(format!("{server}: bitmaps {:?}", bitmaps(server)?));
        lines.push(format!("{server}: file systems {}", Guest::wait_for(server)?.frozen_status()?));
    }
    Ok(lines)
}
