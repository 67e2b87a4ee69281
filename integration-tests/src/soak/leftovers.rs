//! What may be left over, and where one would look: the catalog, the target, the datamovers' state folders, processes, logs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use backup_target::{BackupTarget, PosixTarget};
use catalog::{Catalog, JobFilter, JobState, SagaFilter, SnapshotFilter, WorkloadFilter};
use model::{LineageId, SnapshotId, WorkloadState};
use rest_api::SnapshotSummary;
use runtime::SystemClock;
use serde_json::Value;
use target_format::{Manifest, names};

use super::account::Account;
use super::user::{Taken, User};
use crate::readback::TargetReader;
use crate::world::World;

async fn open_catalog(world: &World) -> Result<Catalog> {
    let url = format!("sqlite:{}", world.places.state().join("catalog.sqlite").display());
    Ok(Catalog::open(&url, SystemClock::shared()).await?)
}

/// No lock, no lease, no pin, nothing to be sent, no timer, no saga that is not over.
pub(super) fn judge_catalog(world: &World, account: &mut Account) -> Result<()> {
    world.block_on(async {
        let catalog = open_catalog(world).await?;
        let mut tx = catalog.read().await?;
        let outbox = tx.outbox_depth().await?.count;
        if outbox > 0 {
            account.find(format!("{outbox} messages wait in the outbox"));
        }
        for saga in tx.unfinished_sagas().await? {
            let (kind, phase, code) = (&saga.kind, &saga.phase, &saga.error_code);
            account.find(format!("saga {} ({kind}) is {phase}: {code:?}", saga.id));
        }
        for job in tx.list_jobs(&JobFilter::default()).await? {
            if job.state != JobState::Done {
                let key = &job.routing_key;
                account.find(format!("job {} ({key}) of saga {} is {}", job.id, job.saga_id, job.state));
            }
            if job.epoch > 1 {
                account.add("leases granted anew".to_owned(), job.epoch - 1);
            }
        }
        for saga in tx.list_sagas(&SagaFilter::default()).await? {
            account.count(format!("saga {} {}", saga.kind, saga.phase));
            for timer in tx.list_timers(saga.id).await? {
                account.find(format!("a timer of saga {} is left: {timer:?}", saga.id));
            }
        }
        for workload in tx.list_workloads(&WorkloadFilter::default()).await? {
            if workload.status != WorkloadState::Available || workload.saga_id.is_some() {
                let (name, status, saga) = (&workload.name, &workload.status, &workload.saga_id);
                account.find(format!("workload {name} is {status:?}, held by {saga:?}"));
            }
            for lineage in tx.list_lineages(workload.id).await? {
                if let Some(holder) = lineage.holder_saga_id {
                    account.find(format!("lineage {} is held by saga {holder}", lineage.id));
                }
            }
        }
        for snapshot in tx.list_snapshots(&SnapshotFilter::default()).await? {
            if snapshot.pins > 0 {
                account.find(format!("snapshot {} has {} pins", snapshot.id, snapshot.pins));
            }
        }
        drop(tx);
        catalog.close().await;
        Ok(())
    })
}

/// A disk of a snapshot on the target.
type OnTarget = (LineageId, SnapshotId);

async fn disks_of(catalog: &Catalog, snapshot: SnapshotId) -> Result<Vec<catalog::SnapshotDiskRow>> {
    Ok(catalog.read().await?.list_snapshot_disks(snapshot).await?)
}

/// Every object belongs to an available snapshot, and nothing that one needs is missing.
pub(super) fn judge_target(
    world: &World,
    snapshots: &[SnapshotSummary],
    account: &mut Account,
) -> Result<()> {
    let root = world.places.target();
    let target = PosixTarget::open(&root)?;
    let expected = world.block_on(async {
        let catalog = open_catalog(world).await?;
        let mut expected = BTreeSet::from([names::repo().to_string()]);
        for snapshot in snapshots.iter().filter(|one| matches!(one.status.as_str(), "available")) {
            expected.insert(names::workload_record(snapshot.workload_id).to_string());
            expected.insert(names::snapshot_record(snapshot.workload_id, snapshot.id).to_string());
            for disk in disks_of(&catalog, snapshot.id).await? {
                objects_of(&target, (disk.lineage_id, snapshot.id), &mut expected).await?;
            }
        }
        catalog.close().await;
        anyhow::Ok(expected)
    })?;
    let found = files_below(&root)?;
    for name in found.keys().filter(|name| !expected.contains(*name)) {
        account.find(format!("on the target, of no available snapshot: {name}"));
    }
    for name in expected.iter().filter(|name| !found.contains_key(*name)) {
        account.find(format!("missing on the target: {name}"));
    }
    account.add("objects on the target".to_owned(), found.len() as u64);
    account.add("bytes on the target".to_owned(), found.values().sum());
    Ok(())
}

async fn objects_of(
    target: &dyn BackupTarget,
    (lineage, snapshot): OnTarget,
    expected: &mut BTreeSet<String>,
) -> Result<()> {
    let manifest = names::manifest(lineage, snapshot);
    let content = target.get(&manifest).await.with_context(|| manifest.to_string())?;
    expected.insert(names::lineage_record(lineage).to_string());
    expected.insert(names::snapshot_marker(lineage, snapshot).to_string());
    expected.insert(manifest.to_string());
    let packs = Manifest::decode(&content)?.packs;
    expected.extend(packs.iter().map(|pack| names::pack(lineage, pack.pack_id).to_string()));
    Ok(())
}

/// Files with their lengths, hidden ones too.
fn files_below(root: &Path) -> Result<BTreeMap<String, u64>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(root)?.display().to_string();
                found.insert(name, entry.metadata()?.len());
            }
        }
    }
    Ok(found)
}

/// Reads every disk of every available snapshot off the target, and compares it with what it was.
pub(super) fn read_back(world: &World, taken: &[Taken], user: &User, account: &mut Account) -> Result<()> {
    let reader = TargetReader::open(world)?;
    world.block_on(async {
        let catalog = open_catalog(world).await?;
        for one in taken {
            let Some(point) = user.points.get(&one.name) else { continue };
            let disks = disks_of(&catalog, one.id).await?;
            if disks.len() != point.len() {
                account.find(format!("snapshot {} has {} disks", one.id, disks.len()));
            }
            for disk in disks {
                let found = reader.digest(disk.lineage_id, one.id).await?;
                let expected = point.get(&(disk.instance_id, disk.disk_id.to_string()));
                if expected != Some(&found) {
                    account.find(format!("disk {} of snapshot {} differs", disk.disk_id, one.id));
                }
                account.count("disks read back from the target and compared".to_owned());
            }
        }
        catalog.close().await;
        Ok(())
    })
}

/// Nothing of a job stays with a datamover but that it was, and no process of theirs is left.
pub(super) fn judge_state(world: &World, account: &mut Account) -> Result<()> {
    for host in world.datamovers.keys() {
        let state = world.places.state().join(format!("datamover-{host}"));
        for (name, _) in files_below(&state)? {
            let path = state.join(&name);
            match name.split('/').next() {
                Some("jobs") => {
                    let job: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
                    let phase = job["phase"]["phase"].as_str().unwrap_or_default();
                    if phase != "settled" {
                        account.find(format!("datamover of {host}: {name} is {phase}"));
                    }
                }
                Some("frozen" | "transfers" | "corrupt") => {
                    account.find(format!("datamover of {host}: {name} is left"));
                }
                _ => {}
            }
        }
    }
    for (process, file) in processes_with_files_below(&world.places.root)? {
        account.find(format!("process {process} still has {} open", file.display()));
    }
    Ok(())
}

/// Processes, but for us and the broker, that hold a file of the world open.
fn processes_with_files_below(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let id = entry.file_name().to_string_lossy().into_owned();
        if id.parse::<u32>().is_err() || id == std::process::id().to_string() {
            continue;
        }
        // A process that ends meanwhile, or is another user's, has nothing to show.
        for fd in std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten() {
            let Ok(file) = std::fs::read_link(fd.path()) else { continue };
            if file.starts_with(root) && !file.starts_with(root.join("broker")) {
                found.push((id.clone(), file));
            }
        }
    }
    Ok(found)
}

/// No panic, and nothing that a human must look at: nobody had to.
pub(super) fn judge_logs(world: &World, account: &mut Account) -> Result<()> {
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    for entry in std::fs::read_dir(world.places.logs())? {
        let entry = entry?;
        let service = entry.file_name().to_string_lossy().trim_end_matches(".log").to_owned();
        let service = service.split("-host").next().unwrap_or_default();
        let text = String::from_utf8_lossy(&std::fs::read(entry.path())?).into_owned();
        for line in text.lines() {
            if line.contains("panicked") {
                *errors.entry(format!("{service}: {line}")).or_default() += 1;
            }
            // A process that is killed in the middle of a line leaves half of it.
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let message = line["message"].as_str().unwrap_or_default();
            match line["level"].as_str() {
                Some("ERROR") => {
                    let line = format!("{service}: {message} {}", line["error"].as_str().unwrap_or_default());
                    *errors.entry(line).or_default() += 1;
                }
                Some("WARN") => account.count(format!("warned {service}: {message}")),
                _ => {}
            }
            if service == "controller" && message == "a lease is lost" {
                account.count("leases lost".to_owned());
            }
        }
    }
    for (line, count) in errors {
        account.find(format!("logged {count} times: {line}"));
    }
    Ok(())
}
