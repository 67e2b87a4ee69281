//! A cloud, a target and datamovers in memory: what commands make stays until other commands take it away.

use std::collections::{BTreeMap, BTreeSet};

use cloud::{DiskDescription, Flavor, InstanceDescription};
use controller::sagas::answer::Answer;
use controller::sagas::base_release::BaseRelease;
use controller::sagas::catalog_op::{
    CatalogAnswer, CatalogOp, Checked, LineageLease, LineagesAcquired, PinnedDisk, PinnedInstance,
    SnapshotBegun, SnapshotPinned,
};
use controller::sagas::leftover_sweep::LeftoverSweep;
use controller::sagas::remote::Command;
use controller::sagas::restore_new::RestoreNew;
use controller::sagas::snapshot_create::SnapshotCreate;
use controller::sagas::workload_delete::WorkloadDelete;
use controller::sagas::workload_reset::WorkloadReset;
use controller::sagas::{Output, Request};
use model::{
    ByteCount, DiskFormat, Failure, InstanceId, KeepBase, LineageId, SnapshotKind, Timestamp, VolumeId,
    WorkloadType,
};
use proto::common::v1::LocalMoment;
use proto::rep::v1 as rep;
use saga::check::World as SagaWorld;
use uuid::Uuid;

/// What lies about, by name, with the id it was made with.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(super) things: BTreeMap<String, Uuid>,
    /// Whether guests let themselves be frozen.
    pub(crate) has_agent: bool,
    /// Guests that were thawed: a thaw told again tells the same.
    thawed: BTreeSet<String>,
    /// How many disks each instance has by now.
    pub(crate) disk_count: u128,
    /// Moves the numbers of all volumes, as if each had been replaced.
    pub(crate) disk_shift: u128,
    /// Whether the storage can list what changed since a volume snapshot of a boot disk.
    pub(crate) keeps_changes: bool,
    /// The instances that their user stops after each snapshot's first cut.
    pub(crate) stops: Vec<InstanceId>,
    /// Of the workload.
    pub(crate) allow_partial: bool,
    /// What fails for good, after it had its effect.
    pub(crate) breaks: Vec<Break>,
    pub(crate) workload_type: WorkloadType,
    /// Whose disk each lineage is.
    lineages: BTreeMap<String, String>,
    /// How often each instance lost its records of changes.
    pub(crate) drops: BTreeMap<String, u32>,
    /// What each host tells that was left there.
    pub(crate) on_hosts: Vec<rep::HostLeftover>,
    /// How often each cut was made.
    cut_counts: BTreeMap<String, u32>,
    /// Whose each volume snapshot and temporary volume is, by its id: the number of the instance.
    pub(super) owners: BTreeMap<String, u128>,
    /// The volume snapshot that each temporary volume was made of, by its name among the things.
    pub(super) sources: BTreeMap<String, String>,
    drawn: u128,
}

/// A command that fails for one instance, each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Break {
    pub(crate) instance_id: InstanceId,
    pub(crate) verb: &'static str,
    pub(crate) code: &'static str,
}

/// A uuid that a test can name.
pub(crate) fn make_uuid(number: u128) -> Uuid {
    Uuid::from_u128(0x018f_3c1e_6f3a_7c52_9d7e_0000_0000_0000 + number)
}

/// The description of instance `id`: volumes named after it, the second of which is reached by an attachment only where there
/// is a third disk; the third disk is local, and so are those behind the fourth.
pub(crate) fn make_instance(id: InstanceId, disk_count: u128) -> InstanceDescription {
    make_instance_with(id, disk_count, 0)
}

fn make_instance_with(id: InstanceId, disk_count: u128, shift: u128) -> InstanceDescription {
    let number = id.uuid().as_u128() & 0xffff;
    let disks = (0..disk_count).map(|index| {
        let volume_id = VolumeId::from_uuid(make_uuid(0x1_0000 + shift * 0x10_0000 + number * 16 + index));
        let device = format!("vd{}", char::from(b'a' + u8::try_from(index).unwrap()));
        let volume_id = (index != 2 && index < 4).then_some(volume_id);
        DiskDescription {
            id: volume_id.map_or_else(|| device.clone(), |id| id.to_string()).parse().unwrap(),
            volume_id,
            device,
            size: ByteCount::mib(8),
            format: DiskFormat::Raw,
            volume_type: "fast".to_owned(),
            bootable: index == 0,
            is_excluded: false,
            volume: cloud::Volume {
                connects_by: (index == 1 && disk_count > 2).then(|| "iscsi".to_owned()),
                ..cloud::Volume::default()
            },
            attachment: cloud::Attachment::default(),
        }
    });
    InstanceDescription {
        id,
        name: format!("web-{number}"),
        project_id: "acme".parse().unwrap(),
        availability_zone: "nova".to_owned(),
        flavor: Flavor { name: "small".to_owned(), vcpus: 1, ram_mib: 512, disk_gib: 1, ..Flavor::default() },
        metadata: BTreeMap::new(),
        ports: Vec::new(),
        disks: disks.collect(),
        server: cloud::Server::default(),
        topology: cloud::Topology::default(),
    }
}

impl World {
    /// With guests that let themselves be frozen.
    pub(crate) fn with_agents() -> Self {
        Self { has_agent: true, disk_count: 2, ..Self::default() }
    }

    /// The same; each instance has a local disk, too.
    pub(crate) fn with_local_disks() -> Self {
        Self { disk_count: 3, ..Self::with_agents() }
    }

    /// The same; one instance loses its point in time once.
    pub(crate) fn with_a_loss() -> Self {
        Self { stops: vec![InstanceId::from_uuid(make_uuid(10))], ..Self::with_local_disks() }
    }

    /// How a command fails because its point in time was lost.
    pub(crate) fn loss(&self, command: &Command) -> Option<Failure> {
        let Command::TransferDisk(it) = command else { return None };
        let cut = format!("cut {} {}", it.instance_id, it.snapshot_id);
        let is_lost = self.stops.iter().any(|id| id.to_string() == it.instance_id)
            && it.volume_snapshot_id.is_empty()
            && self.cut_counts.get(&cut) == Some(&1);
        is_lost.then(|| Failure::permanent("POINT_IN_TIME_LOST", "the instance was stopped"))
    }

    /// The same; the workload may leave out instances, and one fails.
    pub(crate) fn with_a_break(verb: &'static str, code: &'static str) -> Self {
        let broken = Break { instance_id: InstanceId::from_uuid(make_uuid(10)), verb, code };
        Self { allow_partial: true, breaks: vec![broken], ..Self::with_local_disks() }
    }

    /// The same; before it fails its point in time is lost once.
    pub(crate) fn with_a_loss_and_a_break() -> Self {
        let mut world = Self::with_a_break("verify_manifest", "PACK_MISSING");
        world.stops = Self::with_a_loss().stops;
        world
    }

    /// The same, of a workload of four: one is well, one loses its point in time once, one fails in the first round, and one in
    /// the second.
    pub(crate) fn with_every_fate(mut self) -> Self {
        let instance = |number| InstanceId::from_uuid(make_uuid(number));
        let broken = |number, verb, code| Break { instance_id: instance(number), verb, code };
        self.stops = vec![instance(11), instance(13)];
        self.breaks = vec![
            broken(12, "transfer_disk", "SOURCE_READ_FAILED"),
            broken(13, "verify_manifest", "PACK_MISSING"),
        ];
        self
    }

    /// Whether a volume belongs to the first instance of a workload.
    pub(crate) fn is_volume_of_first(volume_id: &str) -> bool {
        (volume_id.parse::<Uuid>().unwrap().as_u128() & 0xffff) / 16 == 10
    }

    /// How a command fails because its instance is broken.
    pub(crate) fn breakage(&self, command: &Command) -> Option<Failure> {
        let broken = self.breaks.iter().find(|broken| self.is_of(command, **broken))?;
        Some(Failure::permanent(broken.code, "it is broken"))
    }

    fn is_of(&self, command: &Command, broken: Break) -> bool {
        let id = broken.instance_id.to_string();
        let number = broken.instance_id.uuid().as_u128() & 0xffff;
        match command {
            Command::DescribeInstance(it) => broken.verb == "describe_instance" && it.instance_id == id,
            Command::FreezeGuest(it) => broken.verb == "freeze_guest" && it.instance_id == id,
            Command::CutDisks(it) => broken.verb == "cut_disks" && it.instance_id == id,
            Command::CreateVolumeSnapshot(it) => {
                let volume = it.volume_id.parse::<Uuid>().unwrap().as_u128() & 0xffff;
                broken.verb == "create_volume_snapshot" && volume / 16 == number
            }
            Command::DescribeConnector(it) => broken.verb == "describe_connector" && it.instance_id == id,
            Command::CreateVolume(it) => {
                broken.verb == "create_volume" && self.owners.get(&it.volume_snapshot_id) == Some(&number)
            }
            Command::AttachVolume(it) => {
                broken.verb == "attach_volume" && self.owners.get(&it.volume_id) == Some(&number)
            }
            Command::ThawGuest(it) => broken.verb == "thaw_guest" && it.instance_id == id,
            Command::TransferDisk(it) => {
                let is_local = it.volume_snapshot_id.is_empty();
                broken.verb == "transfer_disk" && it.instance_id == id && is_local
            }
            Command::VerifyManifest(it) => {
                broken.verb == "verify_manifest" && self.lineages.get(&it.lineage_id) == Some(&id)
            }
            _ => false,
        }
    }

    /// Everything that lies about.
    pub(crate) fn things(&self) -> Vec<String> {
        self.things.keys().cloned().collect()
    }

    /// Does a command as its worker would; doing it again is as doing it once.
    pub(crate) fn carry_out(&mut self, command: &Command) -> Answer {
        match command {
            Command::DescribeInstance(it) => {
                let instance =
                    make_instance_with(it.instance_id.parse().unwrap(), self.disk_count, self.disk_shift);
                let description = serde_json::to_vec(&instance).unwrap();
                Answer::InstanceDescribed(rep::InstanceDescribed { description })
            }
            Command::CreateVolumeSnapshot(_)
            | Command::DeleteVolumeSnapshots(_)
            | Command::CreateVolume(_)
            | Command::DeleteVolume(_)
            | Command::AttachVolume(_)
            | Command::DetachVolumes(_) => self.change_volumes(command),
            Command::CreateInstance(it) => self.create(format!("instance {}", it.tag)),
            Command::DeleteInstance(it) => self.remove(&format!("instance {}", it.tag)),
            Command::CheckRestorePlan(_) | Command::CheckQuotas(_) | Command::RevokeTrust(_) => done(),
            Command::ListTagged(_) => Answer::TaggedListed(rep::TaggedListed::default()),
            Command::WriteRecords(it) => {
                for record in &it.records {
                    self.create(format!("record {}", record.name));
                }
                done()
            }
            Command::RemoveRecords(it) => {
                for name in &it.names {
                    self.remove(&format!("record {name}"));
                }
                done()
            }
            Command::FreezeGuest(it) => {
                if self.has_agent {
                    self.create(format!("frozen {}", it.instance_id));
                }
                Answer::GuestFrozen(rep::GuestFrozen { frozen_count: u32::from(self.has_agent) })
            }
            Command::ThawGuest(it) => {
                if self.things.remove(&format!("frozen {}", it.instance_id)).is_some() {
                    self.thawed.insert(it.instance_id.clone());
                }
                let thawed_count = u32::from(self.thawed.contains(&it.instance_id));
                Answer::GuestThawed(rep::GuestThawed { thawed_count })
            }
            other => self.move_disk(other),
        }
    }

    fn move_disk(&mut self, command: &Command) -> Answer {
        match command {
            Command::CutDisks(it) => {
                let cut = format!("cut {} {}", it.instance_id, it.snapshot_id);
                if !self.things.contains_key(&cut) {
                    *self.cut_counts.entry(cut.clone()).or_default() += 1;
                }
                self.create(cut);
                Answer::DisksCut(rep::DisksCut { moment: LocalMoment::Cut.into() })
            }
            Command::DescribeConnector(_) => Answer::ConnectorDescribed(rep::ConnectorDescribed {
                host: "host-a".to_owned(),
                properties: b"{}".to_vec(),
                public_key: b"key of host-a".to_vec(),
            }),
            Command::EndCut(it) => self.remove(&format!("cut {} {}", it.instance_id, it.snapshot_id)),
            Command::TransferDisk(it) => {
                self.lineages.insert(it.lineage_id.clone(), it.instance_id.clone());
                if it.volume_snapshot_id.is_empty() {
                    let cut = format!("cut {} {}", it.instance_id, it.snapshot_id);
                    assert!(
                        self.things.contains_key(&cut) && it.local_moment() == LocalMoment::Cut,
                        "{it:?}"
                    );
                }
                if !it.sealed.is_empty() {
                    let volume = String::from_utf8(it.sealed.clone()).unwrap();
                    assert!(self.things.contains_key(&format!("attachment {volume}")), "{it:?}");
                }
                self.create(format!("transfer {} {}", it.lineage_id, it.snapshot_id));
                Answer::DiskTransferred(rep::DiskTransferred {
                    size_bytes: 8 << 20,
                    bytes_read: 4 << 20,
                    bytes_stored: 2 << 20,
                    chunk_count: 8,
                    chunks_stored_count: 2,
                    duration_ms: 10,
                    manifest_digest: digest(&it.lineage_id),
                    keeps_changes: self.keeps_changes && is_boot_disk(&it.disk_id),
                    ..Default::default()
                })
            }
            Command::PurgeTransfer(it) => {
                self.remove(&format!("transfer {} {}", it.lineage_id, it.snapshot_id))
            }
            Command::VerifyManifest(it) => Answer::ManifestVerified(rep::ManifestVerified {
                pack_count: 1,
                chunk_count: 8,
                manifest_digest: digest(&it.lineage_id),
            }),
            Command::WriteDisk(_) => Answer::DiskWritten(rep::DiskWritten {
                size_bytes: 8 << 20,
                bytes_written: 4 << 20,
                bytes_fetched: 2 << 20,
                bytes_read_back: 4 << 20,
                duration_ms: 10,
            }),
            Command::DropChanges(it) => {
                *self.drops.entry(it.instance_id.clone()).or_default() += 1;
                done()
            }
            Command::AbortWrite(_) | Command::RemoveLeftover(_) => done(),
            Command::ListLeftovers(_) => {
                let leftovers = self.on_hosts.clone();
                Answer::LeftoversListed(rep::LeftoversListed { leftovers, is_cut_short: false })
            }
            other => panic!("no datamover does {other:?}"),
        }
    }

    /// The catalog's part, for the checks that have no catalog.
    fn record(&mut self, op: &CatalogOp) -> CatalogAnswer {
        match op {
            CatalogOp::BeginSnapshot(_) => {
                self.create("begun".to_owned());
                CatalogAnswer::SnapshotBegun(SnapshotBegun {
                    workload_user_id: "alice".parse().unwrap(),
                    workload_name: "web".to_owned(),
                    workload_description: String::new(),
                    workload_created_at: Timestamp(1),
                    workload_updated_at: Timestamp(1),
                    keep_base: KeepBase::Auto,
                    allow_partial: self.allow_partial,
                    workload_type: self.workload_type,
                    instance_names: BTreeMap::new(),
                    snapshot_user_id: "alice".parse().unwrap(),
                    snapshot_name: "first".to_owned(),
                    snapshot_description: String::new(),
                    snapshot_created_at: Timestamp(2),
                })
            }
            CatalogOp::EndSnapshot { .. } => self.forget("begun"),
            CatalogOp::AcquireLineages { instances, .. }
            | CatalogOp::AcquireLineagesAgain { instances, .. } => {
                self.create("leases".to_owned());
                let disks = instances.iter().flat_map(|it| it.disks.iter().map(|disk| (it.id, disk)));
                let lease = |(instance_id, disk): (InstanceId, &DiskDescription)| LineageLease {
                    lineage_id: lineage_of(instance_id, disk),
                    epoch: 1,
                    chunk_size: ByteCount::mib(1),
                    parent_snapshot_id: None,
                    is_new: true,
                    base: None,
                };
                CatalogAnswer::LineagesAcquired(LineagesAcquired {
                    disks: disks.map(lease).collect(),
                    kind: SnapshotKind::Full,
                    workload_is_new: true,
                })
            }
            CatalogOp::ReleaseLineages(_) => self.forget("leases"),
            CatalogOp::RecordSnapshot { .. } => CatalogAnswer::SnapshotCommitted(Timestamp(3)),
            CatalogOp::PinSnapshot(params) => {
                self.create("pin".to_owned());
                let instances = params.instances.iter().map(|wanted| {
                    let description = make_instance(wanted.instance_id, 2);
                    PinnedInstance {
                        instance_id: wanted.instance_id,
                        new_name: wanted.new_name.clone(),
                        disks: description
                            .disks
                            .iter()
                            .map(|disk| pinned_disk(description.id, disk))
                            .collect(),
                        description,
                    }
                });
                CatalogAnswer::SnapshotPinned(SnapshotPinned {
                    workload_user_id: "alice".parse().unwrap(),
                    instances: instances.collect(),
                })
            }
            CatalogOp::EndRestore { .. } => self.forget("pin"),
            CatalogOp::CheckInstance { .. } => CatalogAnswer::InstanceChecked(Checked::Same),
            CatalogOp::ReleaseSnapshot { .. }
            | CatalogOp::RecordRestore { .. }
            | CatalogOp::ReleaseRestore(_) => CatalogAnswer::Done,
            other => self.record_leaving(other),
        }
    }

    fn serve(&mut self, request: Request) -> Output {
        match request {
            Request::Remote(remote) => match self.loss(&remote.command) {
                Some(failure) => remote.tolerate(&failure, 1).expect("the loss is tolerated"),
                None => {
                    let answer = self.carry_out(&remote.command);
                    let failure = self.breakage(&remote.command);
                    let tolerated = failure.map(|it| remote.tolerate(&it, 1).expect("it is tolerated"));
                    tolerated.unwrap_or(Output::Remote(answer))
                }
            },
            Request::Catalog(op) => Output::Catalog(self.record(&op)),
        }
    }

    pub(super) fn create(&mut self, name: String) -> Answer {
        let drawn = &mut self.drawn;
        let id = *self.things.entry(name).or_insert_with(|| {
            *drawn += 1;
            make_uuid(0x9_0000 + *drawn)
        });
        Answer::Created(rep::Created { resource_id: id.to_string() })
    }

    pub(super) fn remove(&mut self, name: &str) -> Answer {
        self.things.remove(name);
        done()
    }

    pub(super) fn forget(&mut self, name: &str) -> CatalogAnswer {
        self.things.remove(name);
        CatalogAnswer::Done
    }
}

macro_rules! plays {
    ($($saga:ty),*) => {$(
        impl SagaWorld<$saga> for World {
            fn act(&mut self, _step: &'static str, _branch: u16, request: Request) -> Output {
                self.serve(request)
            }
            fn undo(&mut self, _step: &'static str, _branch: u16, request: Request) {
                match request {
                    Request::Remote(remote) => drop(self.carry_out(&remote.command)),
                    catalog => drop(self.serve(catalog)),
                }
            }
            fn leftovers(&self) -> Vec<String> {
                self.things()
            }
        }
    )*};
}
plays!(SnapshotCreate, RestoreNew, WorkloadReset, WorkloadDelete, BaseRelease, LeftoverSweep);

fn pinned_disk(instance_id: InstanceId, disk: &DiskDescription) -> PinnedDisk {
    PinnedDisk {
        disk_id: disk.id.clone(),
        device: disk.device.clone(),
        lineage_id: lineage_of(instance_id, disk),
        size: disk.size,
        format: disk.format,
        volume_type: disk.volume_type.clone(),
        bootable: disk.bootable,
        image_properties: BTreeMap::new(),
    }
}

/// As `make_instance` numbers them.
fn is_boot_disk(id: &str) -> bool {
    id.parse::<Uuid>().is_ok_and(|id| id.as_u128().is_multiple_of(16))
}

fn lineage_of(instance_id: InstanceId, disk: &DiskDescription) -> LineageId {
    let hash = blake3::hash(format!("{instance_id} {}", disk.id).as_bytes());
    LineageId::from_uuid(Uuid::from_slice(&hash.as_bytes()[..16]).unwrap())
}

fn digest(of: &str) -> Vec<u8> {
    blake3::hash(of.as_bytes()).as_bytes().to_vec()
}

pub(super) fn done() -> Answer {
    Answer::Done(rep::Done {})
}
