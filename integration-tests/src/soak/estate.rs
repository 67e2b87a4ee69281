//! What is protected: instances whose disks the soak knows byte for byte, because nobody but the soak writes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use model::{ByteCount, InstanceId, VolumeId, WorkloadId};
use rand::Rng as _;
use rand::rngs::StdRng;
use serde::Deserialize;

use crate::disks;
use crate::scenario::{CloudDisk, CloudInstance, build_cloud, volume_file};
use crate::world::{Spec, World};

/// What a change writes at once. Units: bytes.
const PIECE: u64 = 256 << 10;

/// The digests of all disks of a workload at one point in time, by instance and disk.
pub(super) type Point = BTreeMap<(InstanceId, String), blake3::Hash>;

/// All workloads.
pub(super) struct Estate {
    pub(super) sites: Vec<Site>,
    dir: PathBuf,
}

/// One workload.
pub(super) struct Site {
    pub(super) name: &'static str,
    pub(super) workload: Option<WorkloadId>,
    pub(super) machines: Vec<Machine>,
}

/// One instance.
pub(super) struct Machine {
    pub(super) name: &'static str,
    pub(super) id: InstanceId,
    disks: Vec<Master>,
}

/// A disk as the soak knows it: raw, beside the cloud.
struct Master {
    id: String,
    raw: PathBuf,
    size: u64,
    file: PathBuf,
    format: &'static str,
}

/// Instance, host, and its disks: format and MiB.
type Plan = (&'static str, &'static str, &'static [(&'static str, u64)]);

/// Several instances on both hosts, raw and qcow2, of one disk and of more. Small: many jobs in little time and room.
const PLAN: &[(&str, &[Plan])] = &[
    ("web", &[("web-1", "host-a", &[("raw", 20)])]),
    ("shop", &[("shop-db", "host-b", &[("qcow2", 12), ("raw", 8)]), ("shop-cache", "host-a", &[("raw", 6)])]),
    ("mail", &[("mail-1", "host-b", &[("raw", 12)])]),
    ("desk", &[("desk-1", "host-a", &[("qcow2", 8)])]),
];

impl Estate {
    /// Makes the disks and the cloud below `root`.
    pub(super) fn build(root: &Path, spec: &Spec, rng: &mut StdRng) -> Result<Self> {
        let dir = root.join("masters");
        std::fs::create_dir_all(&dir)?;
        let (mut instances, mut raws) = (Vec::new(), Vec::new());
        for (name, host, disks) in PLAN.iter().flat_map(|(_, machines)| *machines) {
            let mut cloud_disks = Vec::new();
            for (index, (format, mib)) in disks.iter().enumerate() {
                let device = format!("vd{}", char::from(b'a' + u8::try_from(index)?));
                let raw = dir.join(format!("{name}-{device}.raw"));
                let size = mib << 20;
                let file = File::create(&raw)?;
                file.set_len(size)?;
                for _ in 0..size / PIECE / 2 {
                    write_piece(&file, size, rng)?;
                }
                cloud_disks.push(if *format == "raw" {
                    CloudDisk::raw(&device, raw.clone())
                } else {
                    let image = dir.join(format!("{name}-{device}.first"));
                    disks::convert((&raw, "raw"), (&image, format))?;
                    CloudDisk::qcow2(&device, image)
                });
                raws.push((raw, size));
            }
            instances.push(CloudInstance::new(name, host, cloud_disks));
        }
        let mut placed = build_cloud(&root.join("cloud"), spec, &instances)?.into_iter();
        let mut raws = raws.into_iter();
        let mut sites = Vec::new();
        for (site, plans) in PLAN {
            let mut machines = Vec::new();
            for (name, _, _) in *plans {
                let placed = placed.next().context("each instance was placed")?;
                let masters = placed.disks.into_iter().zip(raws.by_ref()).map(|(disk, (raw, size))| Master {
                    id: disk.id,
                    raw,
                    size,
                    file: disk.file,
                    format: disk.format,
                });
                machines.push(Machine { name, id: placed.id, disks: masters.collect() });
            }
            sites.push(Site { name: site, workload: None, machines });
        }
        Ok(Self { sites, dir })
    }

    /// Protects all of it.
    pub(super) fn protect(&mut self, world: &World) -> Result<()> {
        for site in &mut self.sites {
            let ids: Vec<InstanceId> = site.machines.iter().map(|machine| machine.id).collect();
            site.workload = Some(world.create_workload(site.name, &ids)?);
        }
        Ok(())
    }

    /// Changes some bytes of each disk of a site, as its users do between two snapshots; gives the digests after it.
    pub(super) fn change(&self, site: usize, rng: &mut StdRng) -> Result<Point> {
        let mut point = Point::new();
        for machine in &self.sites[site].machines {
            for master in &machine.disks {
                let raw = File::options().write(true).open(&master.raw)?;
                for _ in 0..rng.random_range(0..4) {
                    write_piece(&raw, master.size, rng)?;
                }
                master.publish(&self.dir.join("draft"))?;
                point.insert((machine.id, master.id.clone()), disks::digest(&master.raw)?);
            }
        }
        Ok(point)
    }

    /// The digest of a volume that a restore made.
    pub(super) fn volume_digest(cloud: &Path, id: VolumeId) -> Result<blake3::Hash> {
        let volume = volume_file(cloud, id)?;
        disks::raw_digest(&volume.file, volume.format)
    }

    /// Takes the instances of a site out of the cloud, or puts them back: a one-click restore wants the originals gone.
    pub(super) fn set_aside(&self, cloud: &Path, site: usize, away: bool) -> Result<()> {
        for machine in &self.sites[site].machines {
            let (here, aside) = (cloud.join("instances").join(machine.name), self.dir.join(machine.name));
            let (from, to) = if away { (here, aside) } else { (aside, here) };
            std::fs::rename(&from, &to).with_context(|| format!("moving {}", from.display()))?;
        }
        Ok(())
    }

    /// Deletes what a restore made, as its user does when he has seen it. Each folder goes at once: a service that lists
    /// the cloud meanwhile sees no half of it.
    pub(super) fn delete_restored(
        &self,
        cloud: &Path,
        instances: &[InstanceId],
        volumes: &[VolumeId],
    ) -> Result<()> {
        let trash = self.dir.join("trash");
        for folder in restored_folders(cloud, instances)? {
            std::fs::rename(folder, &trash)?;
            std::fs::remove_dir_all(&trash)?;
        }
        for id in volumes {
            std::fs::rename(cloud.join("volumes").join(id.to_string()), &trash)?;
            std::fs::remove_dir_all(&trash)?;
        }
        Ok(())
    }
}

impl Master {
    /// Gives the instance its new bytes, all at once.
    fn publish(&self, draft: &Path) -> Result<()> {
        if self.format == "raw" {
            disks::copy_sparse(&self.raw, draft)?;
        } else {
            disks::convert((&self.raw, "raw"), (draft, self.format))?;
        }
        Ok(std::fs::rename(draft, &self.file)?)
    }
}

fn write_piece(file: &File, size: u64, rng: &mut StdRng) -> Result<()> {
    let offset = rng.random_range(0..size / PIECE) * PIECE;
    let piece = if rng.random_ratio(1, 8) {
        vec![0; usize::try_from(PIECE)?]
    } else {
        disks::noise(ByteCount(PIECE), rng.random_range(0..u64::from(u32::MAX)))
    };
    Ok(file.write_all_at(&piece, offset)?)
}

fn restored_folders(cloud: &Path, ids: &[InstanceId]) -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Record {
        id: InstanceId,
    }
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(cloud.join("instances"))? {
        let folder = entry?.path();
        let Ok(text) = std::fs::read_to_string(folder.join("instance.toml")) else { continue };
        let record: Record = toml::from_str(&text)?;
        if ids.contains(&record.id) {
            folders.push(folder);
        }
    }
    Ok(folders)
}
